"""What a transfer is made of, read and put together: photographs, regions, and which takes its style from which."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from photostyle.config import Recipe
from photostyle.errors import PhotostyleError
from photostyle.files.images import Picture
from photostyle.files.masks import MaskSet, read_masks, whole_picture
from photostyle.files.profiles import Array
from photostyle.imaging.protection import Parts
from photostyle.regions.guidance import Guidance, pair_with_references
from photostyle.regions.mixture import Reference
from photostyle.regions.parts import find_parts, notes_on
from photostyle.regions.relation import Dial, Relation, dial, relation
from photostyle.regions.strength import named_regions
from photostyle.scene import Scene

TO_BE_MADE = (("auto",), ("cluster",))  # what --masks says where masks are to be made
IN_MEMORY = "in memory"  # what a record says where a mask had no file

Masks = Sequence[str | MaskSet]  # names of files, "none", or masks in memory


def read_all_masks(names: Masks, photo: Picture, references: Sequence[Picture]) -> tuple[MaskSet, ...]:
    """The regions of all pictures as --masks names them: a path each, "none" for one without, or "none" alone.

    Masks in memory stay as they are; raises PhotostyleError where they do not have their picture's size.
    """
    pictures, names = (photo, *references), tuple(names)
    if names in TO_BE_MADE:
        raise PhotostyleError(
            f"masks = {names[0]} needs something to make them: the command line has it; from Python, write masks "
            "with segmentation and give their folders"
        )
    if names == ("none",):
        names = names * len(pictures)
    if len(names) != len(pictures):
        wanted = "two paths, CONTENT_MASK STYLE_MASK"
        if len(references) > 1:
            wanted = f"{len(pictures)} paths, CONTENT_MASK and one for each of {len(references)} references"
        raise PhotostyleError(f"--masks takes {wanted}, or none, auto or cluster; {len(names)} given")
    return tuple(_masks(name, picture) for name, picture in zip(names, pictures, strict=True))


def _masks(name: str | MaskSet, picture: Picture) -> MaskSet:
    size = picture.height, picture.width
    if isinstance(name, MaskSet):
        if (found := name.masks.shape[1:]) != size:
            raise PhotostyleError(
                f"masks in memory are {found[1]}x{found[0]} but {picture.path} is {size[1]}x{size[0]}; "
                "give them at the photo's size"
            )
        regions = name
    else:
        regions = whole_picture(*size) if name == "none" else read_masks(Path(name), picture.path, *size)
    return regions if picture.alpha is None else _seen(regions, picture.alpha)


def _seen(regions: MaskSet, alpha: Array) -> MaskSet:
    """The regions without what alpha (H, W) hides: it counts in no statistic, and nobody sees what becomes of it."""
    return replace(regions, masks=regions.masks * torch.from_numpy(alpha > 0))


def mask_paths(names: Masks, count: int) -> tuple[str, ...]:
    """Where the masks of so many pictures are: absolute, "none", or IN_MEMORY."""

    def absolute(name: str | MaskSet) -> str:
        if isinstance(name, MaskSet):
            return IN_MEMORY
        return name if name == "none" else str(Path(name).absolute())

    return tuple(map(absolute, names if len(names) == count else ("none",) * count))


def paired(
    recipe: Recipe, photo: Picture, references: Sequence[Picture], masks: Sequence[MaskSet]
) -> Guidance:
    """Which region takes its style from which, in mixtures of the configured weights. masks: the photo's first."""
    pictures = [(each.pixels, regions) for each, regions in zip(references, masks[1:], strict=True)]
    weights = recipe.style_weights or (1.0,) * len(references)
    return pair_with_references(photo.pixels, masks[0], pictures, weights)


def notes_of(pictures: Sequence[Picture], masks: Sequence[MaskSet], guidance: Guidance) -> tuple[str, ...]:
    """What was decided for the user in reading and in pairing."""
    read = [*(each.notes for each in pictures), *(each.notes for each in masks)]
    return (*(text for notes in read for text in notes), *guidance.notes)


@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be done with the regions: pairs, how far each goes, what keeps its colour, and what to say of it."""

    guidance: Guidance
    related: Relation
    by_region: dict[str, float]  # strengths that were asked for by name
    how: Dial
    parts: Parts | None  # of the photo, that keep their colour
    notes: tuple[str, ...]


def planned(recipe: Recipe, photo: Picture, references: Sequence[Picture], masks: Sequence[MaskSet]) -> Plan:
    """A plan for pictures with their regions, the photo's first. Raises PhotostyleError for names of no region."""
    guidance = paired(recipe, photo, references, masks)
    related = relation(photo.pixels, [each.pixels for each in references], guidance)
    by_region = _strengths(recipe, masks[0], guidance)
    how = dial(related, recipe.boldness, recipe.strength, by_region)
    parts = find_parts(photo.pixels, masks[0], recipe.protect, recipe.feather)
    said = () if how.full else (f"how far: {how}",)
    notes = (*notes_of((photo, *references), masks, guidance), *notes_on(parts), *said)
    return Plan(guidance, related, by_region, how, parts, notes)


def may_be_held(recipe: Recipe, plan: Plan) -> Tensor:
    """(K,) bool: the regions whose way nobody decided, neither by a number nor by painting them."""
    pairs = {pair.name: pair for pair in plan.guidance.pairs}
    asked = recipe.strength is not None or bool(recipe.boldness)
    return torch.tensor(
        [not asked and pairs[name].trust < 1 and name not in plan.by_region for name in plan.guidance.names]
    )


def _strengths(recipe: Recipe, regions: MaskSet, guidance: Guidance) -> dict[str, float]:
    """The strengths that the recipe gives regions of the photo's mask by name."""
    by_region = named_regions(recipe.region_strength, regions.names)
    if lost := [
        pair for pair in guidance.pairs if pair.name in by_region and pair.name not in guidance.names
    ]:
        raise PhotostyleError(
            f"--region-strength names {lost[0].name}, which covers {lost[0].content_share:.2%} of the photo and is no "
            "region of its own; leave it out"
        )
    return by_region


def full_scene(
    photo: Picture, references: Sequence[Picture], guidance: Guidance, device: torch.device
) -> Scene:
    """The scene at the pictures' own sizes."""
    parts = zip(references, guidance.styles, guidance.weights, strict=True)
    return Scene(
        photo.pixels.to(device),
        guidance.content.to(device),
        tuple(Reference(each.pixels.to(device), masks.to(device), weights) for each, masks, weights in parts),
    )
