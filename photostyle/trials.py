"""Settings tried at low resolution: what may vary, what one trial computes, and which trials are worth keeping."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from photostyle.canvas import first_canvas
from photostyle.colour import region_colour_maps
from photostyle.config import Config
from photostyle.encoders import Encoder
from photostyle.errors import PhotostyleError
from photostyle.filters import fit_within, resize, size_of
from photostyle.guidance import pair_regions, resize_masks
from photostyle.images import read_image
from photostyle.metrics import STYLE_LAYERS, edge_similarity, gram_ratio, patch_ratio, region_weights
from photostyle.objective import Objective, Scene, feature_layers, needs_encoder
from photostyle.optimise import optimise
from photostyle.render import enlarge, render
from photostyle.schedule import Stage, schedule
from photostyle.settings import FILES, KINDS
from photostyle.transfer import COLOUR_SIDE, at_stage, prepare_torch, read_both_masks
from photostyle.validate import check
from photostyle.version import __version__
from photostyle.weights import Weights, find, locate

DIGITS = 4  # significant ones of a value that is tried: best.toml is read by people, and says exactly what was tried
# What does not change the numbers of a trial, or only their last bits: no part of a study's identity.
ASIDE = (
    *FILES,
    *("segmenter", "segmenter_revision", "refine_masks", "download", "device", "deterministic", "threads"),
    *("save_every", "plot", "metrics", "quiet"),
)


@dataclass(frozen=True)
class Dimension:
    """A setting that a search varies, between low and high; of a tuple setting, a factor on all its numbers."""

    field: str
    low: float
    high: float
    log: bool
    reason: str

    def default(self, config: Config) -> float:
        """The value that changes nothing."""
        value = getattr(config, self.field)
        return 1.0 if isinstance(value, tuple) else value


# patch_weight stays 1: only ratios of weights matter, so one of them is the unit. What 128 px cannot tell stays out:
# iterations and stages (larger sizes have more), patch_levels and structure_window (in pixels of the stage), and
# patch_size, with which a search could move the patches it optimises onto those it is scored by (7x7).
SPACE = (
    Dimension("structure_weight", 0.002, 0.2, True, "ten times either way: 0.002 is hardly felt, 0.2 rules"),
    Dimension("photorealism_weight", 0.025, 2.5, True, "ten times either way"),
    Dimension("photorealism_coarse", 0.1, 10.0, True, "a factor on all coarse scales: ten times either way"),
    Dimension("learning_rate", 0.02, 0.1, True, "below, 120 evaluations do not arrive; above, pixels clip"),
    Dimension("feather", 0, 24, False, "from hard borders to three times the default radius"),
    Dimension("gram_weight", 0.005, 0.5, True, "ten times either way; only where the preset has the term"),
    Dimension(
        "content_weight", 0.0005, 0.05, True, "ten times either way; only where the preset has the term"
    ),
)


@dataclass(frozen=True, eq=False)
class Problem:
    """Two photographs and their regions, read once and reduced to the size of the search."""

    config: Config  # of the default trial
    space: tuple[Dimension, ...]
    stages: tuple[tuple[Stage, Scene], ...]
    scene: Scene  # at the search's full size: where scores are taken
    maps: Tensor  # the canvas's colour maps
    encoder: Encoder | None  # of the terms
    judge: Encoder | None  # of the score
    identity: dict[str, Any]  # everything that the scores depend on, as JSON types
    notes: tuple[str, ...]

    @property
    def style_features(self) -> str:
        """What the style score is measured in."""
        return str(self.identity["style_features"])

    @property
    def name(self) -> str:
        """Of the study: the same photographs, settings and version have the same, on any machine."""
        text = json.dumps(self.identity, sort_keys=True)
        return f"photostyle-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Trial:
    """One point of the space and how it did. style: ratio to the untouched photo, lower is better; edge: SSIM."""

    number: int
    state: Literal["complete", "failed", "interrupted"]
    values: dict[str, float]  # by dimension
    settings: dict[str, Any]  # of Config, that differ from trial to trial
    seconds: float
    default: bool = False  # the preset's own settings
    style: float = math.nan
    edge: float = math.nan
    failure: str = ""

    @property
    def distance(self) -> float:
        """From what cannot be had, all of the style and every edge: sqrt(style^2 + (1 - edge)^2)."""
        return math.hypot(self.style, 1 - self.edge)


def prepare(
    config: Config,
    say: Callable[[str], None] = lambda note: None,
    space: Sequence[Dimension] = SPACE,
) -> Problem:
    """Read what the configuration names and reduce it to the search's size, --size.

    The style score is taken in VGG features where weights are given or cached, else in patches. Of the space those
    dimensions are kept whose term the configuration has. Raises PhotostyleError for bad input or options.
    """
    check(config)
    device = prepare_torch(config)
    photo, reference = read_image(config.content), read_image(config.style)
    masks = read_both_masks(config.masks, photo, reference)
    guidance = pair_regions(photo.pixels, masks[0], reference.pixels, masks[1])
    loaded = _weights(config, say)
    full = Scene(
        *(each.to(device) for each in (photo.pixels, reference.pixels, guidance.content, guidance.style))
    )
    stages = tuple((stage, at_stage(full, stage)) for stage in schedule(config, photo.height, photo.width))
    if not stages:
        raise PhotostyleError(
            f"--iterations is {config.iterations}: there is nothing to search without evaluations"
        )
    scene = stages[-1][1]
    region_weights(scene.content_masks, scene.style_masks)  # raises where nothing can be scored
    judge = None if loaded is None else Encoder(loaded.state, config.encoder, layers=STYLE_LAYERS).to(device)
    kept = tuple(dimension for dimension in space if _applies(dimension, config))
    identity = {
        "version": __version__,
        "content": photo.sha256,
        "style": reference.sha256,
        "content mask": masks[0].sha256,
        "style mask": masks[1].sha256,
        "weights": None if loaded is None else loaded.sha256,
        "style_features": "patches 7x7" if loaded is None else "Gram relu1_1-relu5_1",
        "settings": {name: _plain(value) for name, value in asdict(config).items() if name not in ASIDE},
        "space": [asdict(dimension) for dimension in kept],
    }
    notes = (*photo.notes, *reference.notes, *masks[0].notes, *masks[1].notes, *guidance.notes)
    return Problem(
        config,
        kept,
        stages,
        scene,
        _colour_maps(full),
        _encoder(config, loaded, device),
        judge,
        identity,
        notes,
    )


def attempt(problem: Problem, settings: Mapping[str, Any]) -> tuple[Tensor, float, float, float]:
    """Run the pipeline with some settings changed: the picture (3, h, w), its style and edge scores, the seconds.

    As `transfer` runs it, on pictures that are already reduced. Raises optimise.Diverged.
    """
    began = time.perf_counter()
    config = replace(problem.config, **settings)
    check(config)
    canvas: Tensor | None = None
    for stage, scene in problem.stages:
        if canvas is None:
            canvas = first_canvas(config, scene.content, scene.content_masks, problem.maps)
        elif canvas.shape != scene.content.shape:
            canvas = enlarge(scene.content, canvas)
        for step in optimise(canvas, Objective(config, stage, scene, problem.encoder), stage, config):
            canvas = step.image
    assert canvas is not None
    scene = problem.scene
    picture = render(
        scene.content,
        canvas,
        strength=config.strength,
        smooth_radius=config.smooth_radius,
        smooth_edge=config.smooth_edge,
    )
    pictures = (picture, scene.content, scene.style, scene.content_masks, scene.style_masks)
    style = patch_ratio(*pictures) if problem.judge is None else gram_ratio(*pictures, problem.judge)
    return picture.cpu(), style, edge_similarity(picture, scene.content), time.perf_counter() - began


def settings_of(values: Mapping[str, float], problem: Problem) -> dict[str, Any]:
    """A point of the space as settings of Config."""
    settings: dict[str, Any] = {}
    for name, value in values.items():
        before = getattr(problem.config, name)
        if isinstance(before, tuple):
            settings[name] = tuple(_rounded(value * each) for each in before)
        else:
            settings[name] = value if KINDS[name] is int else _rounded(value)
    return settings


def default_values(problem: Problem) -> dict[str, float]:
    """The point of the space that is the preset itself."""
    return {dimension.field: dimension.default(problem.config) for dimension in problem.space}


def complete(trials: Sequence[Trial]) -> list[Trial]:
    """Those that have scores."""
    return [trial for trial in trials if trial.state == "complete"]


def pareto_front(trials: Sequence[Trial]) -> list[Trial]:
    """The complete trials that no other beats in one score without losing in the other, best style first."""
    front: list[Trial] = []
    for trial in sorted(complete(trials), key=lambda each: (each.style, -each.edge, each.number)):
        # Sorted by style, a trial is beaten exactly where an earlier one has as many edges.
        best = front[-1] if front else None
        if best is None or trial.edge > best.edge or _same(trial, best):
            front.append(trial)
    return front


def choose(trials: Sequence[Trial]) -> Trial | None:
    """The complete trial of the least distance, of equal ones the first; None where none is complete."""
    return min(complete(trials), key=lambda trial: (trial.distance, trial.number), default=None)


def judged(problem: Problem) -> str:
    """In what the style score is taken, and how far it is from what is optimised: a line for people."""
    where = f"style is scored in {problem.style_features} at {problem.config.size} px"
    if problem.judge is None:
        return (
            f"{where}, relatives of the {problem.config.patch_size}x{problem.config.patch_size} patches that are "
            "optimised: it favours them; --weights FILE scores in VGG features"
        )
    if problem.config.gram_weight:
        return f"{where}, which the Gram term optimises too: it favours that term"
    return f"{where}, which no term optimises"


def _same(trial: Trial, other: Trial) -> bool:
    return (trial.style, trial.edge) == (other.style, other.edge)


def _applies(dimension: Dimension, config: Config) -> bool:
    """Whether the configuration has the term at all; raises where its value lies outside the range."""
    value = getattr(config, dimension.field)
    if not (any(value) if isinstance(value, tuple) else value):
        return False
    if not dimension.low <= dimension.default(config) <= dimension.high:
        raise PhotostyleError(
            f"{dimension.field} is {value}; a search looks from {dimension.low} to {dimension.high}: start inside"
        )
    return True


def _weights(config: Config, say: Callable[[str], None]) -> Weights | None:
    """For the terms where they need them; else for the score, where there are any without a download."""
    if needs_encoder(config):
        return find(config.weights, config.encoder, download=config.download, progress=say)
    if locate(config.weights, config.encoder, False) is None:
        return None
    return find(config.weights, config.encoder, download=False)


def _encoder(config: Config, loaded: Weights | None, device: torch.device) -> Encoder | None:
    if loaded is None or not needs_encoder(config):
        return None
    layers = feature_layers(config)
    return Encoder(loaded.state, config.encoder, layers=layers, pooling=config.pooling).to(device)


def _colour_maps(full: Scene) -> Tensor:
    """As `transfer` takes them: from copies of its own size, whatever the size of the search."""
    ours, theirs = (
        fit_within(*size_of(full.content), COLOUR_SIDE),
        fit_within(*size_of(full.style), COLOUR_SIDE),
    )
    return region_colour_maps(
        resize(full.content, *ours),
        resize_masks(full.content_masks, *ours),
        resize(full.style, *theirs),
        resize_masks(full.style_masks, *theirs),
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
