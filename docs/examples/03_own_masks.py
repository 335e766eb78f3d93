"""Your own regions: what is light takes after what is light, what is dark after what is dark."""

import numpy as np
from skimage import data
from skimage.color import rgb2gray
from skimage.filters import threshold_otsu

from photostyle import configure, transfer


def light(photo: np.ndarray) -> np.ndarray:
    """Labels (H, W): 1 where the photo is light, 0 elsewhere. Any whole numbers will do, from any segmenter."""
    grey = rgb2gray(photo)
    return (grey > threshold_otsu(grey)).astype(int)


photo, reference = data.coffee(), data.chelsea()
config = configure(
    "patches",
    content=photo,
    style=reference,
    masks=(light(photo), light(reference)),  # the same label: this takes its style from that
    region_strength=("0=0.5",),  # the dark half of the photo goes only half the way
    size=128,
    iterations=(20,),
)
result = transfer(config)
for pair in result.guidance.pairs:
    print(f"region {pair.name}, {pair.content_share:.0%} of the photo, takes after {pair.partner}")
