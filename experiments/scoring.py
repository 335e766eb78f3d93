"""The scores of a picture of a published pair on the painted regions, and two held-out scores."""

from pathlib import Path

from torch import Tensor

from experiments.pairs import PublishedPair, slim_encoder
from photostyle.evaluation.comparison import Comparison
from photostyle.evaluation.scores import gram_ratio, patch_ratio, score
from photostyle.regions.guidance import pair_regions

# Features that no preset optimises: the last layer of each of the first four blocks; the Gram term has the first ones.
HELD_OUT_LAYERS = ("relu1_2", "relu2_2", "relu3_4", "relu4_4")
HELD_OUT = ("style, other layers", "style, patches")


def scores_of(image: Tensor, pair: PublishedPair, data: Path) -> dict[str, float]:
    """SCORES and HELD_OUT of a result (3, H, W) of a pair, on the painted regions whatever it was made with.

    "style, other layers": Gram distance at HELD_OUT_LAYERS; "style, patches": distributions of 7x7 patches. Both as
    ratios to the untouched photo.
    """
    painted = pair_regions(pair.content.pixels, pair.masks[0], pair.style.pixels, pair.masks[1])
    compared = Comparison(image, pair.content.pixels, pair.style.pixels, painted.content, painted.style)
    encoder = slim_encoder(data, HELD_OUT_LAYERS)
    held_out = gram_ratio(compared, encoder, HELD_OUT_LAYERS), patch_ratio(compared)
    return score(compared, encoder).as_dict() | dict(zip(HELD_OUT, held_out, strict=True))
