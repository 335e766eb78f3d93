"""The regions of a finished run in one picture: photo, references and result side by side, names in the regions."""

from pathlib import Path

import numpy as np
import torch
from PIL import ImageDraw
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from photostyle.evaluation.reports import (
    CELL,
    FONT_SIZE,
    INK,
    PAPER,
    contact_sheet,
    font,
    from_pillow,
    overlay,
    to_pillow,
    within_cells,
)
from photostyle.files.images import Picture
from photostyle.files.masks import MaskSet
from photostyle.result import Result

HALO = 8  # of a font size is one pixel of its halo: legible on any colour, thinner than the strokes


def region_sheet(result: Result, path: Path) -> None:
    """Write the photo under the veil of its regions, so each reference, and the result beside them."""
    pictures = (result.photo, *result.references)
    views = [_named(picture, regions) for picture, regions in zip(pictures, result.masks, strict=True)]
    contact_sheet([[*views, ("result", within_cells(result.image))]], path)


def _named(picture: Picture, regions: MaskSet) -> tuple[str, Tensor]:
    small, masks = within_cells(picture.pixels), within_cells(regions.masks)
    return picture.path.name, with_names(overlay(small, masks, regions.colours), masks, regions.names)


def with_names(image: Tensor, masks: Tensor, names: tuple[str, ...]) -> Tensor:
    """The picture (3, H, W) with the name of each region (K, H, W) written where the region is widest.

    A region that is nowhere the strongest has no such place, and its name is left out.
    """
    sheet = to_pillow(image)
    # As large as the captions are once the picture is as wide as a cell.
    size = max(1, round(FONT_SIZE * sheet.width / CELL))
    draw, face = ImageDraw.Draw(sheet), font(size)
    for name, place in zip(names, widest(masks), strict=True):
        if place is None:
            continue
        half = min(face.getlength(name), sheet.width) / 2
        x = min(max(place[1], half), sheet.width - half)
        draw.text(
            (x, place[0]), name, PAPER, face, anchor="mm", stroke_width=-(-size // HALO), stroke_fill=INK
        )
    return from_pillow(sheet)


def widest(masks: Tensor) -> list[tuple[int, int] | None]:
    """Where each region (K, H, W) is widest, (y, x): the pixel farthest from its border, which the picture's is too.

    A pixel is of its strongest region, and of none where what no region covers is stronger still.
    """
    uncovered = (1 - masks.sum(0, keepdim=True)).clamp(min=0)
    strongest = torch.cat((uncovered, masks)).argmax(0).numpy()
    places = list[tuple[int, int] | None]()
    for label in range(1, len(masks) + 1):
        depth = distance_transform_edt(np.pad(strongest == label, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        places.append((int(y), int(x)) if depth[y, x] else None)
    return places
