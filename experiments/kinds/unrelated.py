"""Photographs that nobody made for each other: what comes out, what a person says of it, and whether doubt agrees."""

import json
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from experiments.calibration import (
    TARGETS,
    Verdict,
    agreement,
    held_out,
    log_signs,
    read_signs,
    read_verdicts,
)
from experiments.photographs import file_of, photograph, title
from experiments.tables import table
from photostyle import configure, transfer
from photostyle.evaluation.comparison import comparison_within
from photostyle.evaluation.doubt import DOUBTFUL, WEIGHED, doubt, reason
from photostyle.evaluation.reports import contact_sheet
from photostyle.evaluation.signs import Signs, find_signs
from photostyle.files.images import read_image, write_image
from segmentation.make import MaskOptions, make_masks

FOLDER = (
    Path(__file__).resolve().parents[2] / "experiments/013-unrelated-photographs"
)  # of verdicts and their signs
ROWS, CELL = 4, 380  # pairs on a sheet, and the width of a picture there: a face is large enough to be judged


def runs(settings: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """Each pair of the data folder's list with each variant."""
    pairs = tomllib.loads((data / settings["pairs"]).read_text(encoding="utf-8"))["pair"]
    return {
        f"{title(pair['content'], pair['style'])}, {variant['name']}": {**pair, "variant": variant}
        for pair in pairs
        for variant in settings["variants"]
    }


def inputs(parameters: Mapping[str, Any]) -> list[str]:
    """The files of the data folder that a run reads: none where both photographs come with packages."""
    return [file for name in ("content", "style") if (file := file_of(parameters[name]))]


def execute(parameters: Mapping[str, Any], data: Path, folder: Path) -> dict[str, Any]:
    """One transfer as a person would ask for it: its picture, its signs and its doubt, and the seconds with masks."""
    variant = parameters["variant"]
    photo, reference = (photograph(parameters[name], data) for name in ("content", "style"))
    began, masks = time.perf_counter(), ("none",)
    if variant["masks"] != "none":
        doubtful = "unite" if variant["masks"] == "auto" else "keep"  # as photostyle run has it
        options = MaskOptions(method=variant["masks"], download=False, doubtful=doubtful)
        masks = make_masks((photo, reference), options).sets
    settings = {
        name: tuple(value) if isinstance(value, list) else value for name, value in variant["config"].items()
    }
    result = transfer(configure(content=photo, style=reference, masks=masks, device="cpu", **settings))
    seconds = time.perf_counter() - began
    name = f"{title(parameters['content'], parameters['style'])}, {variant['name']}.png"
    digest = write_image(folder / name, result.image)
    pixels = (result.image, photo.pixels, reference.pixels)
    signs = find_signs(comparison_within(*pixels, result.guidance.content, result.guidance.style))
    return {
        "sha256": digest,
        "regions": len(result.guidance.names),
        "doubt": doubt(signs),
        "reason": reason(signs),
        "signs": signs.as_dict(),
        "seconds": seconds,
    }


def summarise(settings: Mapping[str, Any], records: Mapping[str, Any]) -> dict[str, Any]:
    """What was said of each picture, how often, and how far doubt agrees: on these pictures and on those of the fit."""
    verdicts = read_verdicts(FOLDER / "verdicts.toml")
    pairs: dict[str, Any] = {}
    judged: list[tuple[Verdict, float]] = []
    for record in records.values():
        asked, found = record["parameters"], record["figures"]
        entry = pairs.setdefault(
            title(asked["content"], asked["style"]),
            {"0.1.0": asked.get("verdict_0_1_0"), "variants": {}},
        )
        said, older = _said(verdicts, asked, found["sha256"])
        if said and not older:
            judged.append((said, found["doubt"]))
        entry["variants"][asked["variant"]["name"]] = {
            **found,
            "verdict": said and said.verdict,
            "why": said and said.reason,
            "of an older picture": older,
        }
    names = [variant["name"] for variant in settings["variants"]]
    return {
        "variants": {name: _counts([entry["variants"][name] for entry in pairs.values()]) for name in names},
        "0.1.0": _counts([_earlier(entry["0.1.0"]) for entry in pairs.values()]),
        "pairs": pairs,
        "agreement": dict(_agreements(verdicts, judged)),
    }


def _said(verdicts: Sequence[Verdict], asked: Mapping[str, Any], digest: str) -> tuple[Verdict | None, bool]:
    """The verdict on a picture, or the last one on an older picture of the same pair and variant, and which it is."""
    key = asked["content"], asked["style"], asked["variant"]["name"]
    of_this = [each for each in verdicts if (*each.pair, each.setting) == key]
    exactly = [each for each in of_this if each.sha256 == digest]
    found = exactly or of_this
    return (found[-1] if found else None), bool(found and not exactly)


def _earlier(text: str | None) -> dict[str, Any]:
    """A verdict as the list of pairs has it, "bad: why"."""
    verdict = None if text is None else text.partition(":")[0]
    return {"verdict": verdict, "of an older picture": False, "doubt": None}


def _counts(entries: Sequence[Mapping[str, Any]]) -> dict[str, int | None]:
    """How many are good, usable and bad, not judged (or in an older picture only), doubtful where that is known."""
    said = [None if each["of an older picture"] else each["verdict"] for each in entries]
    doubts = [each["doubt"] for each in entries if each["doubt"] is not None]
    return {
        **{name: said.count(name) for name in TARGETS},
        "not judged": said.count(None),
        "doubtful": sum(each > DOUBTFUL for each in doubts) if doubts else None,
    }


def _agreements(
    verdicts: Sequence[Verdict], judged: Sequence[tuple[Verdict, float]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """How far doubt agrees with verdicts, by what they are of."""
    logs = log_signs(read_signs(FOLDER / "signs.csv", verdicts))
    kept = [each for each in verdicts if each.set]
    inside = np.array([each.set == "calibration" for each in kept])
    fitted_to = [each for each in kept if each.set == "calibration"]
    odds = held_out(logs[inside], fitted_to)
    yield "fitted, each pair by the others", agreement(odds, fitted_to)
    for name, related in (("… unrelated pairs", False), ("… published pairs", True)):
        those = [each.related == related for each in fitted_to]
        yield name, agreement(odds[those], [each for each in fitted_to if each.related == related])
    units = np.array([each.unit for each in WEIGHED.values()])
    fresh = np.array([doubt(Signs(*row)) for row in np.expm1(logs[~inside]) * units])
    yield "fresh photographs", agreement(fresh, [each for each in kept if each.set != "calibration"])
    these = [verdict for verdict, _ in judged]
    yield "this experiment", agreement(np.array([found for _, found in judged]), these)


def tables(figures: Mapping[str, Any]) -> str:
    """How many are good, the agreement, then every pair."""
    heads = [*TARGETS, "not judged", "doubtful"]
    counted = {"0.1.0, the default": figures["0.1.0"], **figures["variants"]}
    first = [
        [name, *("–" if counts[head] is None else str(counts[head]) for head in heads)]
        for name, counts in counted.items()
    ]
    second = [
        [name, *(str(found[key]) for key in ("pictures", "good", "bad")), *_shares(found)]
        for name, found in figures["agreement"].items()
    ]
    names = list(figures["variants"])
    third = [
        [pair, entry["0.1.0"] or "–", *(_cell(entry["variants"][name]) for name in names)]
        for pair, entry in figures["pairs"].items()
    ]
    return "\n".join(
        [
            f"Verdicts by eye (`verdicts.toml`); doubtful: doubt above {DOUBTFUL}. The verdicts on",
            "0.1.0 came with the pairs.",
            "",
            table(["", *heads], first),
            "",
            "Doubt against the eye: the share of couples of a good and a bad picture in which the bad one is doubted",
            "more, with its 95 % interval (pairs of photographs being resampled), and within pairs alone. The fit's",
            "pictures are each doubted by weights fitted to pairs that share no photograph with theirs; fresh ones",
            "were judged before their doubt was known. `signs.csv` has the signs of both.",
            "",
            table(["pictures", "all", "good", "bad", "agreement", "interval", "of one pair"], second),
            "",
            "Every pair: the verdict, the doubt and, where it is doubtful, the reason.",
            "",
            table(["pair", "0.1.0", *names], third),
        ]
    )


def _shares(found: Mapping[str, Any]) -> list[str]:
    interval = found["interval"]
    return [
        _share(found["couples"]),
        "–" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}",
        _share(found["of one pair"]),
    ]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _cell(found: Mapping[str, Any]) -> str:
    """ "good, 0.12"; of an older picture's verdict that it is one."""
    said = found["verdict"] or "not judged"
    if found["why"]:
        said += f": {found['why']}"
    if found["of an older picture"]:
        said += " (of an older picture)"
    doubted = f", {WEIGHED[found['reason']].reason}" if found["doubt"] > DOUBTFUL else ""
    return f"{said} ({found['doubt']:.2f}{doubted})"


def sheet(settings: Mapping[str, Any], data: Path, folder: Path) -> None:
    """Every pair into runs, with stubs for the verdicts that are missing; what comes with packages into sheet.jpg.

    A picture before/PAIR.png is shown as that of an earlier version.
    """
    asked = runs(settings, data)
    pairs = {(each["content"], each["style"]): each for each in asked.values()}
    rows = {pair: _row(pair, settings, data, folder) for pair in pairs}
    every = list(rows.values())
    for first in range(0, len(every), ROWS):
        path = folder / "runs" / f"sheet {first // ROWS + 1}.png"
        contact_sheet(every[first : first + ROWS], path, CELL)
    if free := [row for pair, row in rows.items() if not any(map(file_of, pair))]:
        contact_sheet(free, folder / "sheet.jpg", cell=300)
    stubs = "\n".join(_stubs(asked, folder / "runs"))
    (folder / "runs" / "to judge.toml").write_text(stubs, encoding="utf-8")


def _row(
    pair: tuple[str, str], settings: Mapping[str, Any], data: Path, folder: Path
) -> list[tuple[str, Tensor]]:
    name = title(*pair)
    cells = [(f"photo: {name}", photograph(pair[0], data).pixels)]
    cells.append(("reference", photograph(pair[1], data).pixels))
    if (before := folder / "before" / f"{name}.png").exists():
        cells.append(("before", read_image(before).pixels))
    for variant in settings["variants"]:
        path = folder / "runs" / f"{name}, {variant['name']}.png"
        cells.append((variant["name"], read_image(path).pixels))
    return cells


def _stubs(asked: Mapping[str, Any], runs_of: Path) -> Iterator[str]:
    """What to add to verdicts.toml once the pictures have been looked at."""
    verdicts = read_verdicts(FOLDER / "verdicts.toml")
    for key, each in asked.items():
        digest = json.loads((runs_of / f"{key}.json").read_text(encoding="utf-8"))["figures"]["sha256"]
        said, older = _said(verdicts, each, digest)
        if said is None or older:
            entry = {"content": each["content"], "style": each["style"], "setting": each["variant"]["name"]}
            entry |= {"verdict": "", "reason": "", "sha256": digest}
            yield "\n".join(["[[verdict]]", *(f'{name} = "{value}"' for name, value in entry.items()), ""])
