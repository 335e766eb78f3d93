"""Your own regions: light takes after light, dark after dark."""

import numpy as np
from skimage import data
from skimage.color import rgb2gray
from skimage.filters import threshold_otsu

from photostyle import configure, transfer


def light(photo: np.ndarray) -> np.ndarray:
    """Labels (H, W): 1 where it is light, else 0. Any whole numbers do."""
    grey = rgb2gray(photo)
    return (grey > threshold_otsu(grey)).astype(int)


photo, reference = data.coffee(), data.chelsea()
config = configure(
    "patches",
    content=photo,
    style=reference,
    masks=(light(photo), light(reference)),  # the same label pairs
    region_strength=("0=0.5",),  # what is dark goes half the way
    size=128,
    iterations=(10,),
)
result = transfer(config)
for pair in result.guidance.pairs:
    share = f"{pair.content_share:.0%} of the photo"
    print(f"region {pair.name}, {share}, takes after {pair.partner}")
