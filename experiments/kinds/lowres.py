"""Does what is best at 128 px stay best at 512? Random settings at both sizes, and a whole search judged at 512 px."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from experiments.gallery import distance
from experiments.pairs import SLIM, PublishedPair, configured, pair_files, read_pair
from experiments.scoring import scores_of
from experiments.tables import table
from photostyle import recipe, transfer
from photostyle.evaluation.reports import contact_sheet
from photostyle.files.atomic import temporary_folder
from photostyle.files.images import read_image, write_image
from photostyle.presets import PRESETS
from photostyle.search.pareto import choose, preset_trial
from photostyle.search.space import default_values, settings_of, space_of
from photostyle.search.study import Study
from photostyle.search.trials import prepare, solve_with
from photostyle.settings import read_settings

RANKED = ("style", "edge", "distance", "drift16")
SEED = 612  # of the random settings


def runs(settings: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """For every pair one search and some random points of its space, the first being the preset itself."""
    preset = recipe(settings["preset"])
    space, rng = space_of(preset), np.random.default_rng(SEED)
    points = [default_values(preset, space)]
    while len(points) < settings["draws"]:
        where = rng.uniform(size=len(space))
        points.append(
            {
                each.field: float(
                    each.low * (each.high / each.low) ** u
                    if each.log
                    else each.low + u * (each.high - each.low)
                )
                for each, u in zip(space, where, strict=True)
            }
        )
    common = {"preset": settings["preset"]}
    searches = {
        f"{pair:02d} search": {"pair": pair, "trials": settings["trials"], **common}
        for pair in settings["pairs"]
    }
    return searches | {
        f"{pair:02d} draw {number:02d}": {"pair": pair, "values": point, **common}
        for pair in settings["pairs"]
        for number, point in enumerate(points)
    }


def inputs(parameters: Mapping[str, Any]) -> list[str]:
    """The pair, and the encoder that scores are taken in."""
    return [*pair_files(parameters["pair"]), SLIM.as_posix()]


def execute(parameters: Mapping[str, Any], data: Path, folder: Path) -> dict[str, Any]:
    """A search with its chosen settings and the preset's at full size; or one point of the space at both sizes."""
    pair, preset = read_pair(data, parameters["pair"]), parameters["preset"]
    config = configured(pair, PRESETS["search"] | {"preset": preset, "weights": SLIM}, data)
    problem = prepare(config)
    if "values" in parameters:
        settings = settings_of(parameters["values"], config)
        small = solve_with(problem, settings)
        scores = {"style": small.style, "edge": small.edge, "drift16": small.drift16}
        name = f"{pair.number:02d} {'-'.join(f'{value:.3g}' for value in parameters['values'].values())}.png"
        return {"small": scores, "large": _at_full_size(preset, settings, pair, data, folder / name)}
    with temporary_folder() as temporary:
        study, began = Study(problem, Path(temporary)), time.perf_counter()
        for _ in study.run(parameters["trials"]):
            pass
        seconds, trials = time.perf_counter() - began, study.trials()
        best = choose(trials)
        assert best is not None  # the preset's own trial is complete
        study.write_best(Path(temporary) / "best.toml", best)
        chosen = read_settings(Path(temporary) / "best.toml")
    first = preset_trial(trials)
    return {
        "seconds": seconds,
        "settings": {
            name: list(value) if isinstance(value, tuple) else value for name, value in best.settings.items()
        },
        "small": {"preset": None if first is None else first.distance, "chosen": best.distance},
        "preset": _at_full_size(preset, {}, pair, data, folder / f"{pair.number:02d} preset.png"),
        "chosen": _at_full_size(preset, chosen, pair, data, folder / f"{pair.number:02d} chosen.png"),
    }


def _at_full_size(
    preset: str, settings: Mapping[str, Any], pair: PublishedPair, data: Path, picture: Path
) -> dict[str, float]:
    """The preset with some settings changed at its own size, and its scores."""
    image = transfer(configured(pair, {"preset": preset} | dict(settings), data)).image
    write_image(picture, image)
    return scores_of(image, pair, data)


def summarise(settings: Mapping[str, Any], records: Mapping[str, Any]) -> dict[str, Any]:
    """Per pair: rank correlations between the sizes, and the search's gain."""
    figures = {}
    for pair in settings["pairs"]:
        own = [record for record in records.values() if record["parameters"]["pair"] == pair]
        (search,) = (record["figures"] for record in own if "trials" in record["parameters"])
        points = [record["figures"] for record in own if "values" in record["parameters"]]
        columns = {
            size: [each[size] | {"distance": distance(each[size])} for each in points]
            for size in ("small", "large")
        }
        figures[str(pair)] = {
            "spearman": {
                name: float(
                    spearmanr(*([each[name] for each in columns[size]] for size in columns)).statistic
                )
                for name in RANKED
            },
            "points": columns,
            "search": search
            | {name: search[name] | {"distance": distance(search[name])} for name in ("preset", "chosen")},
        }
    return figures


def tables(figures: Mapping[str, Any]) -> str:
    """Rank correlations, then what each search chose."""
    rows = [
        [pair, f"{len(entry['points']['small'])}", *(f"{entry['spearman'][name]:.2f}" for name in RANKED)]
        for pair, entry in figures.items()
    ]
    second = []
    for pair, entry in figures.items():
        search = entry["search"]
        for name in ("preset", "chosen"):
            full, small = search[name], search["small"][name]
            shown = [
                f"{full[score]:.3f}"
                for score in ("style", "style, other layers", "edge", "drift16", "distance")
            ]
            second.append(
                [pair, name, f"{small:.3f}", *shown, f"{search['seconds']:.0f}" if name == "chosen" else ""]
            )
    head = ["pair", "settings", "distance at 128", "style ↓", "style, other layers ↓", "edge ↑", "drift16 ↓"]
    return "\n".join(
        [
            "Spearman's rank correlation, between 128 and 512 px, of random settings drawn log-uniformly from the "
            "search's space (the first of them is the preset):",
            "",
            table(["pair", "settings", *RANKED], rows),
            "",
            "What a search chose, at 512 px, scored at the photo's own size; distance: √(style² + (1 − edge)²).",
            "",
            table([*head, "distance ↓", "seconds of the search"], second),
        ]
    )


def sheet(settings: Mapping[str, Any], data: Path, folder: Path) -> None:
    """Published pictures, not to be passed on: into runs."""
    rows = []
    for number in settings["pairs"]:
        pair = read_pair(data, number)
        made = [
            (name, read_image(folder / "runs" / f"{number:02d} {name}.png").pixels)
            for name in ("preset", "chosen")
        ]
        rows.append([("photo", pair.content.pixels), ("reference", pair.style.pixels), *made])
    contact_sheet(rows, folder / "runs" / "sheet.jpg")
