"""Contents and styles of a training: square crops, each a pure function of the seed and of when it is asked for.

A content is cut anew each time; the styles are a fixed gallery of crops in two sizes, as the document has them, so that
their Gram matrices are computed once. What is cut is a square of between half and all of the picture's short side, made
`size` pixels wide: the same photograph is seen at several scales.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from photostyle.files.images import read_image
from photostyle.imaging.filters import resize
from photostyle.training.order import batches
from photostyle.training.pictures import Listing

LEAST_SHARE = 0.5  # of the short side: half of a photograph still shows something
# Pictures are shrunk to this many times the crop before they are cut: the smallest square is then no wider than a crop.
ROOM = 1 / LEAST_SHARE
# Pictures that take less together are decoded once and kept: half a gigabyte is what a laptop can spare.
KEPT_BYTES = 1 << 29

Array = np.ndarray  # (H, W, 3) uint8
ContentNumber = tuple[int, int]  # of a content: the epoch, and the number in the epoch


class Pictures:
    """The pictures of a listing, shrunk to a short side of at most `short` pixels: (H, W, 3) uint8 each.

    Few are decoded once and kept; of many each is decoded when it is asked for, by whatever process asks.
    """

    def __init__(self, listing: Listing, short: int) -> None:
        self.paths = [listing.folder / file for file in listing.files]
        self.short = short
        scales = [min(1.0, short / min(size)) for size in listing.sizes]
        total = sum(3 * h * w * s * s for (h, w), s in zip(listing.sizes, scales, strict=True))
        self.kept = [self._read(number) for number in range(len(self.paths))] if total <= KEPT_BYTES else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Array:
        return self._read(number) if self.kept is None else self.kept[number]

    def _read(self, number: int) -> Array:
        return shrunk(self.paths[number], self.short)


def shrunk(path: Path, short: int) -> Array:
    """A picture file with a short side of at most `short` pixels: (H, W, 3) uint8."""
    pixels = read_image(path, minimum=1).pixels
    height, width = pixels.shape[1:]
    scale = min(1.0, short / min(height, width))
    small = resize(pixels, max(1, round(scale * height)), max(1, round(scale * width)))
    return (255 * small).round().to(torch.uint8).permute(1, 2, 0).numpy()


def square(
    picture: Array, size: int, share: float, across: float, down: float, mirrored: bool = False
) -> Tensor:
    """A square of a share of the short side, `size` pixels wide: (H, W, 3) uint8 -> (size, size, 3) uint8.

    across, down: where it is, from 0 (left, top) to 1. Pillow's filter is antialiased and computes in whole numbers:
    the same bytes on every processor.
    """
    height, width = picture.shape[:2]
    side = share * min(height, width)
    left, top = across * (width - side), down * (height - side)
    box = (left, top, left + side, top + side)
    cut = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR, box=box))
    return torch.from_numpy((cut[:, ::-1] if mirrored else cut).copy())


def middle(picture: Array, size: int) -> Tensor:
    """The whole middle: the largest square, `size` pixels wide. (H, W, 3) uint8 -> (size, size, 3) uint8."""
    return square(picture, size, 1.0, 0.5, 0.5)


class Contents(Dataset[Tensor]):
    """`count` contents an epoch from however many pictures: (size, size, 3) uint8 for (epoch, number).

    More pictures than `count`: an even choice of them, always the same; fewer: each is cut several times an epoch.
    """

    def __init__(self, pictures: Pictures, size: int, count: int, seed: int) -> None:
        self.pictures, self.size, self.count, self.seed = pictures, size, count, seed

    def __getitem__(self, content: ContentNumber) -> Tensor:
        epoch, number = content
        random = np.random.default_rng([self.seed, epoch, number])
        share, across, down, mirrored = random.random(4)
        share = LEAST_SHARE + (1 - LEAST_SHARE) * share
        return square(self.pictures[self.source(number)], self.size, share, across, down, mirrored < 0.5)

    def source(self, number: int) -> int:
        """The picture that an epoch's content is cut from."""
        return number * len(self.pictures) // self.count


class Order:
    """The batches of a training from step `begin` on, each the (epoch, number) of its contents.

    size: of a whole batch, of which this process takes every `world`-th from `rank` on. An incomplete batch at the end
    of an epoch is left out.
    """

    def __init__(self, count: int, size: int, seed: int, steps: range, rank: int = 0, world: int = 1) -> None:
        self.count, self.size, self.seed, self.steps = count, size, seed, steps
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[ContentNumber]]:
        known, listed = -1, list[list[int]]()
        for step in self.steps:
            epoch, number = divmod(step, self.count // self.size)
            if epoch != known:
                known, listed = epoch, batches(self.count, self.size, self.seed, epoch)
            yield [(epoch, each) for each in listed[number][self.rank :: self.world]]


def loader(contents: Contents, order: Order, workers: int, pinned: bool) -> DataLoader[Tensor]:
    """Batches (B, size, size, 3) uint8 in the order's order, whatever the number of processes that decode them.

    workers: 0 for this process. Spawned, not forked: a fork of a process that has used OpenMP or CUDA hangs.
    """
    return DataLoader(
        contents,
        batch_sampler=order,
        num_workers=workers,
        pin_memory=pinned,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=4 if workers else None,
    )


def as_pictures(batch: Tensor, device: torch.device) -> Tensor:
    """(B, h, w, 3) uint8 -> (B, 3, h, w) float32 in [0, 1], the channels of a pixel side by side (channels_last)."""
    return batch.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255


@dataclass(frozen=True, eq=False)
class StyleGallery:
    """Fixed crops of style pictures. crops: by their size, (n, size, size, 3) uint8; sources: the picture of each."""

    crops: dict[int, Tensor]
    sources: dict[int, tuple[int, ...]]

    @classmethod
    def of(cls, pictures: Pictures, sizes: Sequence[int], count: int, seed: int) -> "StyleGallery":
        """`count` crops in all, the sizes taking turns. A picture's first is its whole middle, the others are drawn."""
        crops: dict[int, list[Tensor]] = {size: [] for size in sizes}
        sources: dict[int, list[int]] = {size: [] for size in sizes}
        number_of = min(len(pictures), count)
        for number in range(count):
            turn, place = divmod(number, number_of)
            picture = place * len(pictures) // number_of
            size = sizes[(turn + place) % len(sizes)]
            random = np.random.default_rng([seed, number])
            share, across, down = (1.0, 0.5, 0.5) if turn == 0 else random.random(3)
            share = LEAST_SHARE + (1 - LEAST_SHARE) * share
            crops[size].append(square(pictures[picture], size, share, across, down))
            sources[size].append(picture)
        filled = {size: torch.stack(each) for size, each in crops.items() if each}
        return cls(filled, {size: tuple(sources[size]) for size in filled})

    def draw(self, count: int, seed: int, step: int) -> tuple[int, Tensor]:
        """The styles of a step's batch: their size, the sizes taking turns, and which of its crops, (count,) int64.

        No crop twice before all were drawn.
        """
        sizes = sorted(self.crops)
        size = sizes[step % len(sizes)]
        random = np.random.default_rng([seed, step])
        here = len(self.crops[size])
        drawn = [random.permutation(here) for _ in range(-(-count // here))]
        return size, torch.from_numpy(np.concatenate(drawn)[:count])
