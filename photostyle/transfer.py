"""The whole story in one function: start reading here."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from photostyle import weights as weight_files
from photostyle.canvas import first_canvas
from photostyle.colour import region_colour_maps
from photostyle.config import Config
from photostyle.encoders import Encoder
from photostyle.errors import ComputationError, PhotostyleError
from photostyle.filters import fit_within, resize, size_of
from photostyle.guidance import Guidance, pair_regions, resize_masks
from photostyle.images import Picture, read_image
from photostyle.masks import MaskSet, read_masks, whole_picture
from photostyle.objective import Objective, Scene, feature_layers, needs_encoder
from photostyle.optimise import Diverged, Step, optimise
from photostyle.render import enlarge, render
from photostyle.schedule import LEAST_SIDE, Stage, schedule
from photostyle.strength import strength_map
from photostyle.validate import check

TO_BE_MADE = (("auto",), ("cluster",))  # what --masks says where masks are to be made
# Makes masks of photo and reference, writes them, and returns what config.masks would have named them.
MaskMaker = Callable[[Picture, Picture], tuple[str, str]]

COLOUR_SIDE = 512  # long side at which colour statistics are taken: 10^5 pixels fix a mean and a covariance


@dataclass(frozen=True)
class Result:
    """What came out: the picture at the photo's size and everything a record needs."""

    image: Tensor  # (3, H, W), sRGB in [0, 1], on the CPU
    photo: Picture
    reference: Picture
    guidance: Guidance
    masks: tuple[MaskSet, MaskSet]
    mask_paths: tuple[str, str]  # absolute, or "none"
    weights: weight_files.Weights | None
    device: str
    threads: int
    trace: list[dict[str, Any]] = field(default_factory=list)  # one entry an evaluation
    notes: tuple[str, ...] = ()  # what was decided for the user, to be said aloud
    ended: str = "done"  # "done", "interrupted", or why the computation failed


def transfer(
    config: Config,
    watch: Callable[[Step], None] = lambda step: None,
    say: Callable[[str], None] = lambda note: None,
    make_masks: MaskMaker | None = None,
) -> Result:
    """Give a photo the colours, light and mood of a reference, region by region.

    watch is called after every evaluation, say with each note as it arises; make_masks, where given, makes the masks.
    A KeyboardInterrupt or a divergence ends the optimisation early: `ended` says why, the picture is the best so far.
    Raises PhotostyleError for bad input or options and ComputationError where there is no picture at all.
    """
    check(config)
    device = prepare_torch(config)
    photo, reference = read_image(config.content), read_image(config.style)
    given = None if make_masks else read_both_masks(config.masks, photo, reference)
    loaded = _load_weights(config, say)
    encoder = _encoder(config, loaded, device)
    # Masks are made last: work is not begun before all that is given was found good.
    names = make_masks(photo, reference) if make_masks else config.masks
    masks = given or read_both_masks(names, photo, reference)
    guidance = pair_regions(photo.pixels, masks[0], reference.pixels, masks[1])
    notes = (*photo.notes, *reference.notes, *masks[0].notes, *masks[1].notes, *guidance.notes)
    for note in notes:
        say(note)
    full = _scene(photo, reference, guidance, device)
    strength = strength_map(config, full.content, masks[0])

    canvas, trace, ended = None, [], "done"
    maps = _colour_maps(full)
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
        reference,
        guidance,
        masks,
        _absolute(names),
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
    """The scene at a stage's size. The style picture gets the stage's long side too, but is never enlarged.

    A long, narrow one gets more, so that its short side holds patches.
    """
    height, width = size_of(full.style)
    long_side = max(stage.long_side, -(-LEAST_SIDE * max(height, width) // min(height, width)))
    style_size = fit_within(height, width, long_side)
    return Scene(
        resize(full.content, stage.height, stage.width),
        resize(full.style, *style_size),
        resize_masks(full.content_masks, stage.height, stage.width),
        resize_masks(full.style_masks, *style_size),
    )


def _scene(photo: Picture, reference: Picture, guidance: Guidance, device: torch.device) -> Scene:
    tensors = (photo.pixels, reference.pixels, guidance.content, guidance.style)
    return Scene(*(tensor.to(device) for tensor in tensors))


def read_both_masks(names: tuple[str, ...], photo: Picture, reference: Picture) -> tuple[MaskSet, MaskSet]:
    """The regions of both pictures as --masks names them: two paths, "none" for one without, or "none" alone."""
    if names in TO_BE_MADE:
        raise PhotostyleError(
            f"masks = {names[0]} needs something to make them: the command line has it; from Python, write masks "
            "with segmentation and give their folders"
        )
    if names == ("none",):
        return whole_picture(photo.height, photo.width), whole_picture(reference.height, reference.width)
    if len(names) != 2:
        raise PhotostyleError(
            f"--masks takes two paths, CONTENT_MASK STYLE_MASK, or none, auto or cluster; {len(names)} given"
        )

    def read(name: str, picture: Picture) -> MaskSet:
        if name == "none":
            return whole_picture(picture.height, picture.width)
        return read_masks(Path(name), picture.path, picture.height, picture.width)

    return read(names[0], photo), read(names[1], reference)


def _absolute(names: tuple[str, ...]) -> tuple[str, str]:
    ours, theirs = names if len(names) == 2 else ("none", "none")
    absolute = [name if name == "none" else str(Path(name).absolute()) for name in (ours, theirs)]
    return absolute[0], absolute[1]


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


def _colour_maps(full: Scene) -> Tensor:
    """One Monge-Kantorovich map a region, from area-reduced copies."""
    ours = fit_within(*size_of(full.content), COLOUR_SIDE)
    theirs = fit_within(*size_of(full.style), COLOUR_SIDE)
    return region_colour_maps(
        resize(full.content, *ours),
        resize_masks(full.content_masks, *ours),
        resize(full.style, *theirs),
        resize_masks(full.style_masks, *theirs),
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
