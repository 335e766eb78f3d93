"""Moving pictures: how a result came about, as a GIF or an animated WebP."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.files.atomic import check_place, write_bytes_atomically
from photostyle.imaging.filters import resize

FORMATS = {".gif": "GIF", ".webp": "WEBP"}
# Half a minute of film at FRAME; a frame of 512 px is 0.6 MB in memory.
MOST_FRAMES = 240
FRAME, LAST_FRAME = 120, 1500  # milliseconds: eight frames a second, and time to look at the last
QUALITY = 90  # of WebP, which is lossy here: frames are for looking at, and five times smaller


class Frames:
    """Pictures in their order, thinned evenly where there are more than MOST_FRAMES; the last is always among them.

    path: what they are written to; None: nothing is kept. Raises PhotostyleError, before any work, for a suffix that
    names no format of moving pictures and for a place where no file can be.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            if path.suffix.lower() not in FORMATS:
                raise PhotostyleError(
                    f'{path} ends in "{path.suffix}"; moving pictures are written as {" or ".join(FORMATS)}'
                )
            check_place(path)
        self.path = path
        self.frames: list[Tensor]  # (h, w, 3) uint8
        self.last: Tensor | None
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.frames, self.last, self.every, self.seen = [], None, 1, 0

    def add(self, picture: Tensor) -> None:
        """One more picture (3, h, w) in [0, 1]; the same as the one before it is none."""
        if self.path is None:
            return
        frame = (255 * picture.detach().cpu()).round().to(torch.uint8).permute(1, 2, 0).contiguous()
        if self.last is not None and torch.equal(frame, self.last):
            return
        if self.seen % self.every == 0:
            self.frames.append(frame)
        self.last, self.seen = frame, self.seen + 1
        if len(self.frames) > MOST_FRAMES:
            self.frames, self.every = self.frames[::2], 2 * self.every

    def write(self) -> None:
        """Write them, all at the last one's size, whole or not at all. Nothing is written where there are none."""
        if self.path is None or self.last is None:
            return
        suffix = self.path.suffix.lower()
        frames = self.frames if torch.equal(self.frames[-1], self.last) else [*self.frames, self.last]
        height, width = self.last.shape[:2]
        pictures = [Image.fromarray(_at(frame, height, width)) for frame in frames]
        buffer = io.BytesIO()
        pictures[0].save(
            buffer,
            FORMATS[suffix],
            save_all=True,
            append_images=pictures[1:],
            duration=[FRAME] * (len(pictures) - 1) + [LAST_FRAME],
            loop=0,
            **({"quality": QUALITY} if suffix == ".webp" else {}),
        )
        write_bytes_atomically(self.path, buffer.getvalue())


def _at(frame: Tensor, height: int, width: int) -> np.ndarray:
    """A frame (h, w, 3) at another size, as a stage at a coarser one has it."""
    if frame.shape[:2] == (height, width):
        return frame.numpy()
    wide = resize(frame.permute(2, 0, 1).float(), height, width)
    return wide.round().to(torch.uint8).permute(1, 2, 0).numpy()
