"""One trial of a search: the pipeline at low resolution with some settings changed, and its scores."""

import copy
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.evaluation.comparison import Comparison, region_weights
from photostyle.evaluation.doubt import DOUBTFUL, doubt
from photostyle.evaluation.scores import (
    DRIFT_SIDE,
    PATCH,
    drift,
    edge_similarity,
    gram_ratio,
    patch_ratio,
    score_encoder,
)
from photostyle.evaluation.signs import find_signs
from photostyle.files.arrays import read_photograph
from photostyle.files.images import as_kept
from photostyle.finish import rendered, strengths_of
from photostyle.imaging.filters import size_of
from photostyle.losses.encoders import Encoder
from photostyle.losses.weights import Weights, find, locate
from photostyle.materials import Plan, full_scene, planned, read_all_masks
from photostyle.objective import encoder_for, feature_layers
from photostyle.process import device_named
from photostyle.regions.relation import dial
from photostyle.scene import Scene, Stage
from photostyle.search.space import SPACE, Dimension, space_of
from photostyle.solver import restrained, solve, staged, starting
from photostyle.validate import check, check_recipe
from photostyle.version import __version__

# What a search looks for, and which way each is better: as in `Trial`.
OBJECTIVES: dict[str, Literal["minimize", "maximize"]] = {
    "style": "minimize",
    "edge": "maximize",
    "doubt": "minimize",
}


@dataclass(frozen=True, eq=False)
class Problem:
    """Two photographs and their regions, read once and reduced to the sizes of the search's stages."""

    config: Config  # of the default trial
    space: tuple[Dimension, ...]
    stages: tuple[tuple[Stage, Scene], ...]
    plan: Plan  # how far each region goes, and what keeps its colour
    start: Tensor | None  # what the start "file" begins with
    encoder: Encoder | None  # of the terms
    scorer: Encoder | None  # of the style score
    identity: dict[str, Any]  # everything that scores depend on, as JSON types

    @property
    def scene(self) -> Scene:
        """At the search's full size: what is scored."""
        return self.stages[-1][1]

    @cached_property
    def compared(self) -> Comparison:
        """The untouched photo as a result: what scores derive from photo and reference serves every trial."""
        scene = self.scene
        return Comparison(scene.content, scene.content, scene.style, scene.content_masks, scene.style_masks)

    @property
    def style_features(self) -> str:
        """What the style score is measured in."""
        return str(self.identity["style_features"])

    @property
    def name(self) -> str:
        """Of the study: photographs, settings and version give the same one on every machine."""
        text = json.dumps(self.identity, sort_keys=True)
        return f"photostyle-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Trial:
    """One point of the space and what came of it; scores are NaN where it is not complete."""

    number: int
    state: Literal["complete", "failed", "interrupted"]
    values: dict[str, float]  # by dimension
    settings: dict[str, Any]  # the same as settings of Config
    seconds: float
    default: bool = False  # the preset's own settings
    style: float = math.nan  # ↓ distance to the reference's style over the photo's own
    edge: float = math.nan  # ↑ SSIM of edges with the photo's
    drift16: float = math.nan  # ↓ slow stains, which style and edge do not see: shown, not optimised
    doubt: float = math.nan  # ↓ how likely a person would throw the picture away
    failure: str = ""

    @property
    def distance(self) -> float:
        """To what cannot be had, all of the style and every edge: sqrt(style^2 + (1 - edge)^2)."""
        return math.hypot(self.style, 1 - self.edge)

    @property
    def doubtful(self) -> bool:
        """Whether a person would rather throw the picture away."""
        return self.doubt > DOUBTFUL


@dataclass(frozen=True, eq=False)
class Solution:
    """What a trial computed: the picture (3, h, w) in [0, 1] on the CPU, and its scores as in `Trial`."""

    picture: Tensor
    style: float
    edge: float
    drift16: float
    doubt: float


def prepare(
    config: Config,
    say: Callable[[str], None] = lambda note: None,
    space: Iterable[Dimension] = SPACE,
) -> Problem:
    """Read what the configuration names, once, and reduce it to the sizes of its stages.

    The style score is taken in VGG features where weights are given or cached, else in patches. Raises
    PhotostyleError for bad input or options.
    """
    check(config)
    device = device_named(config.device)
    if len(config.style) > 1:
        raise PhotostyleError(
            f"a search scores against one reference, {len(config.style)} are given; give one"
        )
    photo, reference = read_photograph(config.content), read_photograph(config.style[0])
    masks = read_all_masks(config.masks, photo, [reference])
    plan = planned(config, photo, [reference], masks)
    if config.boldness == 0:
        raise PhotostyleError(
            "--boldness 0 is the closed form, where there is nothing to search; leave it out"
        )
    if plan.how.closed:
        raise PhotostyleError(
            "nothing says that the photographs are related, so every trial would be the closed form; give masks, or "
            "--boldness 1 for all that the whole reference holds"
        )
    kept, loaded = space_of(config, space), _weights(config, say)
    full = restrained(
        full_scene(photo, [reference], plan.guidance, device), plan.how.boldness, config.feather
    )
    stages = tuple(staged(full, config))
    if not stages:
        raise PhotostyleError(
            "--iterations is 0: without evaluations there is nothing to search; give 1 or more"
        )
    region_weights(full.content_masks, full.style_masks)  # raises where nothing can be scored
    identity = {
        "version": __version__,
        "content": photo.sha256,
        "style": reference.sha256,
        "content mask": masks[0].sha256,
        "style mask": masks[1].sha256,
        "weights": None if loaded is None else loaded.sha256,
        "style_features": f"patches {PATCH}x{PATCH}" if loaded is None else "Gram relu1_1-relu5_1",
        "settings": asdict(config.recipe),
        "objectives": list(OBJECTIVES),
        "space": [[each.field, each.low, each.high, each.log] for each in kept],
    }
    # Through JSON, so that it equals what is read back: there are no tuples there.
    identity = json.loads(json.dumps(identity))
    scorer = None if loaded is None else score_encoder(loaded, config.encoder).to(device)
    terms = encoder_for(config, loaded, device=device)
    first = None if config.start_file is None else read_photograph(config.start_file).pixels
    return Problem(config, kept, stages, plan, first, terms, scorer, identity)


def solve_with(problem: Problem, settings: Mapping[str, Any]) -> Solution:
    """Run the pipeline with some settings changed, as `transfer` does, on pictures that are already reduced.

    Raises optimisers.Diverged.
    """
    recipe = replace(problem.config.recipe, **settings)
    check_recipe(recipe)
    scene, stages, canvas = problem.scene, problem.stages, None
    how = dial(problem.plan.related, recipe.boldness, recipe.strength, problem.plan.by_region)
    if recipe.boldness != problem.config.boldness:
        held = restrained(scene, how.boldness, recipe.feather).restraint
        stages = tuple((stage, replace(each, restraint=held)) for stage, each in stages)
        scene = stages[-1][1]
    start = starting(scene, recipe, problem.start)
    for step in solve(scene, recipe, encoder=problem.encoder, start=start, stages=stages):
        canvas = step.image
    assert canvas is not None  # a problem has stages
    strength = strengths_of(recipe, scene.content, scene.content_masks, how)
    picture = rendered(recipe, scene.content, as_kept(canvas).to(canvas.device), strength, problem.plan.parts)
    return Solution(picture.cpu(), *_scores(problem, picture))


def placed(problem: Problem, device: torch.device | str) -> Problem:
    """The same problem on another device; itself where it is there."""
    device = torch.device(device)
    if problem.scene.content.device.type == device.type:
        return problem

    def moved(encoder: Encoder | None) -> Encoder | None:
        return None if encoder is None else copy.deepcopy(encoder).to(device)

    return replace(
        problem,
        stages=tuple((stage, scene.to(device)) for stage, scene in problem.stages),
        encoder=moved(problem.encoder),
        scorer=moved(problem.scorer),
    )


def scored_in(problem: Problem) -> str:
    """In what style is scored, and how near that is to what is optimised: a line for people."""
    config, where = problem.config, f"style is scored in {problem.style_features} at {problem.config.size} px"
    if problem.scorer is None:
        optimised = f"{config.patch_size}x{config.patch_size}"
        return (
            f"{where}, relatives of the {optimised} that are optimised; --weights FILE scores in VGG features"
        )
    if config.gram_weight:
        return f"{where}, which the Gram term optimises too"
    return f"{where}, which no term optimises"


def _scores(problem: Problem, picture: Tensor) -> tuple[float, float, float, float]:
    """Style, edge, drift16, doubt. The 16 px are of a picture of DRIFT_SIDE, so fewer of a smaller one."""
    compared = problem.compared.with_result(picture)
    style = patch_ratio(compared) if problem.scorer is None else gram_ratio(compared, problem.scorer)
    radius = max(1, round(16 * min(1, max(size_of(picture)) / DRIFT_SIDE)))
    return style, edge_similarity(compared), drift(compared, radius), doubt(find_signs(compared))


def _weights(config: Config, say: Callable[[str], None]) -> Weights | None:
    """For the terms where they need them; else for the score alone, where there are any without a download."""
    if feature_layers(config):
        return find(config.weights, config.encoder, download=config.download, progress=say)
    if locate(config.weights, config.encoder, False) is None:
        return None
    return find(config.weights, config.encoder, download=False)
