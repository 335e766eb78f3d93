"""The one coarse-to-fine loop: a scene goes in, steps come out."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from photostyle.config import Recipe
from photostyle.errors import PhotostyleError
from photostyle.imaging.filters import area_average, fit_within, resize, size_of
from photostyle.imaging.rendering import enlarged
from photostyle.losses.encoders import Features
from photostyle.losses.term import Terms
from photostyle.objective import Objective
from photostyle.optimisers import Step, optimise
from photostyle.regions.canvas import noise, recoloured
from photostyle.regions.colour import mixture_colour_maps
from photostyle.scene import Restraint, Scene, Stage, at_stage, reduced
from photostyle.stages import schedule
from photostyle.validate import check_numbers

# What to minimise at a stage, as a function of the image (3, H, W): weighted scalars by name.
MakeObjective = Callable[[Stage, Scene], Callable[[Tensor], Terms]]

COLOUR_SIDE = 512  # long side at which colour statistics are taken: 10^5 pixels fix a mean and a covariance


def solve(
    scene: Scene,
    recipe: Recipe,
    objective: MakeObjective | None = None,
    *,
    encoder: Features | None = None,
    start: Callable[[Scene], Tensor] | None = None,
    stages: Iterable[tuple[Stage, Scene]] | None = None,
    state: Mapping[str, Any] | None = None,
) -> Iterator[Step]:
    """Minimise an objective from coarse to fine; yields a Step at every evaluation, whose image is the result so far.

    scene: the pictures at their own sizes, on the device to compute on. recipe: sizes, evaluations, optimiser.
    objective: what to minimise at each stage; default: the recipe's terms, which may need the encoder.
    start: the first picture (3, h, w) from the scene at the first stage; default: as the recipe says.
    stages: with the scene at each stage's size; default: as the recipe says. None yields no step.
    state: `Step.state` of an earlier solve of the same, on this device: it goes on after that step, as if there had
    been no break.
    Raises PhotostyleError for bad settings, `optimisers.Diverged` with the last good picture.
    """
    check_numbers(recipe)
    begin = start or starting(scene, recipe)
    canvas: Tensor | None = None if state is None else state["image"]
    first = 0 if state is None else state["stage"]
    photo: Tensor | None = None  # of the stage before
    for stage, small in staged(scene, recipe, first) if stages is None else stages:
        if stage.number < first:
            continue
        if canvas is None:
            canvas = begin(small)
        elif canvas.shape != small.content.shape:
            canvas = enlarged(small.content, canvas, recipe.enlarging, photo)
        terms = objective(stage, small) if objective else Objective(recipe, stage, small, encoder)
        earlier, photo = state if stage.number == first else None, small.content
        for step in optimise(canvas, terms, stage, recipe, earlier):
            canvas = step.image
            yield step


def staged(scene: Scene, recipe: Recipe, first: int = 0) -> Iterator[tuple[Stage, Scene]]:
    """The stages of a recipe from the first wanted on, each with the scene at its size, one at a time."""
    for stage in schedule(recipe, *size_of(scene.content)):
        if stage.number >= first:
            yield stage, at_stage(scene, stage)


def starting(scene: Scene, recipe: Recipe, picture: Tensor | None = None) -> Callable[[Scene], Tensor]:
    """Where a recipe starts: from the scene at a stage to the first picture (3, h, w) in [0, 1].

    scene: at its own size, for the colours. picture (3, H, W): what the start "file" begins with.
    """
    if recipe.start == "content":
        return lambda small: small.content.clone()
    if recipe.start == "noise":
        return lambda small: noise(small.content, recipe.seed)
    if recipe.start == "file":
        if picture is None:
            raise PhotostyleError("--start file needs --start-file PICTURE, the picture to start from")
        return lambda small: resize(picture.to(small.content), *size_of(small.content))
    maps = colour_maps(scene) if scene.restraint is None else scene.restraint.maps
    return recolouring(maps, recipe.feather)


def closed_form(scene: Scene) -> Callable[[Scene], Tensor]:
    """What regions that are not bold at all stay at: from a scene to its picture. scene: with a restraint."""
    assert scene.restraint is not None
    return recolouring(scene.restraint.maps, scene.restraint.feather)


def recolouring(maps: Tensor, radius: int) -> Callable[[Scene], Tensor]:
    """The start "colour": every region through its colour map (K, 3, 4), borders feathered by so many pixels."""

    return lambda small: recoloured(small.content, small.content_masks, maps, radius)


def restrained(scene: Scene, boldness: Tensor, feather: int) -> Scene:
    """The scene with regions that go no further than so boldly, (K,), from the closed form to their references."""
    return replace(scene, restraint=Restraint(boldness, colour_maps(scene, boldness), feather))


def colour_maps(scene: Scene, boldness: Tensor | None = None) -> Tensor:
    """One Monge-Kantorovich map per region, (K, 3, 4), from copies reduced by area to COLOUR_SIDE.

    boldness: (K,), see `colour.mixture_colour_maps`.
    """
    size = fit_within(*size_of(scene.content), COLOUR_SIDE)
    return mixture_colour_maps(
        resize(scene.content, *size),
        area_average(scene.content_masks, *size),
        [reduced(each, COLOUR_SIDE) for each in scene.references],
        boldness,
    )
