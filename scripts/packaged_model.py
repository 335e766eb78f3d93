"""Train the model that comes with the package again: python scripts/packaged_model.py OUT --weights VGG19.

From pictures that anybody may have: seven photographs of installed packages, and forty drawn styles (ten manners in
four palettes). Nine minutes of one CPU core with bfloat16; the command goes on where it was ended.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the experiments are no installed package

from photostyle.process import let_threads_sleep

# Public domain: astronaut (NASA), rocket (SpaceX), Grace Hopper (US Navy); CC0: cat, coffee; CC BY 2.0: the last two.
PHOTOGRAPHS = (
    "skimage:astronaut skimage:rocket matplotlib:grace_hopper.jpg skimage:chelsea skimage:coffee sklearn:china.jpg "
    "sklearn:flower.jpg"
).split()
LICENCE = (
    "Photographs: astronaut (NASA), rocket (SpaceX), Grace Hopper (US Navy): public domain; chelsea (Stefan van der "
    "Walt), coffee (Rachel Michetti): CC0; china.jpg by danielbuechele, flower.jpg by vultilion: CC BY 2.0. Styles "
    "drawn by this project's code: Apache 2.0."
)
EPOCHS, ENCODER_EPOCHS = 20, 2  # of 100 steps
PALETTES = 4  # of each manner: its own, and those of the manners after it


@dataclass(frozen=True)
class PackagedModel:
    """Train the model that comes with the package again, from pictures that anybody may have."""

    output: Annotated[Path, tyro.conf.Positional]
    """folder for the pictures and all that is written"""
    weights: Path | None = None
    """the loss network's VGG-19 weights; default: the cache or a download"""
    threads: int = 0
    """CPU threads; 0: torch's own choice"""


def main(arguments: list[str]) -> int:
    """The imports stand here because they import torch, which reads the environment."""
    from photostyle.cli.arguments import parse
    from photostyle.cli.console import exit_code
    from photostyle.cli.train import ENDING, train_multistyle
    from photostyle.feedforward.multistyle import Asked
    from photostyle.feedforward.presets import PRESETS

    options = parse(PackagedModel, arguments, "python scripts/packaged_model.py")
    contents, styles = write_pictures(options.output)
    preset = PRESETS["tiny"]
    training = replace(
        preset.training,
        epochs=EPOCHS,
        encoder_epochs=ENCODER_EPOCHS,
        style_crops=2 * len(list(styles.iterdir())),
    )
    asked = Asked(contents, styles, options.output, weights=options.weights, licence=LICENCE)
    return exit_code(lambda: train_multistyle(asked, preset.model, training, "cpu", options.threads), ENDING)


def write_pictures(folder: Path) -> tuple[Path, Path]:
    """The photographs, and the drawn styles with the photographs among them: two folders of PNG files."""
    from PIL import Image

    from experiments.drawn_styles import STYLES, drawn
    from experiments.photographs import photograph
    from photostyle.files.images import write_image

    contents, styles = folder / "contents", folder / "styles"
    for each in (contents, styles):
        each.mkdir(parents=True, exist_ok=True)
    for name in PHOTOGRAPHS:
        file = f"{Path(name.rpartition(':')[2]).stem}.png"
        for each in (contents, styles):
            write_image(each / file, photograph(name, folder).pixels)
    for number, manner in enumerate(STYLES):
        for palette in (*STYLES, *STYLES)[number : number + PALETTES]:
            picture = drawn(manner, None if palette == manner else palette)
            Image.fromarray(picture).save(styles / f"{manner}-{palette}.png")
    return contents, styles


if __name__ == "__main__":
    let_threads_sleep()
    sys.exit(main(sys.argv[1:]))
