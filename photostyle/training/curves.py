"""Curves of a training as a PNG: losses, accuracies, rates by epoch or step."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from photostyle.errors import PhotostyleError
from photostyle.evaluation.reports import write_figure
from photostyle.process import import_matplotlib

PANEL = (5.4, 4.0)  # inches: two panels side by side are as wide as a README at write_figure's resolution


def plot_curves(
    history: Sequence[Mapping[str, float]],
    path: Path,
    panels: Mapping[str, Sequence[str]],
    *,
    axis: str = "epoch",
    logarithmic: Sequence[str] = (),
    marks: Mapping[str, float] | None = None,
) -> None:
    """Write a PNG of panels side by side, each with some of the history's values against the axis.

    history: one entry a step, {axis: number, name: value …}; an entry may lack a value. panels: {title: names}.
    logarithmic: the titles of panels with a log axis. marks: places on the axis to mark, by what they are.
    Raises PhotostyleError where there is no history yet.
    """
    if not history:
        raise PhotostyleError(f"{path}: nothing was trained, so there are no curves to draw")
    import_matplotlib()
    from matplotlib.figure import Figure  # half a second, for who plots
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(PANEL[0] * len(panels), PANEL[1]), layout="constrained")
    for axes, (title, names) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for name in names:
            points = [(entry[axis], entry[name]) for entry in history if name in entry]
            axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 50 else "")
        for text, place in (marks or {}).items():
            axes.axvline(place, color="grey", linewidth=1, linestyle=":")
            axes.annotate(
                text, (place, 1), xycoords=("data", "axes fraction"), fontsize=8, va="top", color="grey"
            )
        axes.set(title=title, xlabel=axis, yscale="log" if title in logarithmic else "linear")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    write_figure(figure, path)
