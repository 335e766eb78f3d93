"""legend.toml: what the masks beside it are, and what their regions are called.

A legend is written by hand and is of one of three kinds. For a label map, a picture of one number per pixel:

    kind = "labels"
    file = "labels.png"

    [regions]
    sky = { value = 2, colour = "#78b4ff" }
    "old wall" = { value = 17, colour = "#b46428" }

For a soft set, one grey picture per region (0 outside, white inside):

    kind = "soft"

    [regions]
    sky = { file = "sky.png", colour = "#78b4ff" }
    ground = { file = "ground.png", colour = "#5a8c3c" }

For a painting, a picture of flat colours that have names, as any paint program edits it:

    kind = "colours"
    file = "masks.png"

    [regions]
    sky = { colour = "#78b4ff" }
    ground = { colour = "#5a8c3c" }

Regions of two pictures pair by these names. In the first two kinds the colours are for showing. In a painting they are
the regions, and a line `void = "#000000"` before [regions] gives the colour of what is in no region. A region of masks
that were made may have a `confidence`, 0 to 1: how sure it is that it is the same thing in all the pictures.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from photostyle.errors import PhotostyleError, shortened, shown
from photostyle.files.reading import MOST_TEXT, file_bytes, parsed_toml

LEGEND = "legend.toml"

Colour = tuple[int, int, int]

_COLOUR = re.compile("#[0-9a-fA-F]{6}")
_KEYS = {
    "labels": {"kind", "file", "regions"},
    "soft": {"kind", "regions"},
    "colours": {"kind", "file", "regions"},
}
# What tells a region's pixels from those of the others: the key, its type, and how a line begins with it.
_SOURCES: dict[str, tuple[str, type, str]] = {
    "labels": ("value", int, "value = 2, "),
    "soft": ("file", str, 'file = "sky.png", '),
    "colours": ("colour", str, ""),
}


@dataclass(frozen=True)
class Region:
    """A line under [regions]: a name, an sRGB colour of 0…255, and where the region is.

    source: the label's value (labels), the soft mask's file name (soft), the colour as "#rrggbb" (colours).
    confidence: how sure it is that the region is the same thing in all pictures, 0 to 1; None where it is not said.
    """

    name: str
    colour: Colour
    source: int | str
    confidence: float | None = None


@dataclass(frozen=True)
class Legend:
    """A legend.toml whose keys are right. Its regions are checked when they are asked for.

    kind: "labels", "soft" or "colours". file: the name of the one mask, "" in a soft set. void: the colour of the
    pixels in no region, where a painting gives it. entries: what stands under [regions].
    sha256: of the legend's bytes.
    """

    path: Path
    kind: str
    file: str
    void: Colour | None
    entries: Any
    sha256: str = ""

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """In the legend's order. Raises PhotostyleError for a faulty entry, and for two regions of one source."""
        if not isinstance(self.entries, dict) or not self.entries:
            raise PhotostyleError(
                f"{self.path} names no regions; expected a line for each under [regions]: add them"
            )
        regions = tuple(_region(self.path, self.kind, name, entry) for name, entry in self.entries.items())
        sources = [region.source for region in regions]
        for region in regions:
            if sources.count(region.source) > 1:
                raise PhotostyleError(
                    f"{self.path} gives {region.source!r} to {region.name} and another region: give it to one"
                )
            if self.kind == "colours" and region.colour == self.void:
                raise PhotostyleError(
                    f"{self.path} gives {region.source!r} to {region.name} and to void: change one of them"
                )
        return regions

    @property
    def files(self) -> tuple[Path, ...]:
        """The masks, in the legend's order."""
        names = [str(region.source) for region in self.regions] if self.kind == "soft" else [self.file]
        return tuple(self._within(name) for name in names)

    def _within(self, name: str) -> Path:
        """A file in the legend's folder or below. What somebody else's legend names elsewhere is not read."""
        folder = self.path.parent
        if "\0" in name or any(len(part) > 255 for part in Path(name).parts):  # bytes, on common file systems
            raise PhotostyleError(f"{self.path} names {shown(name)}, which can be no file: correct it")
        try:
            within = (folder / name).resolve().is_relative_to(folder.resolve())
        except (OSError, RuntimeError):  # a loop of links, a folder not to be entered: said where it is read
            within = True
        if not within:
            raise PhotostyleError(
                f"{self.path} names {shown(name)}, which lies outside its folder: put the file beside the legend"
            )
        return folder / name


def read_legend(path: Path) -> Legend:
    """Read a legend.toml. Raises PhotostyleError for a file that is no TOML or has other keys."""
    return parse_legend(path, file_bytes(path, MOST_TEXT))


def parse_legend(path: Path, text: bytes | str) -> Legend:
    """Read a legend from its text; path is where it lies, for messages and masks. Errors as `read_legend`."""
    table = parsed_toml(path, text)
    kind = table.get("kind")
    keys = _KEYS.get(kind) if isinstance(kind, str) else None
    if keys is None or not isinstance(kind, str):
        raise PhotostyleError(
            f'{path} has kind = {shown(kind)}; expected "labels", "soft" or "colours": set it'
        )
    if table.keys() - ({"void"} if kind == "colours" else set()) != keys:
        raise PhotostyleError(
            f"{path} has the keys {shortened(', '.join(sorted(table)))}; expected {', '.join(sorted(keys))}: correct it"
        )
    if not isinstance(table.get("file", ""), str):
        raise PhotostyleError(f"{path} has file = {shown(table['file'])}; expected a file name: correct it")
    if "void" in table and not _is_colour(table["void"]):
        raise PhotostyleError(
            f'{path} has void = {shown(table["void"])}; expected a colour like "#000000": correct it'
        )
    void = from_hex(table["void"]) if "void" in table else None
    data = text.encode() if isinstance(text, str) else text
    digest = hashlib.sha256(data).hexdigest()
    return Legend(path, kind, table.get("file", ""), void, table["regions"], digest)


def hex_name(colour: Colour) -> str:
    """(r, g, b) of 0…255 → "#rrggbb": how a legend writes a colour, and the name of a region without one."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def from_hex(text: str) -> Colour:
    """The inverse of `hex_name`, in small letters or capitals."""
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def _region(legend: Path, kind: str, name: str, entry: Any) -> Region:
    key, kind_of, example = _SOURCES[kind]
    well_formed = (
        isinstance(entry, dict)
        and entry.keys() - {"confidence"} == {key, "colour"}
        and type(entry[key]) is kind_of
        and _is_colour(entry["colour"])
        and _is_share(entry.get("confidence", 0))
    )
    if not well_formed:
        raise PhotostyleError(
            f"{legend} has {shortened(name)} = {shown(entry)}; expected a line like "
            f'{shortened(name)} = {{ {example}colour = "#78b4ff" }}: correct it'
        )
    colour = from_hex(entry["colour"])
    if kind != "colours":
        return Region(name, colour, entry[key], entry.get("confidence"))
    painted = hex_name(colour)
    if re.fullmatch("#[0-9a-f]{6}", name) and name != painted:
        raise PhotostyleError(
            f"{legend} names a region {name} whose colour is {painted}; that is the name of what is painted "
            f"in {name} itself: choose another"
        )
    return Region(name, colour, painted, entry.get("confidence"))


def _is_colour(value: Any) -> bool:
    return isinstance(value, str) and _COLOUR.fullmatch(value) is not None


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1
