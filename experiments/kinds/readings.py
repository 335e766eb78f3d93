"""Two readings of one method: the released code's normalisation against the equations as the paper prints them."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.kinds.printed import printed_objective
from experiments.pairs import SLIM, pair_files, read_pair, slim_encoder
from experiments.tables import table
from photostyle.config import Recipe
from photostyle.evaluation.comparison import Comparison
from photostyle.evaluation.reports import contact_sheet
from photostyle.evaluation.scores import SCORES, score
from photostyle.files.images import read_image, write_image
from photostyle.finish import rendered
from photostyle.imaging.matting import MattingOperator
from photostyle.losses.encoders import Encoder
from photostyle.losses.term import Terms
from photostyle.losses.weights import find
from photostyle.objective import Objective, feature_layers
from photostyle.presets import recipe
from photostyle.regions.guidance import pair_regions
from photostyle.regions.mixture import alone
from photostyle.scene import Scene
from photostyle.solver import MakeObjective, solve, staged, starting

RELEASED, PRINTED, AREA = "released", "printed", "printed, Grams over area"
MOMENTS = ("start", "second pass", "end")
LAYERS = tuple(f"relu{block}_1" for block in range(1, 6))
TERMS = ("content", *(f"gram {layer}" for layer in LAYERS), "variation", "photorealism")
GROUPS = ("content", "style", "variation", "photorealism")
# The released code's content and style weights (neuralstyle_seg.lua): 5 and 100, on Caffe's features.
CONTENT, GRAM = 5.0, 100.0
# Caffe's VGG-19 takes BGR on the 256 scale with these means taken off (neuralstyle_seg.lua: preprocess), here as RGB.
CAFFE_MEAN, CAFFE_RANGE = (123.68, 116.779, 103.939), 256.0
# What the released code prints for pair 1 at 400x225, evaluation 1000 of its second pass (issue 5 of its repository);
# variation and photorealism are not among its values.
QUOTED = {
    "content": 1396670.0,
    "gram relu1_1": 635.0,
    "gram relu2_1": 14421.0,
    "gram relu3_1": 16077.0,
    "gram relu4_1": 252506.0,
    "gram relu5_1": 969.0,
}


def runs(settings: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """One optimisation a reading."""
    common = {name: value for name, value in settings.items() if name != "readings"}
    return {reading: {"reading": reading, **common} for reading in settings["readings"]}


def inputs(parameters: Mapping[str, Any]) -> list[str]:
    """What a run reads, relative to the data folder."""
    own = [parameters["caffe"]] if parameters["caffe"] else []
    return [*pair_files(parameters["pair"]), SLIM.as_posix(), *own]


def execute(parameters: Mapping[str, Any], data: Path, folder: Path) -> dict[str, Any]:
    """Both passes from noise under one reading; the terms at three moments, the picture and its scores."""
    pair, released = read_pair(data, parameters["pair"]), recipe_of(parameters)
    regions = pair_regions(pair.content.pixels, pair.masks[0], pair.style.pixels, pair.masks[1])
    full = Scene(pair.content.pixels, regions.content, alone(pair.style.pixels, regions.style))
    objectives = _objectives(parameters, released, _encoder(parameters, released, data))
    moments, canvas = _optimise(released, full, objectives)
    picture = rendered(released, full.content, canvas, released.strength)
    write_image(folder / f"{parameters['reading']}.png", picture)
    write_image(folder / f"{parameters['reading']} unsmoothed.png", canvas)
    compared = Comparison(picture, full.content, full.style, full.content_masks, full.style_masks)
    return {
        "moments": moments,
        "width": canvas.shape[2],
        "height": canvas.shape[1],
        "scores": score(compared, slim_encoder(data)).as_dict(),
    }


def recipe_of(parameters: Mapping[str, Any]) -> Recipe:
    """The released recipe in the units of the encoder's features."""
    content, gram = _units(parameters)
    return recipe(
        "released",
        size=parameters["size"],
        coarsest=parameters["size"],
        first_pass=parameters["first_pass"],
        iterations=(parameters["evaluations"],),
        content_weight=CONTENT * content,
        gram_weight=GRAM * gram,
    )


def _units(parameters: Mapping[str, Any]) -> tuple[float, float]:
    """What content and style weights made for Caffe's features are multiplied by."""
    return (1.0, 1.0) if parameters["caffe"] else (parameters["content_unit"], parameters["gram_unit"])


def _encoder(parameters: Mapping[str, Any], released: Recipe, data: Path) -> Encoder:
    layers = feature_layers(released)
    if parameters["caffe"]:
        return caffe_encoder(find(data / parameters["caffe"], "vgg19", download=False).state, layers)
    return Encoder(find(data / SLIM, "vgg19", download=False).state, "vgg19", layers=layers)


def caffe_encoder(state: Mapping[str, Tensor], layers: Iterable[str]) -> Encoder:
    """A VGG-19 with Caffe's weights under torchvision's names: image (3, H, W) in [0, 1], RGB, as for every encoder.

    Its first convolution takes BGR on the 256 scale less the means: the channels are turned round in the weights.
    """
    turned = {**state, "features.0.weight": state["features.0.weight"].flip(1)}
    encoder = Encoder(turned, "vgg19", layers=tuple(layers))
    encoder.mean = torch.tensor(CAFFE_MEAN)[:, None, None] / CAFFE_RANGE
    encoder.deviation = torch.full((3, 1, 1), 1 / CAFFE_RANGE)
    return encoder


def _objectives(parameters: Mapping[str, Any], released: Recipe, encoder: Encoder) -> MakeObjective:
    if parameters["reading"] == RELEASED:
        return lambda stage, scene: Objective(released, stage, scene, encoder)
    area = {PRINTED: False, AREA: True}[parameters["reading"]]
    return lambda stage, scene: printed_objective(
        scene, encoder, _units(parameters), stage.photorealism, area=area
    )


def _optimise(released: Recipe, full: Scene, objectives: MakeObjective) -> tuple[dict[str, Any], Tensor]:
    """Noise through both passes -> what the whole objective says at MOMENTS, and the last picture."""
    stages = list(staged(full, released))
    last, scene = stages[-1]
    whole, operator = objectives(last, scene), MattingOperator.of(scene.content)
    canvas = starting(full, released)(scene)
    seen = [measure(whole, operator, canvas)]
    for step in solve(full, released, objectives, stages=stages):
        canvas = step.image
        if step.iteration == step.stage.iterations:
            seen.append(measure(whole, operator, canvas))
    return dict(zip(MOMENTS, seen, strict=True)), canvas


def measure(objective: Callable[[Tensor], Terms], operator: MattingOperator, image: Tensor) -> dict[str, Any]:
    """The weighted terms of an image (3, H, W), the L2 norm of each group's gradient, the bare matting energy."""
    leaf = image.detach().clone().requires_grad_()
    terms = objective(leaf)
    gradients = {}
    for group in GROUPS:
        if members := [value for name, value in terms.items() if _group(name) == group]:
            (gradient,) = torch.autograd.grad(torch.stack(members).sum(), leaf, retain_graph=True)
            gradients[group] = float(gradient.norm())
    return {
        "terms": {name: float(value.detach()) for name, value in terms.items()},
        "gradients": gradients,
        "energy": float(operator.energy(image)),
    }


def _group(term: str) -> str:
    return "style" if term.startswith("gram") else term


def summarise(settings: Mapping[str, Any], records: Mapping[str, Any]) -> dict[str, Any]:
    """Each reading's shares of the terms and of the gradients, its energies and its scores."""
    readings = {}
    for reading, record in records.items():
        moments = record["figures"]["moments"]
        readings[reading] = {
            "values": moments["end"]["terms"],
            "shares": {name: shares(each["terms"]) for name, each in moments.items()},
            "gradients": {name: shares(each["gradients"]) for name, each in moments.items()},
            "energy": {name: each["energy"] for name, each in moments.items()},
            "scores": record["figures"]["scores"],
            "size": [record["figures"]["width"], record["figures"]["height"]],
        }
    return {"caffe": bool(settings["caffe"]), "units": list(_units(settings)), "readings": readings}


def shares(values: Mapping[str, float]) -> dict[str, float]:
    """Every value over the sum of all; none is negative here."""
    total = sum(values.values())
    return {name: value / total for name, value in values.items()}


def tables(figures: Mapping[str, Any]) -> str:
    """Shares of the terms, shares of the gradients, energies and scores; the quoted values beside Caffe's."""
    readings = figures["readings"]
    width, height = next(iter(readings.values()))["size"]
    parts = [
        f"Solved at {width}x{height}. {_unit_note(figures)}",
        "",
        "Shares of the objective at the noise it starts from, where the second pass begins, and at the end. Matting is",
        "counted throughout and acts in the second pass.",
        "",
        _share_table(readings),
        "",
        "Shares of the gradient's L2 norms where the second pass begins: who pulls how hard.",
        "",
        table(["reading", *GROUPS], [_gradient_row(*item) for item in readings.items()]),
        "",
        "E: bare matting energy Σ xᵀLx of the solved picture, before smoothing. Scores: of the smoothed picture at the",
        "photo's size.",
        "",
        table(
            ["reading", "E, second pass begins", "E, end", *SCORES],
            [_score_row(*item) for item in readings.items()],
        ),
    ]
    if figures["caffe"]:
        parts += ["", _quoted_table(readings)]
    else:
        parts += ["", "Caffe's weights were not given, so the values quoted for them are not compared."]
    return "\n".join(parts)


def _unit_note(figures: Mapping[str, Any]) -> str:
    if figures["caffe"]:
        return "Caffe's features, all weights as they stand."
    content, gram = figures["units"]
    return (
        f"The slim encoder's features are not Caffe's: the weight of content is multiplied by {content:g} and that of "
        f"style by {gram:g} in every reading, so that the released one ends near the terms quoted for it (content "
        f"{QUOTED['content']:.3g}, style {sum(QUOTED.values()) - QUOTED['content']:.3g})."
    )


def _share_table(readings: Mapping[str, Any]) -> str:
    head = ["term", *(f"{reading}: {moment}" for reading in readings for moment in MOMENTS)]
    rows = [
        [
            term,
            *(_share(entry["shares"][moment].get(term)) for entry in readings.values() for moment in MOMENTS),
        ]
        for term in TERMS
    ]
    return table(head, rows)


def _gradient_row(reading: str, entry: Mapping[str, Any]) -> list[str]:
    return [reading, *(_share(entry["gradients"]["second pass"].get(group)) for group in GROUPS)]


def _score_row(reading: str, entry: Mapping[str, Any]) -> list[str]:
    energies = [f"{entry['energy'][moment]:.1f}" for moment in MOMENTS[1:]]
    return [reading, *energies, *(f"{entry['scores'][name]:.3f}" for name in SCORES)]


def _quoted_table(readings: Mapping[str, Any]) -> str:
    values = readings[RELEASED]["values"]
    rows = [[term, f"{values[term]:.0f}", f"{quoted:.0f}"] for term, quoted in QUOTED.items()]
    return table(["term", "ours", "quoted (400x225, evaluation 1000 of the second pass)"], rows)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def sheet(settings: Mapping[str, Any], data: Path, folder: Path) -> None:
    """The published photograph is not to be passed on: its pictures stay in runs."""
    pair, runs = read_pair(data, settings["pair"]), folder / "runs"
    first = [("photo", pair.content.pixels), ("reference", pair.style.pixels)]
    pictures = {
        kind: [
            (f"{name}{kind}", read_image(runs / f"{name}{kind}.png").pixels) for name in settings["readings"]
        ]
        for kind in ("", " unsmoothed")
    }
    contact_sheet([first, *pictures.values()], runs / "sheet.png")
