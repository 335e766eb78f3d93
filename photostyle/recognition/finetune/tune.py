"""The whole story of a fine-tuning in one function, from data to weights, pictures and record: start reading here."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from photostyle.evaluation.records import write_record
from photostyle.files.checkpoints import load_checkpoint, refuse_other
from photostyle.losses.weights import hash_of
from photostyle.networks.heads import Head
from photostyle.networks.published import published
from photostyle.recognition.finetune.data import Data, read_data
from photostyle.recognition.finetune.loop import CHECKPOINT, WEIGHTS, Hooks, Loop, Place
from photostyle.recognition.finetune.report import (
    accuracies,
    confused,
    confusion_matrix,
    plot_confusion,
    plot_history,
)
from photostyle.recognition.finetune.settings import FinetuneSettings, blocks_of, check_settings
from photostyle.recognition.finetune.start import Start, begin_with
from photostyle.training.records import training_record
from photostyle.training.states import seeded

RECORD, CURVES, CONFUSION = "record.json", "curves.png", "confusion.png"


def finetune(
    data: str,
    settings: FinetuneSettings,
    folder: Path,
    *,
    weights: Path | None = None,
    download: bool = True,
    device: torch.device | None = None,
    workers: int = 0,
    hooks: Hooks | None = None,
) -> dict[str, Any]:
    """Train a classification network for the classes of some data; returns the record, which is written too.

    data: "digits", a folder or archive of CIFAR-10, or a folder of class folders. folder: an existing one, for
    weights.safetensors (those of the best validation), record.json, curves.png, confusion.png and the checkpoint that
    the same call goes on from. weights: to begin with, in place of the published ones. device: default CPU.
    Raises PhotostyleError for what cannot be trained, ComputationError where training fails, and KeyboardInterrupt,
    with a checkpoint written, where hooks.stop says so.
    """
    hooks, device = hooks or Hooks(), device or torch.device("cpu")
    check_settings(settings)
    made = published(settings.network)
    learnt = read_data(data, settings, made.size, made.resize, workers=workers, say=hooks.say)
    start = begin_with(
        settings, len(learnt.classes), learnt.size, file=weights, download=download, say=hooks.say
    )
    identity = asdict(settings) | {"data": learnt.sha256, "weights": start.weights["sha256"]}
    head = Head(settings.network, blocks_of(settings), learnt.size, learnt.resize)
    metadata = head.metadata() | {"classes": json.dumps(learnt.classes)}
    checkpoint = load_checkpoint(folder / CHECKPOINT, hooks.say)
    if checkpoint is not None:
        refuse_other(checkpoint, identity)
    with seeded(settings.seed):
        loop = Loop(start, learnt, settings, folder, identity, metadata, device, workers, hooks)
        place = loop.run(checkpoint)
        loop.load_best()
        began = time.monotonic()
        logits, labels = loop.evaluate(learnt.test)
    matrix = confusion_matrix(logits.argmax(1).numpy(), labels.numpy(), len(learnt.classes))
    plot_confusion(matrix, learnt.classes, folder / CONFUSION)
    plot_history(place.history, folder / CURVES)
    record = training_record(
        "finetune",
        asdict(settings) | {"rates": list(settings.rates)},
        learnt.described(),
        place.history,
        _outcome(place, matrix, learnt, folder),
        seconds=place.seconds + time.monotonic() - began,
        device=str(device),
        threads=torch.get_num_threads(),
    ) | {"weights": start.weights | {"head": _described(start), "size": learnt.size}}
    write_record(folder / RECORD, record)
    return record


def _outcome(place: Place, matrix: np.ndarray, data: Data, folder: Path) -> dict[str, Any]:
    return {
        "best epoch": place.best_epoch,
        "epochs": place.epoch,
        "validation accuracy": place.best[0],
        "test accuracy": float(np.trace(matrix) / matrix.sum()),
        "accuracy by class": accuracies(matrix, data.classes),
        "confused": confused(matrix, data.classes),
        "confusion matrix": matrix.tolist(),
        "output": {"path": str((folder / WEIGHTS).absolute()), "sha256": hash_of(folder / WEIGHTS)},
    }


def _described(start: Start) -> str:
    return " ".join(str(start.head).split())
