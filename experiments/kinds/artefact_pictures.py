"""Every artefact put into photographs on purpose, and what every detector says about it."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor

from experiments.pairs import free_pairs
from experiments.tables import table
from photostyle.evaluation.artefacts import Artefacts, find_artefacts
from photostyle.evaluation.comparison import Comparison
from photostyle.evaluation.reports import contact_sheet
from photostyle.imaging.filters import area_average, fit_within

DETECTORS = tuple(field.name for field in fields(Artefacts))
GREY = 0.8  # of the veil, as bright as an overcast sky
STAIN = (-0.87, 0.5)  # direction in Lab a, b: a green that at a chroma of 60 none of the photographs has
STAIN_RADIUS = 0.3  # share of the long side: the stain covers over a third of the picture
HALO, SPILL = 0.01, 0.015  # their reach as a share of the long side
BAND_BLUR = 2.0  # px: bands are cut out of the smooth part, and its grain stays


def runs(settings: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """Each pair with no artefact, then with each artefact at each strength."""
    common = {"size": settings["size"], "dim": settings["dim"]}
    return {
        f"{pair}, {artefact} {strength}": {
            "pair": pair,
            "artefact": artefact,
            "strength": strength,
            **common,
        }
        for pair in free_pairs()
        for artefact, strengths in {"none": [0], **settings["strengths"]}.items()
        for strength in strengths
    }


def inputs(parameters: Mapping[str, Any]) -> list[str]:
    """Files of the data folder that a run reads: none, the photographs come with the packages."""
    return []


def execute(parameters: Mapping[str, Any], data: Path, folder: Path) -> dict[str, Any]:
    """What every detector says about the picture with the artefact."""
    return find_artefacts(comparison(parameters)).as_dict()


def comparison(parameters: Mapping[str, Any]) -> Comparison:
    """What the detectors are given of a run, the whole of either picture as its one region."""
    content, style = (_sized(each, parameters["size"]) for each in free_pairs()[parameters["pair"]])
    result = inject(content, parameters["artefact"], parameters["strength"], parameters["dim"])
    return Comparison(result, content, style, *(torch.ones(1, *each.shape[1:]) for each in (content, style)))


def inject(photo: Tensor, artefact: str, strength: float, dim: float) -> Tensor:
    """The photo, dimmed (no artefact) and then with one, as 8 bits keep it. (3, H, W) -> (3, H, W)."""
    spoilt = INJECTIONS[artefact](photo.double().numpy() * dim, strength)
    return torch.from_numpy(np.round(np.clip(spoilt, 0, 1) * 255) / 255).float()


def _banding(picture: np.ndarray, levels: float) -> np.ndarray:
    """Its smooth part in that many levels per channel."""
    smooth = gaussian_filter(picture, (0, BAND_BLUR, BAND_BLUR))
    return picture + np.round(smooth * levels) / levels - smooth


def _halo(picture: np.ndarray, amount: float) -> np.ndarray:
    """Its lightness sharpened by that much at the reach of a halo."""
    radius = HALO * max(picture.shape)
    grey = picture.mean(0)
    return picture + amount * (grey - gaussian_filter(grey, radius))


def _spill(picture: np.ndarray, share: float) -> np.ndarray:
    """That share of its chroma blurred."""
    lab = rgb2lab(picture, channel_axis=0)
    radius = SPILL * max(picture.shape)
    lab[1:] += share * (gaussian_filter(lab[1:], (0, radius, radius)) - lab[1:])
    return _rgb(lab)


def _noise(picture: np.ndarray, deviation: float) -> np.ndarray:
    """White noise of that standard deviation."""
    return picture + np.random.default_rng(0).normal(scale=deviation, size=picture.shape)


def _clipped(picture: np.ndarray, gain: float) -> np.ndarray:
    """That many times as bright."""
    return picture * gain


def _haze(picture: np.ndarray, veil: float) -> np.ndarray:
    """Under a grey veil of that opacity."""
    return picture * (1 - veil) + GREY * veil


def _foreign(picture: np.ndarray, chroma: float) -> np.ndarray:
    """A stain of that chroma in the middle."""
    height, width = picture.shape[1:]
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2) / (STAIN_RADIUS * max(picture.shape))
    amount = np.clip(1 - distance**2, 0, 1) ** 2  # without an edge of its own
    lab = rgb2lab(picture, channel_axis=0)
    lab[1:] += amount * (chroma * np.array(STAIN)[:, None, None] - lab[1:])
    return _rgb(lab)


def _rgb(lab: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        # Colours that sRGB does not have are clipped, as a picture file does.
        warnings.filterwarnings("ignore", "Conversion from CIE-LAB", UserWarning)
        return np.asarray(lab2rgb(lab, channel_axis=0))


INJECTIONS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "none": lambda picture, _: picture,
    "banding": _banding,
    "halo": _halo,
    "spill": _spill,
    "noise": _noise,
    "clipped": _clipped,
    "haze": _haze,
    "foreign": _foreign,
}


def summarise(settings: Mapping[str, Any], records: Mapping[str, Any]) -> dict[str, Any]:
    """Means over the photographs: what each detector says about each artefact at each strength."""
    means: dict[str, Any] = {}
    for artefact, strengths in {"none": [0], **settings["strengths"]}.items():
        of_strength = [
            [
                record["figures"]
                for record in records.values()
                if (record["parameters"]["artefact"], record["parameters"]["strength"])
                == (artefact, strength)
            ]
            for strength in strengths
        ]
        means[artefact] = [
            {name: float(np.mean([each[name] for each in figures])) for name in DETECTORS}
            for figures in of_strength
        ]
    return {"strengths": dict(settings["strengths"]), "means": means}


def relative(figures: Mapping[str, Any], artefact: str, step: int) -> dict[str, float]:
    """What each detector says, relative to what it says about its own artefact at the greatest strength."""
    found = figures["means"][artefact][step]
    return {name: found[name] / figures["means"][name][-1][name] for name in DETECTORS}


def tables(figures: Mapping[str, Any]) -> str:
    """Relative answers, then the numbers themselves."""
    first = [["none", "–", *(f"{value:.2f}" for value in relative(figures, "none", 0).values())]]
    second = [["none", "–", *(f"{value:.3f}" for value in figures["means"]["none"][0].values())]]
    for artefact, strengths in figures["strengths"].items():
        for step, strength in enumerate(strengths):
            answers = relative(figures, artefact, step)
            shown = [
                f"**{value:.2f}**" if name == artefact else f"{value:.2f}" for name, value in answers.items()
            ]
            first.append([artefact, f"{strength:g}", *shown])
            numbers = figures["means"][artefact][step].values()
            second.append([artefact, f"{strength:g}", *(f"{value:.3f}" for value in numbers)])
    head = ["injected", "strength", *DETECTORS]
    return "\n".join(
        [
            "Means over the photographs. What each detector (column) says of each injected artefact (row), in parts of",
            "what it says of its own at the greatest strength:",
            "",
            table(head, first),
            "",
            "The numbers themselves, in the units of `artefacts.Artefacts`:",
            "",
            table(head, second),
        ]
    )


def sheet(settings: Mapping[str, Any], data: Path, folder: Path) -> None:
    """One photograph with each artefact at its greatest strength; all of them into runs."""
    for number, (name, (photo, _)) in enumerate(free_pairs().items()):
        content = _sized(photo, settings["size"])
        pictures = [("photo", content)]
        for artefact, strengths in {"none": [0], **settings["strengths"]}.items():
            caption = "dimmed, no artefact" if artefact == "none" else f"{artefact} {strengths[-1]:g}"
            pictures.append((caption, inject(content, artefact, strengths[-1], settings["dim"])))
        rows = [pictures[:3], pictures[3:6], pictures[6:]]
        contact_sheet(rows, folder / "runs" / f"sheet {name}.jpg", cell=400)
        if number == 0:
            contact_sheet(rows, folder / "sheet.jpg", cell=300)


def _sized(photo: Tensor, size: int) -> Tensor:
    return area_average(photo, *fit_within(photo.shape[1], photo.shape[2], size))
