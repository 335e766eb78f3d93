"""photostyle try: six ways to treat a photo, small and side by side, with the command that makes each in full."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from torch import Tensor

from photostyle.cli.arguments import parse
from photostyle.cli.console import DONE, line, note, refuse_inputs, tell
from photostyle.cli.photographs import named_after
from photostyle.cli.quoting import command_line
from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.files.arrays import picture_of
from photostyle.files.images import Picture, check_output, read_image
from photostyle.imaging.filters import fit_within, resize, size_of
from photostyle.pipeline import transfer
from photostyle.presets import PRESETS, configure
from photostyle.process import device_named, prepared

SIDE = 384  # pixels of the long side: about a cell of the sheet, and a region of 1 % still has a thousand
COLUMNS = 4  # of the sheet: photo, reference and six candidates fill two rows


@dataclass(frozen=True)
class Candidate:
    """A way to treat a photo: what it is called on the sheet, and its settings as `run` has them."""

    title: str
    settings: dict[str, Any]

    def options(self) -> list[str]:
        """The settings as words of a command line."""
        words = list[str]()
        for name, value in self.settings.items():
            said = f"{value:g}" if isinstance(value, float) else value
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [said])]
        return words


# From the calmest to the boldest.
CANDIDATES = (
    Candidate("colours, as far as they bear", {"preset": "instant", "masks": "none", "boldness": 0.0}),
    Candidate(
        "colours, the photo's light",
        {"preset": "instant", "masks": "none", "boldness": 0.0, "preserve_luminance": True},
    ),
    Candidate("colours, all of the way", {"preset": "instant", "masks": "none", "boldness": 1.0}),
    Candidate("region by region", {"preset": "patches", "masks": "cluster"}),
    Candidate("colours and texture, half", {"preset": "patches", "masks": "none", "boldness": 0.5}),
    Candidate("region by region, all of the way", {"preset": "patches", "masks": "cluster", "boldness": 1.0}),
)


@dataclass(frozen=True)
class TryCommand:
    """Six candidates for a photo and a reference on one sheet, at low resolution, with the command of each."""

    photos: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """the photograph, then its reference or several"""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """the sheet to write; default: named after the photographs, with -try"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where to compute"""
    threads: int = 0
    """CPU threads; 0: torch's own choice"""


def try_candidates(arguments: Sequence[str]) -> int:
    """photostyle try: the sheet, and the command of each candidate."""
    options = parse(TryCommand, arguments, "photostyle try")
    if len(options.photos) < 2:
        raise PhotostyleError(
            "photostyle try needs a photo and a reference: photostyle try photo.jpg sunset.jpg"
        )
    sheet = options.output or named_after(options.photos, "-try")
    check_output(sheet, alpha=False, depth=8)
    refuse_inputs([sheet], options.photos)
    pictures = [_small(each) for each in options.photos]
    with prepared(options.threads):
        results = _results(pictures, options)
    commands = [command(options.photos, number, each) for number, each in enumerate(CANDIDATES, 1)]
    _write_sheet(options.photos, pictures, results, commands, sheet)
    tell(*commands)
    tell(f"\n{sheet}")
    return DONE


def command(photos: Sequence[Path], number: int, candidate: Candidate) -> str:
    """The command line that makes a candidate in full."""
    picture = named_after(photos, f"-{number}")
    return command_line("photostyle", *photos, *candidate.options(), "-o", picture)


def _small(path: Path) -> Picture:
    picture = read_image(path)
    for text in picture.notes:
        note(text)
    return picture_of(resize(picture.pixels, *fit_within(*size_of(picture.pixels), SIDE)).clamp(0, 1))


def _results(pictures: Sequence[Picture], options: TryCommand) -> list[Tensor]:
    """Every candidate in small, (3, h, w)."""
    from segmentation.make import MaskOptions, make_masks

    line("finding regions")
    made = make_masks(pictures, MaskOptions(method="cluster", device=device_named(options.device)), note)
    results = list[Tensor]()
    for number, candidate in enumerate(CANDIDATES, 1):
        line(f"{number}/{len(CANDIDATES)}  {candidate.title}")
        results.append(transfer(_config(pictures, made.sets, candidate, options)).image)
    return results


def _config(
    pictures: Sequence[Picture], sets: Sequence[Any], candidate: Candidate, options: TryCommand
) -> Config:
    photo, *references = pictures
    settings = dict(candidate.settings)
    if settings["masks"] == "cluster":
        settings["masks"] = tuple(sets)
    if any(PRESETS[settings["preset"]].get("iterations", (1,))):
        settings |= PRESETS["search"]  # its size and evaluations: seconds
    return configure(**settings, content=photo, style=references, device=options.device, download=False)


def _write_sheet(
    photos: Sequence[Path],
    pictures: Sequence[Picture],
    results: Sequence[Tensor],
    commands: Sequence[str],
    path: Path,
) -> None:
    """Photo, references and candidates, the command of each below it."""
    from photostyle.evaluation.reports import contact_sheet, paragraph

    cells = [(photo.name, each.pixels, "") for photo, each in zip(photos, pictures, strict=True)]
    for number, (candidate, result, text) in enumerate(zip(CANDIDATES, results, commands, strict=True), 1):
        cells.append((f"{number}  {candidate.title}", result, text))
    rows = list[list[tuple[str, Any]]]()
    for first in range(0, len(cells), COLUMNS):
        row = cells[first : first + COLUMNS]
        rows.append([(caption, picture) for caption, picture, _ in row])
        rows.append([("", paragraph(text)) for _, _, text in row])
    contact_sheet(rows, path)
