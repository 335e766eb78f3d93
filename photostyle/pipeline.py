"""The whole story in one function: start reading here."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from photostyle.config import Config
from photostyle.errors import ComputationError, PhotostyleError
from photostyle.files.images import Picture, read_image
from photostyle.files.masks import MaskSet, read_masks, whole_picture
from photostyle.imaging.filters import area_average, fit_within, resize, size_of
from photostyle.imaging.rendering import enlarge, render
from photostyle.losses import weights as weight_files
from photostyle.losses.encoders import Encoder
from photostyle.objective import Objective, Scene, feature_layers, needs_encoder
from photostyle.optimisers import Diverged, Step, optimise
from photostyle.regions.canvas import first_canvas
from photostyle.regions.colour import mixture_colour_maps
from photostyle.regions.guidance import Guidance, pair_with_references
from photostyle.regions.mixture import Reference, only
from photostyle.regions.strength import strength_map
from photostyle.stages import LEAST_SIDE, Stage, schedule
from photostyle.validate import check

TO_BE_MADE = (("auto",), ("cluster",))  # what --masks says where masks are to be made
# Makes masks of photo and references, writes them, and returns what config.masks would have named them.
MaskMaker = Callable[[Picture, Sequence[Picture]], tuple[str, ...]]

COLOUR_SIDE = 512  # long side at which colour statistics are taken: 10^5 pixels fix a mean and a covariance


@dataclass(frozen=True)
class Result:
    """What came out: the picture at the photo's size and everything a record needs."""

    image: Tensor  # (3, H, W), sRGB in [0, 1], on the CPU
    photo: Picture
    references: tuple[Picture, ...]
    guidance: Guidance
    masks: tuple[MaskSet, ...]  # the photo's, then each reference's
    mask_paths: tuple[str, ...]  # absolute, or "none"
    weights: weight_files.Weights | None
    device: str
    threads: int
    trace: list[dict[str, Any]] = field(default_factory=list)  # one entry an evaluation
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
) -> Result:
    """Give a photo the colours, light and mood of a reference, or of several, region by region.

    watch is called after every evaluation, say with each note as it arises; make_masks, where given, makes the masks.
    A KeyboardInterrupt or a divergence ends the optimisation early: `ended` says why, the picture is the best so far.
    Raises PhotostyleError for bad input or options and ComputationError where there is no picture at all.
    """
    check(config)
    device = prepare_torch(config)
    photo, references = read_image(config.content), tuple(map(read_image, config.style))
    given = None if make_masks else read_all_masks(config.masks, photo, references)
    loaded = _load_weights(config, say)
    encoder = _encoder(config, loaded, device)
    # Masks are made last: work is not begun before all that is given was found good.
    names = make_masks(photo, references) if make_masks else config.masks
    masks = given or read_all_masks(names, photo, references)
    guidance = paired(config, photo, references, masks)
    notes = notes_of((photo, *references), masks, guidance)
    for note in notes:
        say(note)
    full = full_scene(photo, references, guidance, device)
    strength = strength_map(config, full.content, masks[0])

    canvas, trace, ended = None, [], "done"
    maps = colour_maps(full)
    try:
        for stage in schedule(config, photo.height, photo.width):
            scene = at_stage(full, stage)
            if canvas is None:
                canvas = first_canvas(config, scene.content, scene.content_masks, maps)
            elif canvas.shape != scene.content.shape:
                canvas = enlarge(scene.content, canvas)
            for step in optimise(canvas, Objective(config, stage, scene, encoder), stage, config):
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
        canvas = first_canvas(config, full.content, full.content_masks, maps)
    return Result(
        rendered(config, full.content, canvas, strength).cpu(),
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


def prepare_torch(config: Config) -> torch.device:
    """Set threads and determinism and choose the device: CUDA where asked for or, under auto, where there is one.

    Raises PhotostyleError where CUDA is asked for and absent.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.deterministic:
        # cuBLAS reads it when it first starts; without it torch refuses deterministic products on CUDA.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Asked first, because setting it imports torch's compiler: 1.5 s of a run that may take 0.3.
    if config.deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = False
    found = torch.cuda.is_available()
    if config.device == "cuda" and not found:
        raise PhotostyleError("--device cuda: torch finds no CUDA device here; use --device cpu or auto")
    return torch.device("cuda" if config.device != "cpu" and found else "cpu")


def rendered(config: Config, photo: Tensor, solved: Tensor, strength: float | Tensor) -> Tensor:
    """The picture to write, as configured. photo (3, H, W), solved (3, h, w), strength: one or (H, W) -> (3, H, W)."""
    return render(
        photo,
        solved,
        strength=strength,
        smooth_radius=config.smooth_radius,
        smooth_edge=config.smooth_edge,
        preserve_luminance=config.preserve_luminance,
    )


def at_stage(full: Scene, stage: Stage) -> Scene:
    """The scene at a stage's size. The references get the stage's long side too, but are never enlarged.

    A long, narrow one gets more, so that its short side holds patches.
    """
    references = []
    for each in full.references:
        height, width = size_of(each.image)
        long_side = max(stage.long_side, -(-LEAST_SIDE * max(height, width) // min(height, width)))
        references.append(_reduced(each, long_side))
    return Scene(
        resize(full.content, stage.height, stage.width),
        area_average(full.content_masks, stage.height, stage.width),
        tuple(references),
    )


def _reduced(reference: Reference, long_side: int) -> Reference:
    size = fit_within(*size_of(reference.image), long_side)
    return replace(
        reference, image=resize(reference.image, *size), masks=area_average(reference.masks, *size)
    )


def paired(
    config: Config, photo: Picture, references: Sequence[Picture], masks: Sequence[MaskSet]
) -> Guidance:
    """Which region takes its style from which, in mixtures of the configured weights. masks: the photo's first."""
    pictures = [(each.pixels, regions) for each, regions in zip(references, masks[1:], strict=True)]
    weights = config.style_weights or (1.0,) * len(references)
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


def read_all_masks(
    names: tuple[str, ...], photo: Picture, references: Sequence[Picture]
) -> tuple[MaskSet, ...]:
    """The regions of all pictures as --masks names them: a path each, "none" for one without, or "none" alone."""
    pictures = (photo, *references)
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

    def read(name: str, picture: Picture) -> MaskSet:
        if name == "none":
            return whole_picture(picture.height, picture.width)
        return read_masks(Path(name), picture.path, picture.height, picture.width)

    return tuple(read(name, picture) for name, picture in zip(names, pictures, strict=True))


def _absolute(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    each = names if len(names) == count else ("none",) * count
    return tuple(name if name == "none" else str(Path(name).absolute()) for name in each)


def _load_weights(config: Config, say: Callable[[str], None]) -> weight_files.Weights | None:
    if not needs_encoder(config):
        return None
    return weight_files.find(config.weights, config.encoder, download=config.download, progress=say)


def _encoder(config: Config, loaded: weight_files.Weights | None, device: torch.device) -> Encoder | None:
    if loaded is None:
        return None
    return Encoder(loaded.state, config.encoder, layers=feature_layers(config), pooling=config.pooling).to(
        device
    )


def colour_maps(full: Scene) -> Tensor:
    """One Monge-Kantorovich map a region, (K, 3, 4), from area-reduced copies."""
    size = fit_within(*size_of(full.content), COLOUR_SIDE)
    return mixture_colour_maps(
        resize(full.content, *size),
        area_average(full.content_masks, *size),
        [_reduced(each, COLOUR_SIDE) for each in full.references],
    )


def _entry(step: Step) -> dict[str, Any]:
    return {"stage": step.stage.number, "iteration": step.iteration, "seconds": step.seconds, **step.losses}


def _out_of_memory(config: Config, error: Exception) -> str:
    return f"out of memory at --size {config.size}; try a smaller --size ({str(error).splitlines()[0]})"


def stages_of(result: Result) -> Iterator[dict[str, Any]]:
    """Per stage: its number, evaluations and seconds, from the trace."""
    for number in sorted({entry["stage"] for entry in result.trace}):
        entries = [entry for entry in result.trace if entry["stage"] == number]
        yield {"stage": number, "evaluations": len(entries), "seconds": entries[-1]["seconds"]}
