"""The strips of README and gallery, made anew: `python docs/strips.py`, some minutes on two cores.

Photographs that come with the packages; `photostyle run` does the work, without weights from a network.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image

from photostyle.cli import main
from photostyle.evaluation.reports import contact_sheet
from photostyle.files.images import read_image

IMAGES = Path(__file__).resolve().parent / "images"
CELL, QUALITY = 300, 88  # pixels of a photograph's width, of JPEG: four photographs stay under 150 kB

# What a run without options is, with the extra semantic and no weights from a network.
DEFAULT = ["--preset", "patches", "--masks", "auto", "--no-download"]


@dataclass(frozen=True)
class Strip:
    """A photo, a reference, and results by their captions."""

    content: str
    style: str
    results: dict[str, list[str]]


STRIPS = {
    "calm": Strip("china", "coffee", {"the default": DEFAULT}),
    "default": Strip(
        "flower", "coffee", {"the default": DEFAULT, "boldness 1": [*DEFAULT, "--boldness", "1"]}
    ),
    "stains": Strip(
        "astronaut",
        "rocket",
        {
            "no masks, boldness 1: stains": "--preset patches --masks none --boldness 1 --protect none".split(),
            "the default": DEFAULT,
        },
    ),
}


def photographs() -> dict[str, Image.Image]:
    """By name. china, flower: CC BY 2.0, danielbuechele and vultilion; coffee: CC0; the others: public domain."""
    return {
        "china": Image.fromarray(load_sample_image("china.jpg")),
        "flower": Image.fromarray(load_sample_image("flower.jpg")),
        "coffee": Image.fromarray(data.coffee()),
        "astronaut": Image.fromarray(data.astronaut()),
        "rocket": Image.fromarray(data.rocket()),
        "hopper": Image.open(matplotlib.get_data_path() + "/sample_data/grace_hopper.jpg").convert("RGB"),
    }


def make(name: str, strip: Strip, folder: Path) -> None:
    """Write docs/images/NAME.jpg; photographs and results are kept in the folder meanwhile."""
    files = {"photo": folder / f"{strip.content}.png", "reference": folder / f"{strip.style}.png"}
    for number, (caption, options) in enumerate(strip.results.items()):
        files[caption] = folder / f"{name}-{number}.png"
        inputs = ["--content", str(files["photo"]), "--style", str(files["reference"])]
        outputs = ["--output", str(files[caption]), "--no-metrics", "--quiet", "--device", "cpu"]
        code = main(["run", *inputs, *options, *outputs])
        if code:
            raise SystemExit(code)
    row = [(caption, read_image(path).pixels) for caption, path in files.items()]
    contact_sheet([row], folder / "sheet.png", CELL)
    Image.open(folder / "sheet.png").save(IMAGES / f"{name}.jpg", quality=QUALITY)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name, photograph in photographs().items():
            photograph.save(Path(folder) / f"{name}.png")
        for name, strip in STRIPS.items():
            make(name, strip, Path(folder))
