"""The whole story of `style-classes` in one function: from a tree of style folders to a style encoder and its space."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from photostyle.evaluation.records import read_record, write_record
from photostyle.feedforward.conditioning import published_inception, tell_apart
from photostyle.feedforward.data import ROOM, Pictures, as_pictures, middle, shrunk
from photostyle.feedforward.embeddings import FEWEST, Embeddings, map_of, plot_map
from photostyle.feedforward.encoder import StyleEncoder, style_network
from photostyle.feedforward.style_classes import (
    Classes,
    Classifier,
    ClassSettings,
    embeddings,
    load_encoder,
    save_encoder,
    tune,
)
from photostyle.losses.weights import hash_of
from photostyle.training.curves import plot_curves
from photostyle.training.pictures import Listing, find_pictures
from photostyle.training.records import training_record
from photostyle.training.states import seeded

ENCODER, SPACE, MAP = "encoder.safetensors", "embeddings.npz", "map.png"
RECORD, CURVES = "record.json", "curves.png"
COMMAND = "style-classes"  # of scripts/train.py, in records
LEAST = 64  # pixels of a picture's short side: half of it is cut
TOLD_APART = 64  # pictures that the linear layer is set by: as many as fit one batch of a laptop
PANELS = {"loss": ("loss",), "accuracy": ("accuracy", "held-out accuracy")}

Say = Callable[[str], None]


def style_space(
    data: Path,
    folder: Path,
    settings: ClassSettings,
    *,
    inception: Path | None = None,
    download: bool = True,
    device: torch.device | None = None,
    workers: int = 0,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Tune a style encoder on style folders and lay its space out; returns the record, which is written too.

    The folder gets encoder.safetensors, embeddings.npz, map.png (t-SNE), curves.png and record.json. Where it has the
    record, encoder and embeddings of the same pictures and settings, nothing is done again. Raises PhotostyleError for
    data that cannot be learnt from.
    """
    device = device or torch.device("cpu")
    listing = find_pictures(data, LEAST, workers)
    for each in listing.notes():
        say(f"note: {each}")
    classes = Classes.of(listing)
    if (known := _done_before(folder, listing, settings)) is not None:
        say(f"{folder / ENCODER} was tuned on these pictures with these settings: nothing to do again")
        return known
    began = time.monotonic()
    with seeded(settings.seed):
        pictures = Pictures(listing, round(ROOM * settings.size))
        encoder = _new_encoder(settings, pictures, inception, download, say)
        history = tune(Classifier(encoder, len(classes.names)), pictures, classes, settings, device, say)
        save_encoder(folder / ENCODER, encoder.cpu(), settings, classes.names)
        files = tuple(file.as_posix() for file in listing.files)
        named = tuple(classes.names[label] for label in classes.labels)
        space = Embeddings(embeddings(encoder, pictures, settings.size, device), files, named)
    space.save(folder / SPACE)
    if len(files) >= FEWEST:
        plot_map(map_of(space.z, settings.seed), named, folder / MAP)
    plot_curves(history, folder / CURVES, PANELS)
    record = training_record(
        COMMAND,
        asdict(settings),
        {"path": str(data.absolute()), "pictures": len(files), "classes": list(classes.names)}
        | {"broken": len(listing.broken), "sha256": listing.sha256},
        history,
        {"last epoch": history[-1], "encoder": hash_of(folder / ENCODER)},
        seconds=time.monotonic() - began,
        device=str(device),
        threads=torch.get_num_threads(),
        notes=listing.notes(),
    )
    write_record(folder / RECORD, record)  # last: a folder with a record is whole
    return record


def nearest_styles(
    picture: Path, folder: Path, settings: ClassSettings, count: int = 5
) -> list[tuple[str, str, float]]:
    """What `style_space` found whose style is nearest to a picture's: (file, class, cosine), the nearest first."""
    encoder = StyleEncoder(style_network(settings.style_network), settings.dimension)
    load_encoder(folder / ENCODER, encoder, settings)
    crop = middle(shrunk(picture, round(ROOM * settings.size)), settings.size)
    with torch.no_grad():
        z = encoder.eval()(as_pictures(crop[None], torch.device("cpu")))[0]
    return Embeddings.load(folder / SPACE).nearest(z, count)


def _done_before(folder: Path, listing: Listing, settings: ClassSettings) -> dict[str, Any] | None:
    """The record of the same work, where the folder has one, and with it what a query needs."""
    if not all((folder / name).exists() for name in (RECORD, ENCODER, SPACE)):
        return None
    record = read_record(folder / RECORD, COMMAND)
    same = record.get("settings") == asdict(settings) and record["data"].get("sha256") == listing.sha256
    return record if same else None


def _new_encoder(
    settings: ClassSettings, pictures: Pictures, inception: Path | None, download: bool, say: Say
) -> StyleEncoder:
    """With published weights where there are any; the linear layer tells the first pictures apart."""
    wanted = settings.style_network == "inception_v3"
    module = published_inception(inception, download, say) if wanted else None
    encoder = StyleEncoder(style_network(settings.style_network, module), settings.dimension)
    step = max(1, len(pictures) // TOLD_APART)
    some = [middle(pictures[n], settings.size) for n in range(0, len(pictures), step)]
    tell_apart(encoder, (as_pictures(each[None], torch.device("cpu")) for each in some))
    return encoder
