"""The demonstration: a pavilion by day takes the light of a launch pad at dusk. Called by scripts/demo.

Both photographs ship inside the packages the project depends on; the masks are drawn here. Everything is written
to out-demo/ and made by the same command that the README explains.
"""

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data
from skimage.draw import disk, polygon
from sklearn.datasets import load_sample_image

from photostyle.cli import main
from photostyle.evaluation.reports import contact_sheet
from photostyle.files.images import read_image

FOLDER = Path("out-demo")
SHEET = FOLDER / "sheet.png"
CLOSE_UP = (20, 60, 234, 380)  # top, left, bottom, right: the roofs, at the photo's aspect
CONTENT_CREDIT = "content: china.jpg by danielbuechele, CC BY 2.0 (scikit-learn)"
STYLE_CREDIT = "style: rocket by SpaceX, public domain (scikit-image)"

# A region is a colour; the same colour in both masks means "this takes its style from that".
SKY, LAND, BUILDING, TREES = (70, 130, 220), (60, 190, 190), (200, 60, 60), (60, 140, 60)

Points = tuple[tuple[int, int], ...]  # corners (x, y) in pixels
Shape = tuple[tuple[int, int, int], Points]

# fmt: off
# Painted in this order, each over the ones before. The pavilion takes the lit rocket, the lake and its shore the
# cloud bank, the trees the lattice towers.
PAVILION: tuple[Shape, ...] = (
    (SKY, ((0, 0), (640, 0), (640, 427), (0, 427))),
    (LAND, ((0, 206), (320, 206), (640, 208), (640, 427), (0, 427))),
    (BUILDING, (
        (198, 30), (206, 29), (214, 31), (215, 37), (212, 46), (216, 51), (217, 62), (221, 66), (236, 79), (255, 92),
        (262, 93), (268, 99), (280, 103), (292, 107), (297, 105), (301, 113), (318, 117), (320, 124), (311, 129),
        (296, 138), (294, 160), (303, 163), (308, 161), (311, 167), (330, 172), (329, 179), (321, 185), (320, 226),
        (328, 229), (328, 237), (322, 240), (331, 242), (337, 241), (342, 246), (352, 251), (350, 257), (342, 268),
        (342, 305), (349, 308), (349, 318), (346, 321), (360, 326), (371, 332), (372, 340), (345, 364), (332, 374),
        (326, 427), (270, 427), (200, 380), (160, 358), (74, 343), (75, 312), (81, 308), (80, 283), (64, 274),
        (62, 268), (66, 253), (88, 243), (94, 235), (97, 232), (98, 195), (85, 184), (84, 170), (105, 165),
        (112, 160), (119, 160), (120, 140), (100, 131), (94, 124), (96, 107), (120, 104), (130, 101), (160, 87),
        (180, 75), (192, 63), (192, 53), (197, 48), (197, 40),
    )),
    (TREES, (
        (0, 145), (3, 148), (6, 170), (12, 183), (25, 183), (40, 197), (47, 205), (49, 215), (60, 216), (72, 222),
        (75, 236), (70, 247), (58, 250), (48, 244), (38, 247), (30, 262), (15, 275), (5, 278), (0, 278),
    )),
    (TREES, (
        (0, 293), (10, 292), (20, 299), (25, 312), (24, 322), (50, 320), (69, 322), (74, 343), (105, 338),
        (125, 332), (140, 331), (157, 340), (162, 356), (185, 362), (200, 368), (215, 385), (245, 391), (255, 388),
        (275, 393), (285, 400), (298, 418), (297, 427), (0, 427),
    )),
    (TREES, ((296, 384), (300, 366), (315, 362), (328, 376), (330, 388), (312, 391))),
    (TREES, (
        (318, 427), (321, 400), (332, 384), (341, 374), (352, 365), (365, 350), (373, 340), (374, 330), (385, 322),
        (405, 321), (425, 308), (450, 299), (470, 291), (485, 289), (500, 297), (515, 287), (520, 278), (535, 272),
        (556, 277), (556, 268), (550, 258), (548, 245), (547, 225), (558, 213), (568, 205), (572, 190), (578, 177),
        (571, 170), (580, 160), (586, 145), (594, 137), (603, 137), (612, 134), (620, 142), (628, 146), (632, 160),
        (640, 164), (640, 427),
    )),
)
ROCKET: tuple[Shape, ...] = (
    (SKY, ((0, 0), (640, 0), (640, 427), (0, 427))),
    (LAND, ((0, 366), (640, 366), (640, 427), (0, 427))),
    (LAND, ((44, 0), (89, 0), (82, 350), (74, 427), (0, 427), (0, 335))),
    (TREES, ((559, 0), (601, 0), (640, 175), (640, 427), (577, 427))),
    (LAND, ((198, 123), (204, 123), (205, 427), (162, 427), (188, 191), (197, 190))),
    (LAND, ((442, 122), (449, 122), (450, 190), (458, 191), (479, 427), (439, 427))),
    (BUILDING, (
        (310, 190), (311, 150), (316, 133), (322, 127), (329, 133), (333, 150), (334, 180), (334, 345), (345, 390),
        (356, 405), (379, 407), (379, 427), (266, 427), (266, 407), (288, 405), (300, 390), (310, 345),
    )),
)
# fmt: on
LAMPS = ((83, 349), (150, 378), (193, 395), (365, 398), (433, 394), (110, 417), (450, 421))  # (x, y)
LAMP_RADIUS = 24  # pixels: a flare with most of its rays


def paint(shapes: tuple[Shape, ...], height: int, width: int) -> np.ndarray:
    """A colour mask: one flat colour per region. Returns (height, width, 3) uint8."""
    mask = np.zeros((height, width, 3), np.uint8)
    for colour, corners in shapes:
        x, y = zip(*corners, strict=True)
        mask[polygon(y, x, (height, width))] = colour
    return mask


def paint_lamps(mask: np.ndarray) -> None:
    """The lamps light the pavilion too."""
    for x, y in LAMPS:
        mask[disk((y, x), LAMP_RADIUS, shape=mask.shape[:2])] = BUILDING


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
