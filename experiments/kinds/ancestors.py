"""Two photographs, every preset: the programs that this field starts from beside the photorealistic ones."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from skimage import data as photographs
from sklearn.datasets import load_sample_image
from torch import Tensor

from experiments.demonstration import PAVILION, ROCKET, paint, paint_lamps
from experiments.pairs import SLIM, slim_encoder
from experiments.tables import table
from photostyle import configure, transfer
from photostyle.evaluation.comparison import Comparison
from photostyle.evaluation.reports import BETTER, contact_sheet
from photostyle.evaluation.scores import SCORES, score
from photostyle.files.arrays import mask_set_of
from photostyle.files.images import read_image, write_image
from photostyle.losses.weights import hash_of
from photostyle.regions.guidance import pair_regions
from photostyle.result import Result

CELL = 400  # pixels of a picture's width on the sheet
COLUMNS = 3
CAPTIONS = {"content": "photo (danielbuechele, CC BY 2.0)", "style": "reference (SpaceX, public domain)"}

# The curve that is known of the VGG-16 program, of its own picture: weighted terms after the last of its steps.
QUOTED = {"steps": 600, "content": 151.0451, "style": 1.0953}


def runs(settings: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """One run for each preset."""
    return {each["name"]: {**each, "weights": settings["weights"]} for each in settings["presets"]}


def inputs(parameters: Mapping[str, Any]) -> list[str]:
    """What a run reads, relative to the data folder: the weights, and the network that scores are taken in."""
    return list(dict.fromkeys(each for each in (parameters["weights"], SLIM.as_posix()) if each))


def execute(parameters: Mapping[str, Any], data: Path, folder: Path) -> dict[str, Any]:
    """One transfer: its picture, its scores on the painted regions, its last terms, its seconds."""
    content, style = load_sample_image("china.jpg"), photographs.rocket()
    regions = [paint(PAVILION, *content.shape[:2]), paint(ROCKET, *style.shape[:2])]
    paint_lamps(regions[1])
    settings = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in parameters["config"].items()
    }
    if parameters["masks"]:
        settings["masks"] = [mask_set_of(each) for each in regions]
    if parameters["weights"]:
        settings["weights"] = data / parameters["weights"]
    config = configure(content=np.asarray(content), style=np.asarray(style), **settings)
    began = time.perf_counter()
    result = transfer(config)
    seconds = time.perf_counter() - began
    write_image(folder / f"{parameters['name']}.png", result.image)
    return {
        "seconds": seconds,
        "evaluations": len(result.trace),
        "terms": _last_terms(result),
        "curve": _curve(result),
        "weights": _network(parameters, result),
        "scores": _scores(result, regions, data),
    }


def _scores(result: Result, regions: list[np.ndarray], data: Path) -> dict[str, float]:
    """The scores on the painted regions, whatever a preset made of them."""
    ours, theirs = (mask_set_of(each) for each in regions)
    photo, reference = result.photo.pixels, result.reference.pixels
    painted = pair_regions(photo, ours, reference, theirs)
    compared = Comparison(result.image, photo, reference, painted.content, painted.style)
    return score(compared, slim_encoder(data)).as_dict()


def _network(parameters: Mapping[str, Any], result: Result) -> str:
    """What the network's weights were, for the record."""
    if result.weights is None:
        return "none"
    where = parameters["weights"] or result.weights.path.name
    return f"{where} (SHA-256 {hash_of(result.weights.path)[:12]})"


def _last_terms(result: Result) -> dict[str, float]:
    return _terms(result.trace[-1]) if result.trace else {}


def _curve(result: Result) -> dict[str, dict[str, float]]:
    """The terms at every hundredth evaluation, and at the last."""
    moments = [*range(100, len(result.trace), 100), len(result.trace)] if result.trace else []
    return {str(moment): _terms(result.trace[moment - 1]) for moment in moments}


def _terms(entry: Mapping[str, Any]) -> dict[str, float]:
    """The weighted terms of an evaluation by name, layers added up."""
    terms: dict[str, float] = {}
    for name, value in entry.items():
        if name not in ("stage", "iteration", "seconds"):
            terms[name.split()[0]] = terms.get(name.split()[0], 0.0) + value
    return terms


def summarise(settings: Mapping[str, Any], records: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of every preset by its name, in the order of the settings."""
    return {"presets": {name: record["figures"] for name, record in records.items()}}


LEGEND = """\
The scores are on the painted regions, whatever a preset made of them; style in features of the slim VGG-19 (1: the
untouched photo, 0: the reference's). Seconds by the clock on a busy machine: those of the two longest are up to three
times too many, see the answer."""


def tables(figures: Mapping[str, Any]) -> str:
    """Scores and seconds, then the VGG-16 program's curve beside what is known of it."""
    rows = [
        [
            f"`{name}`",
            f"{entry['evaluations']}",
            f"{entry['seconds']:.3g} s",
            *(f"{entry['scores'][each]:.3f}" for each in SCORES),
        ]
        for name, entry in figures["presets"].items()
    ]
    head = ["preset", "evaluations", "in all", *(f"{each} {BETTER[each]}" for each in SCORES)]
    used = sorted({entry["weights"] for entry in figures["presets"].values()} - {"none"})
    return "\n\n".join([LEGEND, f"Weights: {', '.join(used)}.", table(head, rows), _quoted(figures)])


def _quoted(figures: Mapping[str, Any]) -> str:
    """The one curve that a source document quotes, and why it cannot be had again."""
    ours = figures["presets"].get("gatys-vgg16")
    if ours is None:
        return ""
    rows = [
        [step, f"{terms['content']:.4g}", f"{terms['gram']:.4g}"] for step, terms in ours["curve"].items()
    ]
    rows.append([f"quoted, {QUOTED['steps']}", f"{QUOTED['content']:g}", f"{QUOTED['style']:g}"])
    return (
        "The VGG-16 program quotes its terms after 600 steps, of its own picture; ours of these photographs:\n\n"
        f"{table(['step', 'content', 'style'], rows)}\n\n"
        "They cannot be matched: its picture, its five layers, the factor of its style, its optimiser, its "
        "rate and its size are not given, and these weights are not those of VGG-16. They share that the content "
        "grows to hundreds, and that the style ends below it."
    )


def sheet(settings: Mapping[str, Any], data: Path, folder: Path) -> None:
    """Photo, reference and every preset's picture; both photographs may be passed on."""
    pictures: list[tuple[str, Tensor | np.ndarray]] = [
        (CAPTIONS["content"], load_sample_image("china.jpg")),
        (CAPTIONS["style"], photographs.rocket()),
    ]
    pictures += [
        (each["name"], read_image(folder / "runs" / f"{each['name']}.png").pixels)
        for each in settings["presets"]
    ]
    rows = [pictures[first : first + COLUMNS] for first in range(0, len(pictures), COLUMNS)]
    contact_sheet(rows, folder / "sheet.jpg", CELL)
