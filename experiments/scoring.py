"""What a picture of a published pair is worth: the scores, each on the painted regions, and two held-out ones."""

from pathlib import Path

from torch import Tensor

from experiments.pairs import SLIM, PublishedPair
from photostyle.evaluation.scores import STYLE_LAYERS, gram_ratio, patch_ratio, score
from photostyle.losses.encoders import Encoder
from photostyle.losses.weights import find
from photostyle.regions.guidance import pair_regions

SCORES = ("style", "colour", "edge", "grey", "matting", "drift4", "drift16")
# Features that no preset optimises: the last layer of each of the first four blocks, where the Gram term has the first.
HELD_OUT_LAYERS = ("relu1_2", "relu2_2", "relu3_4", "relu4_4")
HELD_OUT = ("style, other layers", "style, patches")


def judge(data: Path) -> Encoder:
    """The quarter-width VGG-19 with the layers of every style score."""
    layers = (*STYLE_LAYERS, *HELD_OUT_LAYERS)
    return Encoder(find(data / SLIM, "vgg19", download=False).state, "vgg19", layers=layers)


def scores_of(image: Tensor, pair: PublishedPair, data: Path) -> dict[str, float]:
    """SCORES and HELD_OUT of a result (3, H, W) of a pair, on the painted regions whatever it was made with.

    "style, other layers": Gram distance at HELD_OUT_LAYERS; "style, patches": distributions of 7x7 patches. Both as
    ratios to the untouched photo.
    """
    painted = pair_regions(pair.content.pixels, pair.masks[0], pair.style.pixels, pair.masks[1])
    pictures = (image, pair.content.pixels, pair.style.pixels, painted.content, painted.style)
    encoder = judge(data)
    held_out = gram_ratio(*pictures, encoder, HELD_OUT_LAYERS), patch_ratio(*pictures)
    return score(*pictures, encoder).as_dict() | dict(zip(HELD_OUT, held_out, strict=True))
