"""From regions to a folder of masks with its legend.toml, which photostyle reads and paint programs edit.

Nobody's painting is lost: a folder is written again only while its legend and all files that it names are byte for byte
what was written here.
"""

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from photostyle.errors import ComputationError, PhotostyleError
from photostyle.files.atomic import write_bytes_atomically, write_together
from photostyle.files.images import sha256_of
from photostyle.files.legends import LEGEND, hex_name, parse_legend
from photostyle.files.lock import alone_in
from photostyle.files.masks import MaskSet
from photostyle.files.reading import MOST_TEXT, file_bytes
from segmentation.labels import free_colour

PAINTING = "masks.png"
# SHA-256 by name of the masks that are being replaced and that replace them, there only meanwhile.
JOURNAL = ".photostyle-masks.json"
ASIDE = ".photostyle-"  # before the name of a mask whose place is taken by one of the earlier set
PATIENCE = 5.0  # seconds to wait for another command that writes masks there, which takes less than one
BLACK = (0, 0, 0)
_HEADER = "# written by photostyle; the SHA-256 of all it wrote is "
_HELP = f"# Each region is one flat colour in {PAINTING}: repaint it in any program and save it as PNG."
# What Windows keeps for devices, whatever the suffix (Microsoft, "Naming Files, Paths, and Namespaces").
_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")
_STEM = 60  # characters of a region's name in the name of its file, which may have 255 bytes

Array = npt.NDArray[Any]
# A legend's lines below its header, for file names with so much before them.
Lines = Callable[[str], list[str]]


def write_masks(
    folder: Path, regions: MaskSet, kind: Literal["soft", "colours"], depth: Literal[8, 16] = 8
) -> list[Path]:
    """Write regions where masks.read_masks(folder, …) finds them. Returns the files, the legend last.

    "soft": one grey PNG per region, of 8 or 16 bits (depth). The levels of a pixel are rounded by largest remainders
    (Hamilton's method): each is less than 1 from that of its mask, and their sum is the rounded sum, so a pixel that is
    all in regions stays so. "colours": one RGB PNG, each pixel in the colour of its largest region, or in the void
    colour of the legend where more of it is in no region.

    The folder is made where there is none. All files are written beside their place first, and the legend is put there
    last: a folder with a legend is whole, of the old set or of the new one, also where a kill has left it. What was
    written here before is replaced, other files are left alone.
    Raises PhotostyleError as `check_folder` does, where another file is in the way or another command writes there,
    and for regions that the kind cannot hold; ComputationError for masks that are not numbers and where the disk fails.
    """
    check_folder(folder)
    if not bool(torch.isfinite(regions.masks).all()):
        raise ComputationError(f"{folder} is not written: the masks hold values that are not numbers")
    lines, files = _soft_set(regions, depth) if kind == "soft" else _painting(regions)
    try:
        _ = parse_legend(folder / LEGEND, _legend(lines(""), files.values())).regions
    except PhotostyleError as error:  # two regions of one colour in a painting
        raise PhotostyleError(f"{folder} is not written, it could not be read: {error}") from None
    try:
        folder.mkdir(exist_ok=True)
        with alone_in(folder, "masks", PATIENCE):
            _put(folder, lines, files)
    except OSError as error:
        raise ComputationError(
            f"{folder} cannot be written ({error.strerror}): check space and permissions"
        ) from error
    return [folder / name for name in (*files, LEGEND)]


def check_folder(folder: Path) -> tuple[str, ...]:
    """Refuse a folder that `write_masks` could not write, before any work is done for it.

    Returns the names of the masks in it that were written here and are unchanged. Raises PhotostyleError for a file in
    the folder's place, for a missing or read-only parent, and for a legend that was not written here or that was edited
    since, itself or any of its masks.
    """
    if folder.exists() and not folder.is_dir():
        raise PhotostyleError(f"{folder} is a file; expected a folder for masks: choose another --output")
    if not folder.is_dir() and not folder.parent.is_dir():
        why = "is a file" if folder.parent.exists() else "does not exist: create it first"
        raise PhotostyleError(f"{folder} cannot be made: {folder.parent} {why}")
    if not os.access(folder if folder.is_dir() else folder.parent, os.W_OK | os.X_OK):
        raise PhotostyleError(f"{folder} cannot be written: it is read-only: choose another --output")
    named, left = _standing(folder)
    return (*named, *sorted(left - {*named}))


def _standing(folder: Path) -> tuple[tuple[str, ...], set[str]]:
    """The masks that the legend of a folder names, and those that a kill has left. Raises as `check_folder` does."""
    path, left = folder / LEGEND, _left_by_a_kill(folder)
    if not path.exists():
        return (), left
    try:
        header, _, body = path.read_bytes().decode().partition("\n")
        names = tuple(file.name for file in parse_legend(path, body).files)
        whole = header == legend_header(body, [(folder / name).read_bytes() for name in names])
    except (OSError, UnicodeDecodeError, PhotostyleError):
        whole = False
    if not whole:
        raise PhotostyleError(
            f"{folder} holds masks that photostyle did not write, or that were edited since: choose another "
            "--output, or remove it"
        )
    return names, left


def _legend(lines: Sequence[str], files: Iterable[bytes]) -> bytes:
    body = "\n".join([*lines, ""])
    return f"{legend_header(body, files)}\n{body}".encode()


def legend_header(body: str, files: Iterable[bytes]) -> str:
    """The first line of a legend that was written here: with a SHA-256 of the lines below it and of the masks."""
    parts = [hashlib.sha256(part).hexdigest() for part in (body.encode(), *files)]
    return _HEADER + hashlib.sha256("".join(parts).encode()).hexdigest()


def _put(folder: Path, lines: Lines, files: Mapping[str, bytes]) -> None:
    """Put a set of masks in the place of what was written here. A full disk shows before anything is touched.

    No file that a legend names is ever replaced or removed while the legend is there, so a folder holds the old set or
    the new one whenever its legend is read: where both have names in common, the new one is first put aside under names
    of its own, with a legend of them. The journal says which files are ours meanwhile; the next call goes on from it.
    """
    named, left = _standing(folder)
    there, journal = {*named, *left}, folder / JOURNAL
    prefixes = [ASIDE, ""] if files.keys() & {*named} else [""]
    sets = [{prefix + name: data for name, data in files.items()} for prefix in prefixes]
    if foreign := [name for each in sets for name in each if name not in there and (folder / name).exists()]:
        raise PhotostyleError(
            f"{folder / foreign[0]} exists and is no mask that photostyle wrote: choose another --output or move it"
        )
    hashes = {name: [hashlib.sha256(data).hexdigest()] for each in sets for name, data in each.items()}
    for name in there:
        hashes.setdefault(name, []).append(sha256_of(folder / name))
    touched = False

    def touch() -> bool:
        nonlocal touched
        touched = True
        return True

    write_bytes_atomically(journal, json.dumps(hashes).encode())
    try:
        for prefix, each in zip(prefixes, sets, strict=True):
            legend = _legend(lines(prefix), each.values())
            write_together(
                {folder / name: data for name, data in each.items()} | {folder / LEGEND: legend}, touch
            )
            for name in there - each.keys():
                (folder / name).unlink(missing_ok=True)
            there = {*each}
    except BaseException:
        if not touched:
            journal.unlink(missing_ok=True)
        raise
    journal.unlink()


def _left_by_a_kill(folder: Path) -> set[str]:
    """The masks that an unfinished `_put` was about to replace, had put there, or had yet to remove."""
    try:
        hashes = json.loads(file_bytes(folder / JOURNAL, MOST_TEXT))
        return {
            name
            for name, known in hashes.items()
            if Path(name).name == name and (folder / name).is_file() and sha256_of(folder / name) in known
        }
    except (OSError, ValueError, AttributeError, TypeError, PhotostyleError):  # none, or none of ours
        return set()


def _soft_set(regions: MaskSet, depth: Literal[8, 16]) -> tuple[Lines, dict[str, bytes]]:
    """The legend's lines, and the files they name."""
    levels = round_together(regions.masks.cpu().numpy(), 2**depth - 1)
    if not levels.any():
        raise PhotostyleError(
            f"the regions are all fainter than a level of {depth} bits: write them as colours"
        )
    names = _file_names(regions.names)

    def lines(prefix: str) -> list[str]:
        entries = [
            f"{toml_string(name)} = {{ file = {toml_string(prefix + file)}, {rest} }}"
            for name, file, rest in zip(regions.names, names, _described(regions), strict=True)
        ]
        return ['kind = "soft"', "", "[regions]", *entries]

    kind = np.uint8 if depth == 8 else np.uint16
    files = {name: _png(level.astype(kind)) for name, level in zip(names, levels, strict=True)}
    return lines, files


def round_together(masks: Array, top: int) -> Array:
    """Masks (K, H, W) in [0, 1] → uint16 levels of 0…top, rounded by largest remainders in each pixel.

    Of two equal remainders that of the first region is rounded up. It is done row by row, because a whole photo in
    float64 is large.
    """
    levels = np.empty(masks.shape, np.uint16)
    for row in range(masks.shape[1]):
        exact = masks[:, row].astype(np.float64).clip(0, 1) * top
        floor = np.floor(exact)
        missing = np.rint(exact.sum(0)).clip(max=top) - floor.sum(0)
        rank = (floor - exact).argsort(0, kind="stable").argsort(0)
        levels[:, row] = floor + (rank < missing)
    return levels


def _painting(regions: MaskSet) -> tuple[Lines, dict[str, bytes]]:
    """The legend's lines, and the file they name."""
    outside = (1 - regions.masks.sum(0) > regions.masks.amax(0)).cpu().numpy()
    if outside.all():
        raise PhotostyleError("no pixel is in a region by more than in none: write the masks as a soft set")
    void = free_colour(BLACK, regions.colours)
    colours = np.array([*regions.colours, void], np.uint8)
    index = np.where(outside, len(regions.names), regions.masks.argmax(0).cpu().numpy())
    paint = [f"void = {toml_string(hex_name(void))}"] if outside.any() else []
    paint += [_HELP, "", "[regions]"]
    paint += [
        f"{toml_string(name)} = {{ {rest} }}"
        for name, rest in zip(regions.names, _described(regions), strict=True)
    ]

    def lines(prefix: str) -> list[str]:
        return ['kind = "colours"', f"file = {toml_string(prefix + PAINTING)}", *paint]

    return lines, {PAINTING: _png(colours[index])}


def _described(regions: MaskSet) -> list[str]:
    """What a legend says of each region whatever its kind: the colour, and how sure it is, to three digits."""
    sure = [f", confidence = {round(each, 3)}" for each in regions.confidence] or [""] * len(regions.names)
    return [
        f"colour = {toml_string(hex_name(colour))}{more}"
        for colour, more in zip(regions.colours, sure, strict=True)
    ]


def _png(samples: Array) -> bytes:
    buffer = BytesIO()
    Image.fromarray(samples).save(buffer, format="PNG")
    return buffer.getvalue()


def toml_string(text: str) -> str:
    """A TOML basic string: JSON's escapes are among its own, but JSON leaves U+007F as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _file_names(names: Sequence[str]) -> list[str]:
    """A file name for each region, of small ASCII letters and digits, all different on any file system."""
    stems: list[str] = []
    for name in names:
        letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        stem = re.sub("[^a-z0-9]+", "_", letters)[:_STEM].strip("_") or "region"
        stem = f"{stem}_region" if _DEVICE.fullmatch(stem) else stem
        numbered = (f"{stem}_{number}" for number in count(2))
        stems.append(stem if stem not in stems else next(each for each in numbered if each not in stems))
    return [f"{stem}.png" for stem in stems]
