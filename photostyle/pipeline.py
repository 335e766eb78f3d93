"""The whole story in one function, from files to a picture: start reading here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from photostyle.config import TERMS, Config, Recipe, RunOptions
from photostyle.errors import ComputationError, PhotostyleError
from photostyle.files.arrays import read_photograph
from photostyle.files.images import Picture
from photostyle.files.masks import MaskSet, read_masks, whole_picture
from photostyle.imaging.rendering import render
from photostyle.losses import weights as weight_files
from photostyle.losses.encoders import Encoder
from photostyle.losses.term import Term
from photostyle.objective import Objective, feature_layers
from photostyle.optimisers import Diverged, Step
from photostyle.regions.guidance import Guidance, pair_with_references
from photostyle.regions.mixture import Reference, only
from photostyle.regions.strength import region_strengths, strength_map
from photostyle.scene import Scene
from photostyle.solver import solve, starting
from photostyle.validate import check

TO_BE_MADE = (("auto",), ("cluster",))  # what --masks says where masks are to be made
# Makes masks of photo and references, writes them, and returns what config.masks would have named them.
MaskMaker = Callable[[Picture, Sequence[Picture]], tuple[str, ...]]
Masks = Sequence[str | MaskSet]  # names of files, "none", or masks in memory


@dataclass(frozen=True)
class Result:
    """What came out: the picture at the photo's size and everything a record needs."""

    image: Tensor  # (3, H, W), sRGB in [0, 1], on the CPU
    photo: Picture
    references: tuple[Picture, ...]
    guidance: Guidance
    masks: tuple[MaskSet, ...]  # the photo's, then each reference's
    mask_paths: tuple[str, ...]  # absolute, "none", or "in memory"
    weights: weight_files.Weights | None
    device: str
    threads: int
    trace: list[dict[str, Any]] = field(default_factory=list)  # one entry per evaluation
    notes: tuple[str, ...] = ()  # what was decided for the user, to be said aloud
    ended: str = "done"  # "done", "interrupted", or why the computation failed

    @property
    def reference(self) -> Picture:
        """The one reference; raises PhotostyleError where there are several."""
        return only(self.references)


def transfer(
    config: Config,
    watch: Callable[[Step], None] = lambda step: None,
    say: Callable[[str], None] = lambda note: None,
    make_masks: MaskMaker | None = None,
    terms: Sequence[type[Term]] = TERMS,
) -> Result:
    """Give a photo the colours, light and mood of a reference, or of several, region by region.

    watch is called after every evaluation, say with each note as it arises; make_masks, where given, makes the masks;
    terms: of the objective. Threads and determinism are the process's own, see `process.prepared`.
    A KeyboardInterrupt or a divergence ends the optimisation early: `ended` says why, the picture is the best so far.
    Raises PhotostyleError for bad input or options and ComputationError where there is no picture at all.
    """
    check(config, terms)
    device = device_of(config)
    photo, references = read_photograph(config.content), tuple(map(read_photograph, config.style))
    first = None if config.start_file is None else read_photograph(config.start_file).pixels
    given = None if make_masks else read_all_masks(config.masks, photo, references)
    loaded = _load_weights(config, terms, say)
    encoder = encoder_for(config, loaded, terms, device)
    # Masks are made last: work is not begun before all that is given was found good.
    names = make_masks(photo, references) if make_masks else config.masks
    masks = given or read_all_masks(names, photo, references)
    guidance = paired(config, photo, references, masks)
    notes = notes_of((photo, *references), masks, guidance)
    for note in notes:
        say(note)
    scene = full_scene(photo, references, guidance, device)
    strength = strengths_of(config, scene.content, masks[0])

    canvas, trace, ended = None, [], "done"
    start = starting(scene, config, first)
    try:
        objective = _objectives(config, encoder, terms)
        for step in solve(scene, config, objective, start=start):
            canvas = step.image
            trace.append(_entry(step))
            watch(step)
    except KeyboardInterrupt:
        ended = "interrupted"
    except Diverged as error:
        canvas, ended = error.image, str(error)
    except torch.OutOfMemoryError as error:
        raise ComputationError(_out_of_memory(config, error)) from error

    if canvas is None:
        canvas = start(scene)
    return Result(
        rendered(config, scene.content, canvas, strength).cpu(),
        photo,
        references,
        guidance,
        masks,
        _absolute(names, 1 + len(references)),
        loaded,
        str(device),
        torch.get_num_threads(),
        trace,
        notes,
        ended,
    )


def device_of(options: RunOptions) -> torch.device:
    """The device to compute on: CUDA where asked for or, under auto, where there is one.

    Raises PhotostyleError where CUDA is asked for and absent.
    """
    found = torch.cuda.is_available()
    if options.device == "cuda" and not found:
        raise PhotostyleError("--device cuda: torch finds no CUDA device here; use --device cpu or auto")
    return torch.device("cuda" if options.device != "cpu" and found else "cpu")


def rendered(recipe: Recipe, photo: Tensor, solved: Tensor, strength: float | Tensor) -> Tensor:
    """The picture to write, as configured. photo (3, H, W), solved (3, h, w), strength: one or (H, W) -> (3, H, W)."""
    return render(
        photo,
        solved,
        strength=strength,
        smooth_radius=recipe.smooth_radius,
        smooth_edge=recipe.smooth_edge,
        preserve_luminance=recipe.preserve_luminance,
    )


def strengths_of(recipe: Recipe, photo: Tensor, regions: MaskSet) -> float | Tensor:
    """How far to go at each pixel of a photo (3, H, W) whose mask has these regions: one number or (H, W)."""
    by_region = region_strengths(recipe.region_strength)
    return strength_map(photo, regions, recipe.strength, by_region, recipe.feather)


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
        return name
    return whole_picture(*size) if name == "none" else read_masks(Path(name), picture.path, *size)


def _absolute(names: Masks, count: int) -> tuple[str, ...]:
    def absolute(name: str | MaskSet) -> str:
        if isinstance(name, MaskSet):
            return "in memory"
        return name if name == "none" else str(Path(name).absolute())

    return tuple(map(absolute, names if len(names) == count else ("none",) * count))


def encoder_for(
    recipe: Recipe,
    loaded: weight_files.Weights | None,
    terms: Sequence[type[Term]] = TERMS,
    device: torch.device | str = "cpu",
) -> Encoder | None:
    """The encoder with the layers that the terms compare; None where none of them compares any."""
    layers = feature_layers(recipe, terms)
    if loaded is None or not layers:
        return None
    return Encoder(loaded.state, recipe.encoder, layers=layers, pooling=recipe.pooling).to(device)


def _load_weights(
    config: Config, terms: Sequence[type[Term]], say: Callable[[str], None]
) -> weight_files.Weights | None:
    if not feature_layers(config, terms):
        return None
    return weight_files.find(config.weights, config.encoder, download=config.download, progress=say)


def _objectives(
    recipe: Recipe, encoder: Encoder | None, terms: Sequence[type[Term]]
) -> Callable[..., Objective]:
    return lambda stage, scene: Objective(recipe, stage, scene, encoder, terms)


def _entry(step: Step) -> dict[str, Any]:
    return {"stage": step.stage.number, "iteration": step.iteration, "seconds": step.seconds, **step.losses}


def _out_of_memory(config: Config, error: Exception) -> str:
    return f"out of memory at --size {config.size}; try a smaller --size ({str(error).splitlines()[0]})"


def stages_of(result: Result) -> Iterator[dict[str, Any]]:
    """Per stage: its number, evaluations and seconds, from the trace."""
    for number in sorted({entry["stage"] for entry in result.trace}):
        entries = [entry for entry in result.trace if entry["stage"] == number]
        yield {"stage": number, "evaluations": len(entries), "seconds": entries[-1]["seconds"]}
