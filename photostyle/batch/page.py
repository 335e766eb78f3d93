"""What a batch looks like: small copies before and after, a page of them that needs no network, one contact sheet."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from os import fsencode
from pathlib import Path
from urllib.parse import quote

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from photostyle.evaluation.reports import CELL, contact_sheet
from photostyle.files.atomic import write_bytes_atomically
from photostyle.files.images import read_image
from photostyle.imaging.filters import area_average, fit_within, size_of

PAGE, SHEET, THUMBNAILS = "index.html", "contact-sheet.jpg", "thumbnails"
SIDE = 640  # pixels of a thumbnail: two of them fill a page of 1300
QUALITY = 85  # of thumbnails: 60 KB each, and no blocks that would be taken for the method's
# Of a sheet: columns for three times as many rows, which a screen can scroll, and no more than 3360 pixels of width.
ROWS_FOR_COLUMN, WIDTH = 3, 8 * CELL

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1320px; padding: 0 1em; color: #222 }
article { border-top: 1px solid #ddd; padding: .7em 0 }
h2 { font-size: 1em; margin: 0 0 .4em; overflow-wrap: anywhere }
.pair { display: flex; gap: .6em; flex-wrap: wrap } .pair figure { flex: 1 1 18em; margin: 0 }
img { width: 100%; height: auto; display: block } figcaption, small { color: #666; font-size: 13px }
.failed { color: #b3261e; overflow-wrap: anywhere } ul { padding-left: 1.2em }
"""


@dataclass(frozen=True)
class Shown:
    """One picture of a batch, as the page shows it. output: its name beside the page; before, after: of its thumbnails
    there, "" where there are none. remark: what became of it; failed: whether that is nothing."""

    title: str
    output: str
    before: str
    after: str
    remark: str
    failed: bool = False


def thumbnail_names(output: Path) -> tuple[Path, Path]:
    """Where the small copies of a photograph and of its result stand."""
    folder = output.parent / THUMBNAILS
    return folder / f"{output.stem}-before.jpg", folder / f"{output.stem}-after.jpg"


def small(pixels: Tensor) -> bytes:
    """A picture (3, H, W) in [0, 1] as a JPEG of at most SIDE pixels."""
    reduced = area_average(pixels, *fit_within(*size_of(pixels), SIDE))
    return _jpeg(Image.fromarray((reduced * 255).round().byte().permute(1, 2, 0).numpy()))


def small_of_result(path: Path) -> bytes:
    """The same of a picture that was written here: a JPEG is decoded at a fraction of its size, in a tenth of the
    time."""
    if path.suffix.lower() in (".jpg", ".jpeg"):
        with Image.open(path, formats=("JPEG",)) as image:
            image.draft("RGB", (SIDE, SIDE))
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
        return small(pixels)
    return small(read_image(path, minimum=1).pixels)


def write_page(path: Path, title: str, remarks: Sequence[str], pictures: Sequence[Shown]) -> None:
    """Write the page: what failed, then every picture before and after. Links are relative to it."""
    listed = "".join(
        f"<li>{escape(_readable(each.title))}: {escape(_readable(each.remark))}</li>"
        for each in pictures
        if each.failed
    )
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(_readable(title))}</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{STYLE}</style></head><body><h1>{escape(_readable(title))}</h1>"
        f"{''.join(f'<p>{escape(_readable(each))}</p>' for each in remarks)}"
        f'<ul class="failed">{listed}</ul>'
        f"{''.join(_article(each) for each in pictures if not each.failed)}</body></html>\n"
    )
    write_bytes_atomically(path, text.encode())


def write_sheet(path: Path, pictures: Sequence[tuple[str, Path, Path]]) -> None:
    """Write the contact sheet of captions with the thumbnails before and after, side by side."""
    pairs = max(1, math.ceil(math.sqrt(len(pictures) / ROWS_FOR_COLUMN)))
    cells = [
        cell
        for caption, before, after in pictures
        for cell in ((caption, _array(before)), ("", _array(after)))
    ]
    rows = [cells[first : first + 2 * pairs] for first in range(0, len(cells), 2 * pairs)]
    contact_sheet(rows, path, min(CELL, WIDTH // (2 * pairs)))


def _array(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def _article(picture: Shown) -> str:
    title = escape(_readable(picture.title))
    link = _link(picture.output)
    before, after = (
        f'<img loading="lazy" src="{_link(name)}" alt="{title}: {when}">' if name else ""
        for name, when in ((picture.before, "before"), (picture.after, "after"))
    )
    return (
        f'<article><h2>{title}</h2><div class="pair"><figure>{before}<figcaption>before</figcaption></figure>'
        f'<figure><a href="{link}">{after}</a><figcaption><a href="{link}">{escape(_readable(picture.output))}</a>'
        f"</figcaption></figure></div><small>{escape(_readable(picture.remark))}</small></article>"
    )


def _link(name: str) -> str:
    """A relative address; its colon could not be taken for a scheme's."""
    return f"./{quote(fsencode(name))}"


def _readable(text: str) -> str:
    """With a mark in place of bytes of a file name that are no text."""
    return text.encode(errors="replace").decode()


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=QUALITY)
    return buffer.getvalue()
