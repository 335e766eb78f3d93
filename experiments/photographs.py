"""Photographs by name: files of the data folder, and pictures that come with the packages."""

import posixpath
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from skimage import data as photographs
from sklearn.datasets import load_sample_image

from photostyle.errors import PhotostyleError
from photostyle.files.arrays import picture_of
from photostyle.files.images import Picture, read_image

FREE = "free"  # the folder of the data folder that names of files are relative to
SHIPPED = (
    "astronaut",
    "chelsea",
    "coffee",
    "rocket",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
)  # those of scikit-image that are photographs and need no download


def file_of(name: str) -> str | None:
    """The file that a name means, relative to the data folder; None for a picture of a package ("skimage:coffee")."""
    return None if ":" in name else posixpath.normpath(f"{FREE}/{name}")


def photograph(name: str, data: Path) -> Picture:
    """The photograph of that name. Raises PhotostyleError for a package or a picture that there is not."""
    if file := file_of(name):
        return read_image(data / file)
    package, _, picture = name.partition(":")
    if package == "skimage" and picture in SHIPPED:
        return picture_of(getattr(photographs, picture)())
    if package == "sklearn":
        return picture_of(np.asarray(load_sample_image(picture)))
    if package == "matplotlib":
        return picture_of(
            Image.open(Path(matplotlib.get_data_path()) / "sample_data" / picture).convert("RGB")
        )
    raise PhotostyleError(
        f'no photograph "{name}"; name a file, sklearn:FILE, matplotlib:FILE or skimage: with one of '
        f"{', '.join(SHIPPED)}"
    )


def title(content: str, style: str) -> str:
    """What a pair is called in tables and file names: "coffee from fruits"."""
    return " from ".join(Path(name.rpartition(":")[2]).stem for name in (content, style))
