"""The published pairs, in the layout of their repository: dpst/input/inN.png, dpst/style/tarN.png, …"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image
from skimage import data as photographs
from sklearn.datasets import load_sample_image
from torch import Tensor

from photostyle import configure
from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.evaluation.scores import score_encoder
from photostyle.files.images import Picture, read_image
from photostyle.files.masks import MaskSet, read_masks
from photostyle.losses.encoders import Encoder
from photostyle.losses.weights import find

SLIM = Path("encoders") / "slim_vgg19.safetensors"


@dataclass(frozen=True, eq=False)
class PublishedPair:
    """A photograph, its reference, and the masks that the authors painted for them."""

    number: int
    content: Picture
    style: Picture
    content_mask: Path
    style_mask: Path
    masks: tuple[MaskSet, MaskSet]


def pair_files(number: int) -> list[str]:
    """The files of pair number N, relative to the data folder: content, style, their masks."""
    content, style = f"in{number}.png", f"tar{number}.png"
    names = ("input", content), ("style", style), ("segmentation", content), ("segmentation", style)
    return [f"dpst/{folder}/{name}" for folder, name in names]


def read_pair(data: Path, number: int) -> PublishedPair:
    """Pair number N of data/dpst."""
    content, style, *masks = (data / name for name in pair_files(number))
    if not content.exists():
        raise PhotostyleError(f"{content} does not exist; give the folder that holds dpst/ with --data")
    pictures = read_image(content), read_image(style)
    sets = [
        read_masks(mask, picture.path, picture.height, picture.width)
        for mask, picture in zip(masks, pictures, strict=True)
    ]
    return PublishedPair(number, *pictures, *masks, (sets[0], sets[1]))


def configured(pair: PublishedPair, settings: Mapping[str, Any], data: Path) -> Config:
    """The configuration that an experiment's settings mean for a pair, on the CPU.

    settings: as `configure` takes them, with TOML's lists for tuples, weights as a path inside the data folder, and
    masks = "none" where the painted ones are not to be used.
    """
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    if "weights" in settings:
        settings["weights"] = data / settings["weights"]
    painted = (str(pair.content_mask), str(pair.style_mask))
    masks = ("none",) if settings.pop("masks", "painted") == "none" else painted
    files = {"content": pair.content.path, "style": pair.style.path}
    return configure(**files, masks=masks, **{"device": "cpu"} | settings)


def slim_encoder(data: Path, more_layers: Sequence[str] = ()) -> Encoder:
    """The quarter-width VGG-19 whose features `style` is scored in; more_layers: beside those of the score."""
    return score_encoder(find(data / SLIM, "vgg19", download=False), "vgg19", more_layers)


def free_pairs() -> dict[str, tuple[Tensor, Tensor]]:
    """Pairs of photographs, (3, H, W), that come with the packages and may be shown: for sheet.jpg.

    china and flower: CC BY 2.0, danielbuechele and vultilion; coffee: CC0; the rest: public domain.
    """
    hopper = Image.open(matplotlib.get_data_path() + "/sample_data/grace_hopper.jpg").convert("RGB")
    pairs = {
        "china from rocket": (load_sample_image("china.jpg"), photographs.rocket()),
        "astronaut from hopper": (photographs.astronaut(), np.asarray(hopper)),
        "flower from coffee": (load_sample_image("flower.jpg"), photographs.coffee()),
    }
    return {name: (_tensor(content), _tensor(style)) for name, (content, style) in pairs.items()}


def _tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1).float().div(255)
