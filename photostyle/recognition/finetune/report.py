"""What came of a fine-tuning: accuracy by class, the confusion matrix and the curves as pictures."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from photostyle.evaluation.reports import write_figure
from photostyle.training.curves import plot_curves

PANELS = {
    "loss": ("training loss", "validation loss"),
    "accuracy": ("training accuracy", "validation accuracy"),
    "learning rate": ("rate",),
}
NUMBERED = 20  # classes: with more, a cell has no room for its number
FONT = 9.0  # points: four digits fit into a cell
# Inches: of a cell, beside the matrix for names, and of the whole picture.
CELL, MARGIN, MOST = 0.42, 2.6, 16.0


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """How many pictures of each class (row) were taken for each (column): (classes, classes) int64."""
    counts = np.bincount(labels * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes)


def accuracies(matrix: np.ndarray, classes: Sequence[str]) -> dict[str, float | None]:
    """The share of each class that was recognised; None of a class without pictures."""
    totals = matrix.sum(1)
    return {
        name: float(matrix[number, number] / totals[number]) if totals[number] else None
        for number, name in enumerate(classes)
    }


def confused(matrix: np.ndarray, classes: Sequence[str], most: int = 5) -> list[dict[str, Any]]:
    """What was mistaken most often, the most frequent first: {"class", "taken for", "times"}."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    found = [(int(place) // len(classes), int(place) % len(classes)) for place in order]
    return [
        {"class": classes[row], "taken for": classes[column], "times": int(wrong[row, column])}
        for row, column in found
        if wrong[row, column]
    ]


def plot_confusion(matrix: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """Write the confusion matrix as a PNG: a row is a class, its cells are shares of it; numbers are pictures."""
    from matplotlib.figure import Figure  # half a second, for who plots

    side = min(MOST, MARGIN + CELL * len(classes))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = FONT if len(classes) <= NUMBERED else max(3.0, FONT * NUMBERED / len(classes))
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=size)
    axes.set_yticks(range(len(classes)), classes, fontsize=size)
    if len(classes) <= NUMBERED:
        for row, column in np.argwhere(matrix):
            ink = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                column, row, str(matrix[row, column]), ha="center", va="center", color=ink, fontsize=FONT
            )
    share = np.trace(matrix) / max(1, matrix.sum())
    axes.set(xlabel="taken for", ylabel="is", title=f"{share:.1%} of {matrix.sum()} test pictures are right")
    write_figure(figure, path)


def plot_history(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write losses, accuracies and rates by epoch as a PNG, a new phase marked."""
    marks = {
        f"{now['phase']}": now["epoch"] - 0.5
        for before, now in pairwise(history)
        if before["phase"] != now["phase"]
    }
    plot_curves(history, path, PANELS, logarithmic=("learning rate",), marks=marks)
