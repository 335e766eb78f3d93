"""Some settings, changed one at a time: what every change does to the scores and the seconds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.pairs import SLIM, configured, pair_files, read_pair
from experiments.scoring import HELD_OUT, scores_of
from experiments.tables import table
from photostyle import transfer
from photostyle.evaluation.reports import BETTER, NOT_A_TERM, contact_sheet
from photostyle.evaluation.scores import SCORES
from photostyle.files.images import read_image, write_image

TAIL = 5  # evaluations of which the final total is the mean: the patch term draws other filters at each


def runs(settings: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """One transfer for every pair and variant."""
    return {
        f"{pair:02d} {variant['name']}": {"pair": pair, "variant": variant}
        for pair in settings["pairs"]
        for variant in settings["variants"]
    }


def inputs(parameters: Mapping[str, Any]) -> list[str]:
    """The files of the data folder that a run reads."""
    return [*pair_files(parameters["pair"]), SLIM.as_posix()]


def execute(parameters: Mapping[str, Any], data: Path, folder: Path) -> dict[str, Any]:
    """A transfer on the painted masks: its scores, the last value of its objective and how long it took."""
    pair, variant = read_pair(data, parameters["pair"]), parameters["variant"]
    result = transfer(configured(pair, variant["config"], data))
    write_image(folder / f"{pair.number:02d} {variant['name']}.png", result.image)
    ends = {entry["stage"]: entry for entry in result.trace}
    totals = [sum(v for k, v in entry.items() if k not in NOT_A_TERM) for entry in result.trace[-TAIL:]]
    return {
        "scores": scores_of(result.image, pair, data),
        "seconds": sum(entry["seconds"] for entry in ends.values()),
        "evaluations": len(result.trace),
        "total": float(np.mean(totals)) if totals else None,
    }


def summarise(settings: Mapping[str, Any], records: Mapping[str, Any]) -> dict[str, Any]:
    """Means over the pairs, seconds and totals over those of the first variant, pair by pair."""
    by_name: dict[str, dict[int, dict[str, Any]]] = {variant["name"]: {} for variant in settings["variants"]}
    for record in records.values():
        by_name[record["parameters"]["variant"]["name"]][record["parameters"]["pair"]] = record["figures"]
    first = by_name[settings["variants"][0]["name"]]
    return {
        name: {
            **{s: _mean(of_pairs, "scores", s) for s in (*SCORES, *HELD_OUT)},
            "seconds": _ratio(of_pairs, first, "seconds"),
            "total": _ratio(of_pairs, first, "total"),
            "evaluations": next(iter(of_pairs.values()))["evaluations"],
        }
        for name, of_pairs in by_name.items()
    }


def _mean(of_pairs: Mapping[int, Any], *keys: str) -> float:
    values = []
    for figures in of_pairs.values():
        for key in keys:
            figures = figures[key]
        values.append(figures)
    return float(np.mean(values))


def _ratio(of_pairs: Mapping[int, Any], first: Mapping[int, Any], key: str) -> float | None:
    """Geometric mean over pairs; None where there is nothing to divide (no evaluations)."""
    ratios = [
        of_pairs[pair][key] / first[pair][key] for pair in first if of_pairs[pair][key] and first[pair][key]
    ]
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else None


def tables(figures: Mapping[str, Any]) -> str:
    """One line per variant."""
    names = (*SCORES, *HELD_OUT)
    head = [
        "variant",
        *(f"{name} {BETTER.get(name, '↓')}" for name in names),
        "evaluations",
        "seconds",
        "total",
    ]
    rows = [
        [
            name,
            *(f"{means[score]:.3f}" for score in names),
            f"{means['evaluations']}",
            *("–" if means[key] is None else f"× {means[key]:.2f}" for key in ("seconds", "total")),
        ]
        for name, means in figures.items()
    ]
    return "\n".join(
        [
            "Means over the pairs, scored at the photo's own size. Seconds of the optimisation and the last value of "
            f"the objective (mean of {TAIL} evaluations; only comparable where the variants share one objective) as "
            "ratios to the first line.",
            "",
            table(head, rows),
        ]
    )


def sheet(settings: Mapping[str, Any], data: Path, folder: Path) -> None:
    """Published pictures may not be passed on: they go into runs."""
    for number in settings["pairs"]:
        pair = read_pair(data, number)
        made = [
            (variant["name"], read_image(folder / "runs" / f"{number:02d} {variant['name']}.png").pixels)
            for variant in settings["variants"]
        ]
        row = [("photo", pair.content.pixels), ("reference", pair.style.pixels), *made]
        rows = [row[start : start + 4] for start in range(0, len(row), 4)]
        contact_sheet(rows, folder / "runs" / f"sheet-{number:02d}.jpg")
