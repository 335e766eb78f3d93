"""Where a photo shows a face from the front, by the detector that comes with scikit-image.

A cascade of local binary patterns (Zhang et al., "Face Detection Based on Multi-Block LBP Representation", ICB 2007),
trained by OpenCV. Its weights are a file of the package: nothing is downloaded. By itself it sees faces in leaves and
windows, so a face has to have the colour of skin, and to be one in the mirror too.
"""

from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from photostyle.imaging.filters import box_mean, fit_within, resize, size_of

SIDE = 320  # long side in pixels at which faces are looked for
LEAST = 24  # pixels of the smallest face there: the window that the cascade was trained with
# Ratio of one window to the next, and every place of it: as in scikit-image's own example.
SCALE, STEP = 1.1, 1
# Windows that have to agree, as they stand and in the mirror. On 93 photographs faces had from 6 (in dim light) to 60
# in the weaker of the two, all else that has the colour of skin (towers, flowers, a cat) 4. So six of the seven faces
# from the front were found, not the smallest, and nothing in the 86 without one.
AGREEING = 6
SKIN_COLOURED = 0.6  # of a face's oval: faces had from 0.64 (with large glasses) on
# Without a square of 17 pixels (the oval of the least face holds it nearly) half of which has that colour there is no
# face: most landscapes need not be searched.
PATCH_RADIUS, PATCH_COLOURED = 8, 0.5
# Chai & Ngan, "Face Segmentation Using Skin-Color Map in Videophone Applications" (IEEE TCSVT 9(4), 1999): skin of all
# complexions lies in these ranges of 8-bit Cb and Cr.
CB, CR = (77, 127), (133, 173)


@dataclass(frozen=True)
class Oval:
    """An oval about a face, in sides of it: its half axes, and how far its centre is above the face's."""

    tall: float
    wide: float
    up: float = 0.0


# Inside every face, whatever hair and background are: what has to have the colour of skin.
MIDDLE = Oval(tall=0.45, wide=0.35)


@dataclass(frozen=True)
class Face:
    """A square from the brows to the chin, in units of the picture's long side: its centre and its side."""

    y: float
    x: float
    side: float

    def meets(self, other: "Face") -> bool:
        """Whether both are of one face: their centres are less than a third of this one's side apart."""
        return max(abs(other.y - self.y), abs(other.x - self.x)) < self.side / 3

    def offsets(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """How far below and right of the centre a picture's rows (H, 1) and columns (W,) are, in sides of the face."""
        height, width = size_of(picture)
        rows, columns = ((torch.arange(side) + 0.5) / max(height, width) for side in (height, width))
        return ((rows - self.y) / self.side)[:, None], (columns - self.x) / self.side

    def within(self, oval: Oval, picture: Tensor) -> Tensor:
        """How far out in an oval each pixel of a picture (..., H, W) is: 0 in the middle, 1 on its border. (H, W)."""
        down, right = self.offsets(picture)
        return torch.hypot((down + oval.up) / oval.tall, right / oval.wide)


def skin_coloured(photo: Tensor) -> Tensor:
    """Whether a pixel may be skin by its colour alone; so may wood, sand and leather. (3, H, W) -> (H, W) bool."""
    # ITU-R BT.601-7, 2.5.1 and 2.5.2, as JPEG has it (ITU-T T.871): Y, then the scaled differences from it.
    red, green, blue = photo * 255
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    cb, cr = 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402
    inside: Tensor = (cb >= CB[0]) & (cb <= CB[1]) & (cr >= CR[0]) & (cr <= CR[1])
    return inside


def find_faces(photo: Tensor) -> tuple[Face, ...]:
    """The faces in a photo (3, H, W), sRGB in [0, 1]: from the front, 8 % of the long side or more."""
    small = resize(photo, *fit_within(*size_of(photo), SIDE)).cpu()
    coloured = skin_coloured(small)
    patches = box_mean(coloured[None].float(), PATCH_RADIUS)
    if min(size_of(small)) < LEAST or patches.max() < PATCH_COLOURED:
        return ()
    faces: list[Face] = []
    windows = _windows(small)
    while windows:
        ours = [each for each in windows if windows[0].meets(each)]
        windows = [each for each in windows if each not in ours]
        face = Face(*(fmean(getattr(each, name) for each in ours) for name in ("y", "x", "side")))
        middle = face.within(MIDDLE, small) < 1
        if coloured[middle].float().mean() >= SKIN_COLOURED and _mirrored(small, face):
            faces.append(face)
    return tuple(faces)


def _mirrored(small: Tensor, face: Face) -> bool:
    """Whether the mirrored surroundings of a face have one in the same place."""
    # Half a face more on each side, so that it may be found where it is and a little larger.
    height, width = size_of(small)
    long_side, reach = max(height, width), face.side
    top, left = (max(0, int((at - reach) * long_side)) for at in (face.y, face.x))
    bottom, right = (int((at + reach) * long_side) + 1 for at in (face.y, face.x))
    mirror = small[:, top:bottom, left:right].flip(2)
    if min(size_of(mirror)) < LEAST:
        return False
    scale = max(size_of(mirror)) / long_side
    for other in _windows(mirror):
        y = other.y * scale + top / long_side
        x = (left + mirror.shape[2]) / long_side - other.x * scale
        if face.meets(Face(y, x, other.side * scale)):
            return True
    return False


def _windows(small: Tensor) -> list[Face]:
    """What the cascade takes for faces in a small picture (3, h, w)."""
    levels = (small.permute(1, 2, 0) * 255).round().to(torch.uint8).contiguous().numpy()
    height, width = levels.shape[:2]
    found = _cascade().detect_multi_scale(
        levels, SCALE, STEP, (LEAST,) * 2, (max(height, width),) * 2, AGREEING
    )
    long_side = max(height, width)
    return [
        Face(
            (each["r"] + each["height"] / 2) / long_side,
            (each["c"] + each["width"] / 2) / long_side,
            each["width"] / long_side,
        )
        for each in found
    ]


@cache
def _cascade() -> Any:
    """Read once; imported only where a picture may have a face: scikit-image's detectors take a fifth of a second."""
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]
