"""Which trials of a search are worth keeping, the Pareto front and the chosen one, as a table and as a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from photostyle.evaluation.reports import score_table, write_figure
from photostyle.files.images import read_image
from photostyle.process import import_matplotlib
from photostyle.search.trials import Trial

ROW = 6  # pictures below the plot, each of about the width that it was computed at


def complete(trials: Sequence[Trial]) -> list[Trial]:
    """Those that have scores."""
    return [trial for trial in trials if trial.state == "complete"]


def pareto_front(trials: Sequence[Trial]) -> list[Trial]:
    """The complete trials that no other trial beats in one of style, edge and doubt without losing in another.

    Sorted by style.
    """
    done = complete(trials)
    front = [each for each in done if not any(_beats(other, each) for other in done)]
    return sorted(front, key=lambda each: (each.style, -each.edge, each.number))


def choose(trials: Sequence[Trial]) -> Trial | None:
    """The complete trial of the least distance among those that are not doubtful, of equal ones the least doubted.

    Where all are doubtful, the least doubtful one; None where no trial is complete.
    """
    done = complete(trials)
    kept = [each for each in done if not each.doubtful]
    if kept:
        return min(kept, key=lambda trial: (trial.distance, trial.doubt, trial.number))
    return min(done, key=lambda trial: (trial.doubt, trial.distance, trial.number), default=None)


def preset_trial(trials: Sequence[Trial]) -> Trial | None:
    """The complete trial of the preset's own settings."""
    return next((trial for trial in complete(trials) if trial.default), None)


def roles(trials: Sequence[Trial]) -> dict[int, tuple[str, ...]]:
    """The roles of trials by their number: chosen, preset, front."""
    named: dict[int, tuple[str, ...]] = {}
    for role, those in (
        ("chosen", [choose(trials)]),
        ("preset", [preset_trial(trials)]),
        ("front", pareto_front(trials)),
    ):
        for trial in those:
            if trial is not None:
                named[trial.number] = (*named.get(trial.number, ()), role)
    return named


def front_table(trials: Sequence[Trial]) -> str:
    """The front, by style, and below it the preset's own trial where it is not on the front. Plain text."""
    named, preset, rows = roles(trials), preset_trial(trials), pareto_front(trials)
    if preset is not None and preset not in rows:
        rows.append(preset)
    table: dict[str, dict[str, float | str]] = {}
    for trial in rows:
        special = (role for role in named[trial.number] if role != "front")
        scores = {name: getattr(trial, name) for name in ("style", "edge", "distance", "drift16", "doubt")}
        settings = {heading(name): f"{value:.4g}" for name, value in trial.values.items()}
        table[" ".join((f"trial {trial.number}", *special))] = scores | settings
    return score_table(table)


def heading(field: str) -> str:
    """The head of a dimension's column. The coarse scales have a common factor and not a weight."""
    return field.removesuffix("_weight").replace("_", " ")


def plot_front(
    trials: Sequence[Trial], pictures: Mapping[int, Path], style_features: str, path: Path
) -> None:
    """Write a PNG of all complete trials, style against edges, above some pictures of the front.

    pictures: the files of the trials' pictures, by the trials' numbers; a trial without one is a point only.
    style_features: what style was measured in. Raises ValueError where no trial is complete.
    """
    import_matplotlib()
    from matplotlib.figure import Figure  # half a second, of the end of a search

    shown = [trial for trial in _telling(trials) if trial.number in pictures]
    figure = Figure(figsize=(9, 7 if shown else 5), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(5, 2)) if shown else [figure]
    _scatter(parts[0].subplots(), trials, style_features)
    for column, trial in enumerate(shown, 1):
        axes = parts[1].add_subplot(1, len(shown), column)
        axes.imshow(read_image(pictures[trial.number], minimum=1).pixels.permute(1, 2, 0).numpy())
        axes.set_axis_off()
        axes.set_title(_label(trial, trials), fontsize=9)
    write_figure(figure, path)


def _scatter(axes: Any, trials: Sequence[Trial], style_features: str) -> None:
    done, front, best, preset = complete(trials), pareto_front(trials), choose(trials), preset_trial(trials)
    if best is None:
        raise ValueError("no trial is complete")
    others = [trial for trial in done if trial not in front]
    axes.scatter(*_points(others), s=18, color="0.65", label="other trials")
    axes.plot(*_points(front), ".", color="tab:blue", label="front", markersize=9)
    doubtful = [trial for trial in done if trial.doubtful]
    axes.scatter(*_points(doubtful), s=40, marker="x", color="k", linewidth=1, label="doubtful")
    if preset is not None:
        axes.scatter(*_points([preset]), s=110, marker="s", facecolors="none", edgecolors="k", label="preset")
    axes.scatter(*_points([best]), s=170, marker="*", color="tab:red", zorder=3, label="chosen")
    for trial in _telling(trials):
        place = {"xy": (trial.style, trial.edge), "textcoords": "offset points"}
        axes.annotate(f"{trial.number}", xytext=(6, -11), fontsize=8, **place)
    _arc(axes, best.distance)
    axes.set(
        xlabel=f"style distance ({style_features}), lower is better", ylabel="edge SSIM, higher is better"
    )
    axes.legend(loc="lower right")


def _arc(axes: Any, distance: float) -> None:
    """All points as far from (0, 1) as the chosen one: above are doubtful trials. It does not change the axes."""
    limits = axes.get_xlim(), axes.get_ylim()
    angle = np.linspace(0, np.pi / 2, 200)
    arc = distance * np.sin(angle), 1 - distance * np.cos(angle)
    axes.plot(*arc, ":", color="tab:red", linewidth=1, label=f"distance {distance:.3f}")
    axes.set(xlim=limits[0], ylim=limits[1])


def _points(trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    return [trial.style for trial in trials], [trial.edge for trial in trials]


def _telling(trials: Sequence[Trial]) -> list[Trial]:
    """The chosen trial, the preset's, and as many of the front as a row has room for, evenly along it; by style."""
    front, special = pareto_front(trials), [choose(trials), preset_trial(trials)]
    told = {trial.number: trial for trial in special if trial is not None}
    room = max(0, ROW - len(told))
    rest = [trial for trial in front if trial.number not in told]
    picked = np.unique(np.linspace(0, len(rest) - 1, min(room, len(rest))).round().astype(int))
    told |= {rest[index].number: rest[index] for index in picked.tolist()}
    return sorted(told.values(), key=lambda trial: (trial.style, trial.number))


def _label(trial: Trial, trials: Sequence[Trial]) -> str:
    special = [role for role in roles(trials)[trial.number] if role != "front"]
    return f"{' '.join((str(trial.number), *special))}\n{trial.style:.3f}  {trial.edge:.3f}"


def _beats(one: Trial, other: Trial) -> bool:
    """No worse in any objective, and better in one."""
    ours, theirs = _losses(one), _losses(other)
    return ours != theirs and all(mine <= its for mine, its in zip(ours, theirs, strict=True))


def _losses(trial: Trial) -> tuple[float, float, float]:
    return trial.style, -trial.edge, trial.doubt
