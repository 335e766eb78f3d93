"""The demonstration: a pavilion by day takes the light of a launch pad at dusk. Called by scripts/demo.

Both photographs ship inside the packages the project depends on; the masks are painted in
experiments/demonstration.py. Everything is written to out-demo/ and made by the same command that the README explains.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the experiments are no installed package

from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image

from experiments.demonstration import PAVILION, ROCKET, paint, paint_lamps
from photostyle.cli import main
from photostyle.evaluation.reports import contact_sheet
from photostyle.files.images import read_image

FOLDER = Path("out-demo")
SHEET = FOLDER / "sheet.png"
CLOSE_UP = (20, 60, 234, 380)  # top, left, bottom, right: the roofs, at the photo's aspect
CONTENT_CREDIT = "content: china.jpg by danielbuechele, CC BY 2.0 (scikit-learn)"
STYLE_CREDIT = "style: rocket by SpaceX, public domain (scikit-image)"


def write_inputs() -> dict[str, Path]:
    """The two photographs and their masks as files."""
    FOLDER.mkdir(exist_ok=True)
    pavilion, rocket = load_sample_image("china.jpg"), data.rocket()
    rocket_mask = paint(ROCKET, *rocket.shape[:2])
    paint_lamps(rocket_mask)
    pictures = {
        "content": pavilion,
        "style": rocket,
        "content_mask": paint(PAVILION, *pavilion.shape[:2]),
        "style_mask": rocket_mask,
    }
    for name, picture in pictures.items():
        Image.fromarray(picture).save(FOLDER / f"{name}.png")
    return {name: FOLDER / f"{name}.png" for name in pictures}


def lay_out(files: dict[str, Path], output: Path, caption: str) -> None:
    """The contact sheet: photographs and result above, masks and a close-up below."""
    pixels = {name: read_image(path).pixels for name, path in (files | {"result": output}).items()}
    top, left, bottom, right = CLOSE_UP
    photographs = [
        (CONTENT_CREDIT, pixels["content"]),
        (STYLE_CREDIT, pixels["style"]),
        (caption, pixels["result"]),
    ]
    below = [
        ("its mask: one colour, one region", pixels["content_mask"]),
        ("its mask: the same colours", pixels["style_mask"]),
        ("close-up of the result", pixels["result"][:, top:bottom, left:right]),
    ]
    contact_sheet([photographs, below], SHEET)


def demonstrate(options: list[str]) -> int:
    """Write the inputs, run the main job on them, lay everything side by side. Returns its exit code."""
    files, output = write_inputs(), FOLDER / "result.png"
    began = time.perf_counter()
    command = ["run", "--content", str(files["content"]), "--style", str(files["style"])]
    command += ["--masks", str(files["content_mask"]), str(files["style_mask"]), "--output", str(output)]
    code = main([*command, *options])
    if code:
        return code
    lay_out(files, output, f"result, {time.perf_counter() - began:.0f} s")
    print(f"\npicture  {output.resolve()}")
    print(f"record   {output.with_suffix('.json').resolve()}")
    print(f"sheet    {SHEET.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(demonstrate(sys.argv[1:] or ["--preset", "patches"]))
