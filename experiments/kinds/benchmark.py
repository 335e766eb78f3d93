"""The published pairs: ours, the authors' own results and the classical colour transfers, in the same scores."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from experiments.baselines import histogram_matching, reinhard
from experiments.framework import read_result
from experiments.gallery import PHOTO, REFERENCE, distance, write_csv, write_gallery
from experiments.intervals import bootstrap, ratio_interval, wins
from experiments.pairs import SLIM, PublishedPair, configured, free_pairs, pair_files, read_pair
from experiments.scoring import HELD_OUT, scores_of
from experiments.tables import table
from photostyle import transfer
from photostyle.evaluation.reports import BETTER, contact_sheet
from photostyle.evaluation.scores import SCORES
from photostyle.files.images import read_image, write_image
from photostyle.regions.guidance import pair_regions
from segmentation.files import write_masks
from segmentation.make import MaskOptions, make_masks

PUBLISHED = {
    "published": ("final_results", "best{}_t_1000.png"),
    "published, stage one": ("tmp_results", "out{}_t_1000.png"),
}
CLASSICAL: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "Reinhard": reinhard,
    "histogram matching": histogram_matching,
}
RIVAL = "published"  # what every method is compared with
MANY = 5  # of the seven scores: a method that is better in as many is the better one on a pair
COLUMNS = 4  # of a sheet


def runs(settings: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """One result of every method for every pair."""
    return {
        f"{pair:02d} {method['name']}": {"pair": pair, "method": method}
        for pair in settings["pairs"]
        for method in settings["methods"]
    }


def inputs(parameters: Mapping[str, Any]) -> list[str]:
    """The files of the data folder that a run reads."""
    pair, name = parameters["pair"], parameters["method"]["name"]
    files = [*pair_files(pair), SLIM.as_posix()]
    if name in PUBLISHED:
        folder, pattern = PUBLISHED[name]
        files.append(f"dpst/{folder}/{pattern.format(pair)}")
    return files


def execute(parameters: Mapping[str, Any], data: Path, folder: Path) -> dict[str, Any]:
    """Make, or read, the picture of one method and score it on the painted regions."""
    pair, method = read_pair(data, parameters["pair"]), parameters["method"]
    image, seconds = picture_of(method, pair, data)
    write_image(folder / f"{pair.number:02d} {method['name']}.png", image)
    return {"scores": scores_of(image, pair, data), "seconds": seconds}


def picture_of(method: Mapping[str, Any], pair: PublishedPair, data: Path) -> tuple[Tensor, float | None]:
    """What a method makes of a pair, (3, H, W), and the seconds of its optimisation, None where it has none.

    method: a name of PUBLISHED or CLASSICAL, "photo", or any name with a config for `configured`.
    """
    name = method["name"]
    if name in PUBLISHED:
        where, pattern = PUBLISHED[name]
        return read_image(data / "dpst" / where / pattern.format(pair.number)).pixels, None
    if name == "photo":
        return pair.content.pixels, None
    if name in CLASSICAL:
        regions = pair_regions(pair.content.pixels, pair.masks[0], pair.style.pixels, pair.masks[1])
        pictures = (pair.content.pixels, pair.style.pixels, regions.content, regions.style)
        return CLASSICAL[name](*pictures), None
    result = transfer(configured(pair, method["config"], data))
    ends = {entry["stage"]: entry["seconds"] for entry in result.trace}
    return result.image, sum(ends.values()) if ends else None


def summarise(settings: Mapping[str, Any], records: Mapping[str, Any]) -> dict[str, Any]:
    """Means with intervals, ratios to the published results, wins against them, and every single score."""
    scores = _by_method(records)
    figures = {}
    for name, of_pairs in scores.items():
        figures[name] = {
            "scores": {score: _summary(of_pairs, score) for score in (*SCORES, *HELD_OUT)},
            "seconds": _median([r for r in records.values() if r["parameters"]["method"]["name"] == name]),
        }
        if RIVAL in scores and name != RIVAL:
            figures[name]["against"] = _against(of_pairs, scores[RIVAL])
    return {"methods": figures, "pairs": {name: _json(of_pairs) for name, of_pairs in scores.items()}}


def _by_method(records: Mapping[str, Any]) -> dict[str, dict[int, dict[str, float]]]:
    scores: dict[str, dict[int, dict[str, float]]] = {}
    for record in records.values():
        name, pair = record["parameters"]["method"]["name"], record["parameters"]["pair"]
        scores.setdefault(name, {})[pair] = record["figures"]["scores"]
    return scores


def _summary(of_pairs: Mapping[int, Mapping[str, float]], score: str) -> dict[str, Any]:
    values = np.array([each[score] for each in of_pairs.values()])
    return {
        "mean": float(values.mean()),
        "interval": list(bootstrap(values)),
        "median": float(np.median(values)),
    }


def _against(
    ours: Mapping[int, Mapping[str, float]], theirs: Mapping[int, Mapping[str, float]]
) -> dict[str, Any]:
    """Ratios of means with intervals, the number of pairs won in each score, and of those won in MANY of the seven."""
    result: dict[str, Any] = {"ratio": {}, "interval": {}, "wins": {}}
    won = dict.fromkeys(ours, 0)
    for score in (*SCORES, *HELD_OUT):
        a, b = (np.array([side[pair][score] for pair in ours]) for side in (ours, theirs))
        higher = BETTER.get(score) == "↑"
        result["ratio"][score] = float(a.mean() / b.mean())
        result["interval"][score] = list(ratio_interval(a, b))
        result["wins"][score] = wins(a, b, higher)
        for pair in ours if score in SCORES else ():
            won[pair] += wins(np.array([ours[pair][score]]), np.array([theirs[pair][score]]), higher)
    result["pairs won"] = sum(count >= MANY for count in won.values())
    result["of"] = len(ours)
    result["won in each pair"] = {str(pair): count for pair, count in won.items()}
    return result


def _median(records: Sequence[Mapping[str, Any]]) -> float | None:
    seconds = [record["figures"]["seconds"] for record in records]
    return None if None in seconds else float(np.median(seconds))


def _json(of_pairs: Mapping[int, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {str(pair): dict(scores) for pair, scores in of_pairs.items()}


def tables(figures: Mapping[str, Any]) -> str:
    """Means, ratios to the published results with intervals, wins, and the seven scores of every pair."""
    methods = figures["methods"]
    names = (*SCORES, *HELD_OUT)
    head = ["method", *(f"{name} {BETTER.get(name, '↓')}" for name in names), "seconds"]
    first = [
        [
            name,
            *(f"{entry['scores'][score]['mean']:.3f}" for score in names),
            "–" if entry["seconds"] is None else f"{entry['seconds']:.0f}",
        ]
        for name, entry in methods.items()
    ]
    second, third = [], []
    for name, entry in methods.items():
        if against := entry.get("against"):
            second.append([name, *(_ratio(against, score) for score in names)])
            counts = [f"{against['wins'][score]}" for score in names]
            third.append([name, *counts, f"{against['pairs won']} of {against['of']}"])
    return "\n".join(
        [
            "Means over the pairs; seconds: median of the optimisation alone, on one thread of a shared machine. "
            "`style` is the distance of Gram matrices at relu1_1 to relu5_1, `style, other layers` at relu1_2, "
            "relu2_2, relu3_4 and relu4_4, `style, patches` of 7×7 patch distributions, each over that of the "
            "untouched photo. No method but `photoreal` and the published one optimises Gram matrices (the published "
            "one in another network), and none the other layers; the patches are relatives of those that `patches` "
            "optimises.",
            "",
            table(head, first),
            "",
            "Over the published results (ratio of means; 95 % interval, pairs resampled):",
            "",
            table(head[:-1], second),
            "",
            f"Pairs won against the published results in each score, and in at least {MANY} of the first seven:",
            "",
            table([*head[:-1], f"in {MANY} of 7"], third),
            "",
            *_pair_tables(figures),
        ]
    )


def headline(figures: Mapping[str, Any]) -> str:
    """The means of the seven scores, the best of each in bold, and the pairs won against the published results."""
    methods = {name: entry for name, entry in figures["methods"].items() if name != "photo"}
    head = ["", *(f"{name} {BETTER[name]}" for name in SCORES), f"better in {MANY} of 7"]
    rows = []
    for name, entry in methods.items():
        cells = [f"{entry['scores'][score]['mean']:.3f}" for score in SCORES]
        best = [name == _best(methods, score) for score in SCORES]
        against = entry.get("against")
        won = f"{against['pairs won']} of {against['of']} pairs" if against else ""
        rows.append([name, *(f"**{c}**" if b else c for c, b in zip(cells, best, strict=True)), won])
    return table(head, rows)


def _best(methods: Mapping[str, Any], score: str) -> str:
    choose = max if BETTER[score] == "↑" else min
    return choose(methods, key=lambda name: methods[name]["scores"][score]["mean"])


def _ratio(against: Mapping[str, Any], score: str) -> str:
    low, high = against["interval"][score]
    return f"{against['ratio'][score]:.2f} ({low:.2f}–{high:.2f})"


def _pair_tables(figures: Mapping[str, Any]) -> list[str]:
    """The first method and the published results, pair by pair, worst first."""
    first = next(iter(figures["pairs"]))
    ours, theirs = figures["pairs"][first], figures["pairs"].get(RIVAL)
    if theirs is None:
        return []
    order = sorted(ours, key=lambda pair: -distance(ours[pair]))
    rows = [[pair, *(f"{ours[pair][s]:.3f} / {theirs[pair][s]:.3f}" for s in SCORES)] for pair in order]
    head = ["pair", *(f"{name} {BETTER[name]}" for name in SCORES)]
    return [f"`{first}` / published, worst pair first (by √(style² + (1 − edge)²)):", "", table(head, rows)]


def sheet(settings: Mapping[str, Any], data: Path, folder: Path) -> None:
    """The gallery and sheets of published pictures in runs, which are not passed on; scores.csv; the free pairs."""
    scores: dict[str, dict[str, dict[str, float]]] = read_result(folder)["figures"]["pairs"]
    write_csv(
        folder / "scores.csv",
        [{"pair": pair, "method": name} | scores[name][pair] for name in scores for pair in scores[name]],
    )
    sources = {str(pair): read_pair(data, pair) for pair in settings["pairs"]}
    _gallery(sources, scores, folder / "runs")
    for pair, source in sources.items():
        row = [("photo", source.content.pixels), ("reference", source.style.pixels)]
        names = [name for name in scores if name != "photo"]
        row += [(name, read_image(_picture(folder / "runs", pair, name)).pixels) for name in names]
        rows = [row[start : start + COLUMNS] for start in range(0, len(row), COLUMNS)]
        contact_sheet(rows, folder / "runs" / f"sheet-{int(pair):02d}.jpg")
    free = [_free_row(name, pair, settings, folder / "runs", data) for name, pair in free_pairs().items()]
    contact_sheet(free, folder / "sheet.jpg", cell=300)


def _gallery(
    sources: Mapping[str, PublishedPair], scores: Mapping[str, Mapping[str, Mapping[str, float]]], runs: Path
) -> None:
    """runs/report.html: every picture under a slider, worst pair first, ours against the published ones."""
    methods = sorted(scores, key=lambda name: (name != next(iter(scores)), name != RIVAL))
    write_gallery(
        runs / "report.html",
        "The published pairs",
        [
            f"{len(sources)} pairs, {len(methods)} methods, scored at the photo's own size on the painted regions."
        ],
        list(sources),
        methods,
        {pair: {name: scores[name][pair] for name in methods} for pair in sources},
        {
            pair: {name: _picture(runs, pair, name) for name in methods}
            | {PHOTO: source.content.path, REFERENCE: source.style.path}
            for pair, source in sources.items()
        },
    )


def _picture(runs: Path, pair: str, method: str) -> Path:
    return runs / f"{int(pair):02d} {method}.png"


def _free_row(
    name: str, pair: tuple[Tensor, Tensor], settings: Mapping[str, Any], runs: Path, data: Path
) -> list[tuple[str, Tensor]]:
    """A pair that may be shown, with regions by clustering, in every method that needs no published picture."""
    files = [runs / f"{name} {side}.png" for side in ("content", "style")]
    for file, image in zip(files, pair, strict=True):
        write_image(file, image)
    photo, reference = (read_image(file) for file in files)
    made = make_masks((photo, reference), MaskOptions(method="cluster"))
    masks = [file.with_suffix("") for file in files]
    for path, regions in zip(masks, made.sets, strict=True):
        write_masks(path, regions, "soft")
    source = PublishedPair(0, photo, reference, masks[0], masks[1], (made.sets[0], made.sets[1]))
    shown = [method for method in settings["methods"] if method["name"] in settings["shown"]]
    results = [(method["name"], picture_of(method, source, data)[0]) for method in shown]
    return [("photo", photo.pixels), ("reference", reference.pixels), *results]
