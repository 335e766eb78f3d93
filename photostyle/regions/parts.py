"""What `--protect` names: skin, which is looked for in the photo, and regions of the photo's mask."""

from collections.abc import Sequence

import torch
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.files.masks import MaskSet
from photostyle.imaging.filters import area_average, box_mean, fit_within, local_affine_maps, resize, size_of
from photostyle.imaging.protection import Parts
from photostyle.regions.canvas import FEATHER_RIDGE, FEATHER_SIDE
from photostyle.regions.skin import find_skin
from photostyle.regions.strength import row_of

NONE, SKIN = "none", "skin"
# Soft weights from the one to the other become 0 to 1: highlights on a cheek are in the face, a wall of nearly its
# colour is not. By eye: at the cheeks of four portraits weights fell to 0.8, beside them they rose to 0.1.
FIRM = (0.1, 0.75)
PERSON = "person"  # what made masks call people: where there is such a region skin is nowhere else


def check_protect(words: Sequence[str]) -> None:
    """Raises PhotostyleError for words that do not go together."""
    if NONE in words and len(words) > 1:
        raise PhotostyleError(f"--protect has none and {len(words) - 1} more; give none by itself")
    if twice := [word for number, word in enumerate(words) if word in words[:number]]:
        raise PhotostyleError(f"--protect names {twice[0]} twice; give it once")


def find_parts(photo: Tensor, regions: MaskSet, words: Sequence[str], radius: int) -> Parts | None:
    """The parts of a photo (3, H, W) that keep their colour; None where nothing is named or found.

    regions: of the photo's mask. words: of `--protect`. radius: of the parts' soft borders, see `canvas.feather`.
    A region called skin is taken for it. Raises PhotostyleError for a name that the photo's mask does not have.
    """
    size = fit_within(*size_of(photo), FEATHER_SIDE)
    weights = {}
    for word in words:
        if word == SKIN and SKIN not in regions.names:
            if (skin := find_skin(photo)) is None:
                continue
            weights[word] = resize(skin[None], *size)[0]
            if PERSON in regions.names:
                weights[word] *= _region(regions, PERSON, size)
        elif word != NONE:
            weights[word] = _region(regions, word, size)
    weights = {word: weight for word, weight in weights.items() if weight.any()}
    if not weights:
        return None
    masks = torch.stack(list(weights.values())).to(photo)
    shares = {word: float(mask.mean()) for word, mask in zip(weights, masks, strict=True)}
    return Parts(_soft(resize(photo, *size), masks, radius), shares)


def notes_on(parts: Parts | None) -> tuple[str, ...]:
    """What a user who did not ask for it should know."""
    if parts is None or SKIN not in parts.shares:
        return ()
    share = f"{parts.shares[SKIN]:.1%}".replace("%", " %")
    return (f"skin found ({share} of the photo, with the head): its hue is kept; --protect none lets it go",)


def _region(regions: MaskSet, name: str, size: tuple[int, int]) -> Tensor:
    row = row_of(name, regions.names, "--protect")
    return area_average(regions.masks[row : row + 1], *size)[0]


def _soft(small: Tensor, masks: Tensor, radius: int) -> Tensor:
    """Maps from the photo's colours to the masks. small (3, h, w), masks (K, h, w) -> (K, 4, h, w)."""
    if radius == 0:
        flat = torch.zeros(len(masks), 4, *size_of(masks)).to(masks)
        flat[:, 3] = masks
        return flat
    maps = local_affine_maps(small, masks, radius, FEATHER_RIDGE)
    maps = box_mean(maps.flatten(0, 1), radius).view_as(maps)
    low, high = FIRM
    maps[:, 3] -= low
    return maps / (high - low)
