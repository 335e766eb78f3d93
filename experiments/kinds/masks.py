"""Masks by hand, by a network, by clustering, or none: how far they agree, and what the picture gains by them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from experiments.intervals import ratio_interval
from experiments.pairs import SLIM, free_pairs, pair_files, read_pair
from experiments.scoring import scores_of
from experiments.tables import table
from photostyle import configure, transfer
from photostyle.evaluation.reports import BETTER, contact_sheet, overlay
from photostyle.evaluation.scores import SCORES
from photostyle.files.images import read_image, write_image
from photostyle.files.masks import MaskSet, read_masks
from segmentation.files import write_masks
from segmentation.make import MaskOptions, make_masks

# The ADE20K network of MLPerf Mobile (Apache-2.0), in the data folder, and what its graph does not say.
NETWORK = Path("segmenters") / "mosaic.onnx"
DESCRIPTION = """
vocabulary = "ade20k"
licence = "Apache-2.0"
mean = [0, 0, 0]
std = [1, 1, 1]
classes = [
    "other", "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass", "cabinet",
    "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water", "painting",
    "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair",
]
"""
MASK_OPTIONS = {
    "network": MaskOptions(sure=0.0),
    "hybrid": MaskOptions(),
    "deep clusters": MaskOptions(method="cluster"),
    "clusters": MaskOptions(method="cluster", semantic=False),
}


def mask_options(masks: str, data: Path, folder: Path) -> MaskOptions:
    """How masks of a name are made. The network is described in the folder: nothing is written among the data."""
    options = MASK_OPTIONS[masks]
    if options.method == "cluster":
        return options
    file = folder / NETWORK.name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".toml").write_text(DESCRIPTION, encoding="utf-8")
    if not file.exists():
        file.symlink_to((data / NETWORK).resolve())
    return replace(options, segmenter=str(file))


def runs(settings: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """One transfer for every pair and every kind of masks."""
    return {
        f"{pair:02d} {masks}": {"pair": pair, "masks": masks, "config": settings["config"]}
        for pair in settings["pairs"]
        for masks in settings["masks"]
    }


def inputs(parameters: Mapping[str, Any]) -> list[str]:
    """The pair, and the encoder that scores are taken in."""
    network = [NETWORK.as_posix()] if parameters["masks"] in ("network", "hybrid") else []
    return [*pair_files(parameters["pair"]), SLIM.as_posix(), *network]


def execute(parameters: Mapping[str, Any], data: Path, folder: Path) -> dict[str, Any]:
    """Make the masks, run the transfer on them, score it on the painted regions."""
    pair, name = read_pair(data, parameters["pair"]), f"{parameters['pair']:02d} {parameters['masks']}"
    paths, figures = ("none",), {}
    if parameters["masks"] == "painted":
        paths = (str(pair.content_mask), str(pair.style_mask))
    elif parameters["masks"] != "none":
        options = mask_options(parameters["masks"], data, folder / name)
        made = make_masks((pair.content, pair.style), options)
        paths = tuple(str(folder / name / side) for side in ("content", "style"))
        (folder / name).mkdir(parents=True, exist_ok=True)
        for path, regions in zip(paths, made.sets, strict=True):
            write_masks(Path(path), regions, "soft")
        content = agreement(made.sets[:1], pair.masks[:1])
        figures = agreement(made.sets, pair.masks) | {
            "content rand": content["rand"],
            "content iou": content["iou"],
            "regions": len(made.sets[0].names),
            "method": made.origin["method"],
        }
    result = transfer(
        configure(content=pair.content.path, style=pair.style.path, masks=paths, **parameters["config"])
    )
    write_image(folder / f"{name}.png", result.image)
    return figures | {"scores": scores_of(result.image, pair, data)}


def agreement(found: Sequence[MaskSet], painted: Sequence[MaskSet]) -> dict[str, float | None]:
    """Adjusted Rand index (mean of the pictures, where more than one region is painted) and mean IoU.

    IoU: one assignment of found to painted labels for all pictures together, as the transfer uses them; the mean
    over the painted labels that all have, 0 for one without a partner.
    """
    names = tuple(dict.fromkeys(name for regions in found for name in regions.names))
    numbers = [np.array([names.index(name) for name in regions.names]) for regions in found]
    labels = [
        (number[ours.masks.argmax(0).numpy()], theirs.masks.argmax(0).numpy())
        for number, ours, theirs in zip(numbers, found, painted, strict=True)
    ]
    rand = [
        adjusted_rand_score(theirs.ravel(), ours.ravel())
        for (ours, theirs), regions in zip(labels, painted, strict=True)
        if len(regions.names) > 1
    ]
    common = [name for name in painted[0].names if all(name in truth.names for truth in painted)]
    overlap = np.mean(
        [
            _iou(ours, len(names), theirs, [truth.names.index(name) for name in common])
            for (ours, theirs), truth in zip(labels, painted, strict=True)
        ],
        axis=0,
    )
    rows, columns = linear_sum_assignment(-overlap)
    return {
        "rand": float(np.mean(rand)) if rand else None,
        "iou": float(overlap[rows, columns].sum() / len(common)),
    }


def _iou(ours: np.ndarray, count: int, theirs: np.ndarray, wanted: list[int]) -> np.ndarray:
    """(painted, found) intersection over union of every painted and every found label."""
    return np.array(
        [
            [
                ((theirs == t) & (ours == o)).sum() / max(((theirs == t) | (ours == o)).sum(), 1)
                for o in range(count)
            ]
            for t in wanted
        ]
    )


def summarise(settings: Mapping[str, Any], records: Mapping[str, Any]) -> dict[str, Any]:
    """Means over pairs; the gain 1 − style of each kind of masks over that of the painted ones, with an interval."""
    figures = {
        (record["parameters"]["pair"], record["parameters"]["masks"]): record["figures"]
        for record in records.values()
    }
    gain = {
        masks: np.array([1 - figures[pair, masks]["scores"]["style"] for pair in settings["pairs"]])
        for masks in settings["masks"]
    }
    means = {}
    for masks in settings["masks"]:
        of_pairs = [figures[pair, masks] for pair in settings["pairs"]]
        means[masks] = {
            "rand": _mean([each.get("rand") for each in of_pairs]),
            **{
                key: _mean([each.get(key) for each in of_pairs])
                for key in ("iou", "content rand", "content iou")
            },
            "gain": float(gain[masks].mean()),
            "of painted": float(gain[masks].mean() / gain["painted"].mean()),
            "interval": list(ratio_interval(gain[masks], gain["painted"])),
            **{name: float(np.mean([each["scores"][name] for each in of_pairs])) for name in SCORES},
        }
    pairs = {
        str(pair): {
            masks: {
                "gain": float(gain[masks][row]),
                **{key: figures[pair, masks].get(key) for key in ("rand", "iou", "regions")},
            }
            for masks in settings["masks"]
        }
        for row, pair in enumerate(settings["pairs"])
    }
    return {"means": means, "pairs": pairs}


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of those that there are; None where there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def tables(figures: Mapping[str, Any]) -> str:
    """The means, then every pair."""
    first = [
        [
            masks,
            *(_shown(mean.get(key)) for key in ("content rand", "content iou", "rand", "iou", "gain")),
            f"{mean['of painted']:.2f} ({mean['interval'][0]:.2f} to {mean['interval'][1]:.2f})",
            *(_shown(mean[name]) for name in SCORES),
        ]
        for masks, mean in figures["means"].items()
    ]
    scores = [f"{name} {BETTER[name]}" for name in SCORES]
    head = ["masks", "Rand, photo ↑", "IoU, photo ↑", "Rand ↑", "IoU ↑", "gain ↑", "of painted", *scores]
    kinds = list(figures["means"])
    second = [
        [
            pair,
            *(_shown(entry[masks]["gain"]) for masks in kinds),
            *(_shown(entry[kinds[-1]][key]) for key in ("rand", "iou")),
            str(entry[kinds[-1]]["regions"] or "–"),
        ]
        for pair, entry in figures["pairs"].items()
    ]
    return "\n".join(
        [
            "Means over the pairs. Rand: adjusted Rand index, 1 the same regions, 0 chance. IoU: mean intersection",
            "over union after one assignment of labels for both pictures, or for the photo alone. Gain: 1 − style. All",
            "scores are taken on the painted regions, whatever the masks were; 95 % intervals by resampling pairs.",
            "",
            table(head, first),
            "",
            f"Gain of each pair, and the agreement of `{kinds[-1]}`:",
            "",
            table(["pair", *kinds, "Rand", "IoU", "regions"], second),
        ]
    )


def sheet(settings: Mapping[str, Any], data: Path, folder: Path) -> None:
    """Photographs that come with the packages into sheet.jpg, the published ones (not to be passed on) into runs."""
    for number in settings["pairs"]:
        contact_sheet(
            _published_rows(settings, data, number, folder / "runs"),
            folder / "runs" / f"sheet-{number:02d}.jpg",
        )
    rows = [_free_row(name, pair, settings, folder / "runs") for name, pair in free_pairs().items()]
    contact_sheet(rows, folder / "sheet.jpg", cell=300)


def _published_rows(
    settings: Mapping[str, Any], data: Path, number: int, runs: Path
) -> list[list[tuple[str, Tensor]]]:
    """The regions of both pictures above, the results below."""
    pair = read_pair(data, number)
    pictures = (pair.content, pair.style)
    regions, results = [], [("photo", pair.content.pixels), ("reference", pair.style.pixels)]
    for masks in settings["masks"]:
        name = f"{number:02d} {masks}"
        results.append((masks, read_image(runs / f"{name}.png").pixels))
        if masks == "painted":
            sets = pair.masks
        elif masks != "none":
            folders = [runs / name / side for side in ("content", "style")]
            sets = tuple(
                read_masks(path, each.path, each.height, each.width)
                for path, each in zip(folders, pictures, strict=True)
            )
        else:
            continue
        regions += [
            (masks, overlay(each.pixels, found.masks, found.colours))
            for each, found in zip(pictures, sets, strict=True)
        ]
    return [regions, results]


def _free_row(
    name: str, pair: tuple[Tensor, Tensor], settings: Mapping[str, Any], runs: Path
) -> list[tuple[str, Tensor]]:
    files = [runs / f"{name} {side}.png" for side in ("content", "style")]
    folders = [file.with_suffix("") for file in files]
    for file, image in zip(files, pair, strict=True):
        write_image(file, image)
    made = make_masks([read_image(file) for file in files], MASK_OPTIONS["deep clusters"])
    for folder, regions in zip(folders, made.sets, strict=True):
        write_masks(folder, regions, "soft")
    veiled = [overlay(each, found.masks, found.colours) for each, found in zip(pair, made.sets, strict=True)]
    results = [
        transfer(configure(content=files[0], style=files[1], masks=masks, **settings["config"])).image
        for masks in (("none",), tuple(map(str, folders)))
    ]
    captions = ("regions by clustering", "the reference's", "without masks", "with these regions")
    return list(zip(captions, (*veiled, *results), strict=True))


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
