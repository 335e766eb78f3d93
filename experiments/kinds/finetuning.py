"""Fine-tuning on scikit-learn's digits, from random weights: regimes, rates, depth and size, by the command's code."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.tables import table
from photostyle.evaluation.reports import contact_sheet
from photostyle.files.atomic import temporary_folder
from photostyle.files.images import read_image
from photostyle.recognition.finetune.data import DIGITS
from photostyle.recognition.finetune.settings import FinetuneSettings
from photostyle.recognition.finetune.tune import CONFUSION, CURVES, finetune

# What is shown of a run, and the width of a cell of the sheet: both plots stay legible.
SHOWN, CELL = (CURVES, CONFUSION), 900
# The accuracy that the source document reports on CIFAR-10, of a VGG-16 at 32x32 with a new head; it proposes a larger
# input and fewer layers to better it. The command does both halves of what is needed: --size, and --blocks.
DOCUMENT = 0.61
CIFAR = "python scripts/finetune.py cifar-10-python.tar.gz --size 224 --epochs 12 --batch 128 --device cuda"


def runs(settings: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """Every variant with each of its seeds."""
    return {
        f"{variant['name']}, seed {seed}": {
            "name": variant["name"],
            "config": variant["config"] | {"seed": seed},
        }
        for variant in settings["variants"]
        for seed in variant["seeds"]
    }


def inputs(parameters: Mapping[str, Any]) -> list[str]:
    """Nothing: the digits come with scikit-learn."""
    return []


def execute(parameters: Mapping[str, Any], data: Path, folder: Path) -> dict[str, Any]:
    """One training to its end; its curves and confusion matrix go into the folder."""
    config = parameters["config"]
    settings = FinetuneSettings(**config | {"rates": tuple(config["rates"])} if "rates" in config else config)
    with temporary_folder() as temporary:
        record = finetune(DIGITS, settings, Path(temporary))
        for name in SHOWN:
            shutil.copy(Path(temporary) / name, folder / f"{parameters['name']}, seed {settings.seed} {name}")
    outcome = record["outcome"]
    return {
        **{
            key: outcome[key]
            for key in ("test accuracy", "validation accuracy", "epochs", "best epoch", "confused")
        },
        "test pictures": int(np.sum(outcome["confusion matrix"])),
        "seconds": record["seconds"],
    }


def summarise(settings: Mapping[str, Any], records: Mapping[str, Any]) -> dict[str, Any]:
    """By variant: accuracies over its seeds, epochs and seconds."""
    found = {}
    for variant in settings["variants"]:
        each = [records[f"{variant['name']}, seed {seed}"]["figures"] for seed in variant["seeds"]]
        tested = [one["test accuracy"] for one in each]
        found[variant["name"]] = {
            "seeds": len(each),
            "test": [float(np.mean(tested)), min(tested), max(tested)],
            "validation": float(np.mean([one["validation accuracy"] for one in each])),
            "best epoch": float(np.mean([one["best epoch"] for one in each])),
            "epochs": float(np.mean([one["epochs"] for one in each])),
            "seconds": float(np.mean([one["seconds"] for one in each])),
            "test pictures": each[0]["test pictures"],
        }
    return found


def tables(figures: Mapping[str, Any]) -> str:
    """One line per variant, then what is to be run where there is a graphics card."""
    rows = [
        [
            name,
            _share(each["test"][0]),
            "–" if each["seeds"] == 1 else f"{_share(each['test'][1])} to {_share(each['test'][2])}",
            _share(each["validation"]),
            f"{each['best epoch']:.0f} of {each['epochs']:.0f}",
            f"{each['seconds']:.0f}",
        ]
        for name, each in figures.items()
    ]
    pictures = next(iter(figures.values()))["test pictures"]
    return "\n".join(
        [
            f"Accuracy on {pictures} test pictures that chose nothing; the mean over seeds (of weights, split and",
            "order) and its range. Seconds on one thread of a busy machine.",
            "",
            table(["variant", "test", "range", "validation", "best epoch", "seconds"], rows),
            "",
            f"The source document reports {DOCUMENT:.0%} on CIFAR-10, of a pretrained VGG-16 whose new head has ten",
            "classes, at 32x32, and proposes a larger input or fewer layers. The figure to beat, by head, then all, at",
            "224 pixels, on a machine with a graphics card and the archive (https://www.cs.toronto.edu/~kriz/cifar.html):",
            "",
            f"```\n{CIFAR}\n```",
            "",
            "Without `--size` it is the document's own 32x32, with `--blocks 3` its fewer layers. It was not run here:",
            "there was no graphics card, no archive, and there were no pretrained weights.",
        ]
    )


def _share(value: float) -> str:
    return f"{value:.1%}"


def sheet(settings: Mapping[str, Any], data: Path, folder: Path) -> None:
    """Curves above confusion matrices, of the first run of each variant that is to be shown."""
    keys = [
        f"{each['name']}, seed {each['seeds'][0]}"
        for each in settings["variants"]
        if each["name"] in settings["shown"]
    ]
    rows = [[(key, read_image(folder / "runs" / f"{key} {name}").pixels) for key in keys] for name in SHOWN]
    contact_sheet(rows, folder / "sheet.jpg", CELL)
