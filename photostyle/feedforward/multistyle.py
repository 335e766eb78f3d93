"""The whole story of a many-style training in one function, from two folders to a model: start reading here."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch

from photostyle.bounds import AtLeast, check_bounds
from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import write_record
from photostyle.evaluation.reports import contact_sheet
from photostyle.feedforward.conditioning import published_inception, tell_apart
from photostyle.feedforward.data import ROOM, Pictures, StyleGallery, as_pictures
from photostyle.feedforward.distributed import Ranks
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.samples import CONTENTS, STYLES, first_styles, middles, sample_rows
from photostyle.feedforward.settings import ModelSettings, Origin
from photostyle.feedforward.style_classes import load_encoder
from photostyle.feedforward.train import TARGETS_AT_ONCE, Report, Training, TrainingSettings
from photostyle.files.checkpoints import load_checkpoint, save_checkpoint
from photostyle.losses.encoders import Encoder
from photostyle.losses.weights import Weights, find
from photostyle.training.curves import plot_curves
from photostyle.training.pictures import Listing, find_pictures
from photostyle.training.progress import Progress
from photostyle.training.records import training_record
from photostyle.training.states import seeded

MODEL, CHECKPOINT, RECORD, CURVES = "model.safetensors", "checkpoint.safetensors", "record.json", "curves.png"
SAMPLES, EVENTS = "samples", "tensorboard"  # folders
LEAST = 64  # pixels of a picture's short side: half of it is cut, and 32 is the smallest crop
CELL = 128  # pixels of a picture in a sample sheet
PANELS = {"loss": ("total", "content", "style"), "gradient": ("gradient",)}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What a training is made from, and how it speaks.

    weights: the loss network's file; None for the cache or a download. style_encoder: what `style-classes` wrote, to
    begin with; inception: Inception-v3's published weights, where they are not in the cache. workers: processes that
    decode. every, sample_every, save_seconds: steps between reports and sheets, seconds between checkpoints.
    stop: whether to end at the next report. tensorboard: whether to write curves for it too.
    """

    contents: Path
    styles: Path
    folder: Path
    weights: Path | None = None
    style_encoder: Path | None = None
    inception: Path | None = None
    download: bool = True
    workers: int = 0
    every: Annotated[int, AtLeast(1)] = 50
    sample_every: Annotated[int, AtLeast(1)] = 500
    save_seconds: Annotated[float, AtLeast(0)] = 120.0
    licence: str = ""
    tensorboard: bool = False
    say: Say = lambda line: None
    show: Say | None = None
    stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        check_bounds(self)


def multistyle(
    asked: Asked, model_settings: ModelSettings, settings: TrainingSettings, ranks: Ranks
) -> dict[str, Any]:
    """Train a model of many styles; returns the record, which is written beside the model.

    The folder gets model.safetensors, record.json, curves.png, samples/ and the checkpoint that the same call goes on
    from; only the first of several processes writes. Raises PhotostyleError for what cannot be trained,
    ComputationError where training fails, KeyboardInterrupt, with a checkpoint written, where `asked.stop` says so.
    """
    asked = asked if ranks.leads else replace(asked, say=lambda line: None, show=None, tensorboard=False)
    contents = _listing(asked.contents, asked)
    styles = _listing(asked.styles, asked)
    weights = find(asked.weights, download=asked.download, progress=asked.say)
    encoder = Encoder(weights.state, layers=settings.layers())
    with seeded(settings.seed), _events(asked) as log:
        gallery = StyleGallery.of(
            Pictures(styles, round(ROOM * max(settings.style_sizes))),
            settings.style_sizes,
            settings.style_crops,
            settings.seed,
        )
        model = new_model(model_settings, gallery, asked)
        photos = Pictures(contents, round(ROOM * settings.size))
        hashes = {"contents": contents.sha256, "styles": styles.sha256, "loss network": weights.sha256}
        training = Training(model, settings, photos, gallery, encoder, ranks, hashes)
        if checkpoint := load_checkpoint(asked.folder / CHECKPOINT, asked.say):
            training.restore(checkpoint)
            asked.say(f"going on after step {training.step} of {settings.steps}")
        _run(training, asked, photos, log)
    if not ranks.leads:
        return {}
    return _written(training, asked, contents, styles, weights)


def new_model(settings: ModelSettings, gallery: StyleGallery, asked: Asked) -> StyleModel:
    """A model that was not trained yet, but whose style encoder tells the styles apart."""
    begins_published = (
        asked.style_encoder is None
        and settings.style_network == "inception_v3"
        and settings.injection != "patch"
    )
    inception = published_inception(asked.inception, asked.download, asked.say) if begins_published else None
    model = StyleModel(settings, inception=inception)
    if model.encoder is None:
        return model
    if asked.style_encoder is not None:
        load_encoder(asked.style_encoder, model.encoder, settings)
    else:
        batches = (some for crops in gallery.crops.values() for some in crops.split(TARGETS_AT_ONCE))
        tell_apart(model.encoder, (as_pictures(some, torch.device("cpu")) for some in batches))
    return model


def _listing(folder: Path, asked: Asked) -> Listing:
    listing = find_pictures(folder, LEAST, asked.workers)
    for each in listing.notes():
        asked.say(f"note: {each}")
    return listing


def _run(training: Training, asked: Asked, photos: Pictures, log: "Callable[[Report], None]") -> None:
    """To the end, or to where a stop is asked for; checkpoints, sheets and lines on the way."""
    leads, settings = training.ranks.leads, training.settings
    progress = Progress(settings.steps, asked.say, asked.show, done=training.step)
    saved = time.monotonic()
    for report in training.run(asked.every, asked.workers):
        progress(report.step, _line(report))
        log(report)
        done = report.step == settings.steps
        if leads and (done or report.step % asked.sample_every < asked.every):
            _sample(training, photos, asked.folder)
        # One process decides for all: their clocks and signals differ.
        flags = torch.tensor([float(asked.stop())], device=training.ranks.device)
        stop = bool(training.ranks.mean(flags) > 0)
        if leads and (done or stop or time.monotonic() - saved >= asked.save_seconds):
            save_checkpoint(asked.folder / CHECKPOINT, training.state())
            saved = time.monotonic()
        if stop and not done:
            raise KeyboardInterrupt


def _sample(training: Training, photos: Pictures, folder: Path) -> None:
    (folder / SAMPLES).mkdir(exist_ok=True)
    contents = middles(photos, training.settings.size, CONTENTS)
    rows = sample_rows(training.model, contents, first_styles(training.styles, STYLES), training.ranks.device)
    contact_sheet(rows, folder / SAMPLES / f"step-{training.step:06d}.jpg", CELL)


def _line(report: Report) -> str:
    terms = "  ".join(f"{name} {value:.3f}" for name, value in report.losses.items() if name != "variation")
    return f"{report.phase}  {terms}  waiting for data {report.waited:.0%}"


@contextmanager
def _events(asked: Asked) -> "Iterator[Callable[[Report], None]]":
    """Writes reports for TensorBoard, where that is asked for."""
    if not asked.tensorboard:
        yield lambda report: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise PhotostyleError(
            "--tensorboard needs the tensorboard package: pip install 'photostyle[tensorboard]'"
        ) from error
    with SummaryWriter(str(asked.folder / EVENTS)) as writer:

        def write(report: Report) -> None:
            for name, value in report.entry().items():
                if name != "step":
                    writer.add_scalar(name, value, report.step)

        yield write


def _written(
    training: Training, asked: Asked, contents: Listing, styles: Listing, weights: Weights
) -> dict[str, Any]:
    """The model, its curves and its record."""
    model, settings, path = training.model.cpu().eval(), training.settings, asked.folder / MODEL
    last = training.history[-1]
    model.origin = Origin(
        trained_on=f"{len(contents.files)} contents, {len(styles.files)} styles",
        licence=asked.licence,
        hashes=training.data,
        notes={"steps": str(settings.steps), "total loss": f"{last['total']:.4g}"},
    )
    sha256 = model.save(path)
    marks = {"encoder alone": settings.joint_steps} if settings.encoder_epochs else None
    plot_curves(training.history, asked.folder / CURVES, PANELS, axis="step", marks=marks)
    data = {
        name: {"path": str(each.folder.absolute()), "pictures": len(each.files), "broken": len(each.broken)}
        | {"sha256": each.sha256}
        for name, each in (("contents", contents), ("styles", styles))
    }
    record = training_record(
        "multistyle",
        {**asdict(model.settings), **asdict(settings)},
        data,
        training.history,
        {"losses": last, "output": {"path": str(path.absolute()), "sha256": sha256}},
        seconds=training.seconds,
        device=str(training.ranks.device),
        threads=torch.get_num_threads(),
        notes=[*contents.notes(), *styles.notes()],
    )
    record |= {"weights": {"path": str(weights.path), "sha256": weights.sha256}}
    write_record(asked.folder / RECORD, record)
    return record
