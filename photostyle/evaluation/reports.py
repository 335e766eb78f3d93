"""Pictures and text for people: contact sheets, loss curves, region overlays, tables.

Every function returns what it made, or writes the one file that it is given, atomically.
"""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from photostyle.errors import PhotostyleError, printable
from photostyle.evaluation.artefacts import Artefacts
from photostyle.evaluation.comparison import directions
from photostyle.evaluation.scores import Scores
from photostyle.evaluation.signs import Signs
from photostyle.files.atomic import write_bytes_atomically
from photostyle.files.images import write_image
from photostyle.files.legends import hex_name
from photostyle.files.masks import MaskSet
from photostyle.imaging.filters import area_average, fit_within, size_of
from photostyle.process import import_matplotlib
from photostyle.regions.guidance import Guidance
from photostyle.regions.relation import Dial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL = 420  # pixels: four columns fill a page of 1680 px, and a face in a photo of 700 px stays recognisable
GAP = 12  # pixels between cells and around the sheet
FONT_SIZE = 16  # pixels, legible when the sheet is seen at half size
LINE_HEIGHT = 21  # pixels: 1.3 font sizes have room for ascenders and descenders
PAPER, INK = "white", "black"

DPI = 120  # of a 9 x 5 inch plot: 1080 x 600 px, a README's width
VEIL = 0.5  # opacity of the colour of a region: photo and colour weigh the same
BORDER = 300  # a border line is 1/300 of the long side: 2 px at 700, visible when the picture is shown small

# Which way each score, artefact and sign is better.
BETTER = directions(Scores) | directions(Artefacts) | directions(Signs) | {"doubt": "↓"}
NOT_A_TERM = ("stage", "iteration", "seconds")  # a trace entry holds these beside the loss terms

Picture = Tensor | np.ndarray


def contact_sheet(rows: Sequence[Sequence[tuple[str, Picture]]], path: Path, cell: int = CELL) -> None:
    """Write captioned pictures as a grid, one row of (caption, picture) after another.

    A picture is a tensor (3, H, W) in [0, 1] or an array (H, W, 3), uint8 or in [0, 1]; each is scaled to
    `cell` pixels of width. The suffix of the path decides the format. Rows may differ in length.
    """
    if not any(rows):
        raise PhotostyleError(f"{path}: no pictures were given for the contact sheet")
    strips = [_strip(row, cell) for row in rows]
    heights = [max((each.height for each in strip), default=0) for strip in strips]
    columns = max(len(strip) for strip in strips)
    size = (GAP + columns * (cell + GAP), GAP + sum(height + GAP for height in heights))
    sheet, top = Image.new("RGB", size, PAPER), GAP
    for strip, height in zip(strips, heights, strict=True):
        for column, each in enumerate(strip):
            sheet.paste(each, (GAP + column * (cell + GAP), top))
        top += height + GAP
    write_image(path, from_pillow(sheet))


def plot_losses(trace: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a PNG of every loss term and their total against the evaluation, on a log axis, stages marked.

    trace: one entry per evaluation, {"stage", "iteration", "seconds", term: weighted value, ...}; a stage may lack a
    term. A term that is never positive has no place on a log axis and is named as 0 in the legend.
    """
    if not trace:
        raise PhotostyleError(f"{path}: nothing was optimised, so there are no losses to plot")
    import_matplotlib()
    from matplotlib.figure import Figure  # half a second, for who plots

    names = list(dict.fromkeys(name for entry in trace for name in entry if name not in NOT_A_TERM))
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    axes.set_yscale("log")
    evaluations = np.arange(1, len(trace) + 1)
    for name in names:
        _plot_term(axes, name, evaluations, np.array([entry.get(name, 0.0) for entry in trace]))
    totals = [sum(value for name, value in entry.items() if name not in NOT_A_TERM) for entry in trace]
    _plot_term(axes, "total", evaluations, np.array(totals), color=INK, linewidth=2)
    _mark_stages(axes, [entry["stage"] for entry in trace])
    axes.set(xlabel="evaluation", ylabel="weighted loss", xlim=(1, max(2, len(trace))))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    write_figure(figure, path)


def write_figure(figure: "Figure", path: Path) -> None:
    """Write a plot as a PNG of DPI dots per inch: equal plots are equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    # Without the entry that would hold the library's version.
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    write_bytes_atomically(path, buffer.getvalue())


def overlay(image: Tensor, masks: Tensor, colours: Sequence[tuple[int, int, int]]) -> Tensor:
    """The picture under a half-transparent veil of its regions' colours, borders drawn.

    image (3, H, W) in [0, 1], masks (K, H, W), colours: K of (r, g, b), 0 to 255 -> (3, H, W) in [0, 1]. Borders are
    white inside black, so that they show between any two colours. Pixels of no region keep the photo's colour.
    """
    veils = torch.tensor(colours, dtype=image.dtype, device=image.device) / 255
    veiled = image * (1 - VEIL * masks.sum(0)) + VEIL * torch.einsum("khw,kc->chw", masks, veils)
    width = max(1, round(max(image.shape[1:]) / BORDER))
    line = _thicken(_region_borders(masks), width)
    halo = _thicken(line, width)
    return torch.where(line, 1.0, torch.where(halo, 0.0, veiled)).clamp(0, 1)


def mask_sheet(
    photos: Sequence[Tensor], sets: Sequence[MaskSet], captions: Sequence[str], path: Path
) -> None:
    """Write photos (3, H, W) under the veil of their regions side by side, each above the legend of its regions."""
    # Reduced first: drawn at 24 MP, what is then shrunk to a cell took 30 s.
    overlays = [
        (caption, overlay(within_cells(photo), within_cells(regions.masks), regions.colours))
        for caption, photo, regions in zip(captions, photos, sets, strict=True)
    ]
    legends = [("", legend(regions)) for regions in sets]
    contact_sheet([overlays, legends], path)


def within_cells(picture: Tensor) -> Tensor:
    """No larger than a cell can show, twice over for its lines. (C, H, W)."""
    return area_average(picture, *fit_within(*size_of(picture), 2 * CELL))


def legend(regions: MaskSet, width: int = CELL) -> np.ndarray:
    """A line per region: a patch of its colour, its share of the picture, its name. -> (h, width, 3) uint8."""
    page = Image.new("RGB", (width, LINE_HEIGHT * len(regions.names)), PAPER)
    draw, face = ImageDraw.Draw(page), font()
    for line, (name, colour, share) in enumerate(
        zip(regions.names, regions.colours, shares(regions), strict=True)
    ):
        top = line * LINE_HEIGHT
        draw.rectangle((0, top + 2, 2 * FONT_SIZE, top + FONT_SIZE), fill=colour, outline=INK)
        draw.text((2 * FONT_SIZE + GAP, top), f"{share:6.1%}  {name}", INK, face)
    return np.array(page)


def paragraph(text: str, width: int = CELL) -> np.ndarray:
    """Text, broken at spaces, as a cell of a sheet. -> (h, width, 3) uint8."""
    face = font()
    lines = _wrap(text, width, face)
    page = Image.new("RGB", (width, LINE_HEIGHT * len(lines)), PAPER)
    ImageDraw.Draw(page).multiline_text((0, 0), "\n".join(lines), INK, face, spacing=LINE_HEIGHT - FONT_SIZE)
    return np.array(page)


def shares(regions: MaskSet) -> list[float]:
    """The share of the picture that each region covers, 0 to 1."""
    covered: list[float] = regions.masks.mean((1, 2), dtype=torch.float64).tolist()
    return covered


def share_table(sets: Sequence[MaskSet], captions: Sequence[str]) -> str:
    """One line per region: colour, name, its share of each picture, "-" where a picture lacks it. Plain text.

    Where it is known, also how sure it is that the region is the same thing in all pictures.
    """
    colours = {
        name: each for regions in sets for name, each in zip(regions.names, regions.colours, strict=True)
    }
    found = [dict(zip(regions.names, shares(regions), strict=True)) for regions in sets]
    sure = {
        name: f"{each:.2f}"
        for regions in sets
        for name, each in zip(regions.names, regions.confidence or (), strict=bool(regions.confidence))
    }
    rows = [
        (
            hex_name(colour),
            name,
            *(f"{f[name]:.1%}" if name in f else "-" for f in found),
            *([sure.get(name, "-")] if sure else []),
        )
        for name, colour in colours.items()
    ]
    return _table(("colour", "region", *captions, *(["sure"] if sure else [])), rows)


def region_table(guidance: Guidance) -> str:
    """One line per content region: colour, name, share of both pictures, partner and a remark. Plain text."""
    rows = [
        (
            hex_name(pair.colour),
            pair.name,
            f"{pair.content_share:.1%}",
            f"{pair.style_share:.1%}",
            pair.partner,
            pair.reason,
        )
        for pair in guidance.pairs
    ]
    return _table(("colour", "region", "content", "style", "pairs with", "remark"), rows)


def pairing_table(guidance: Guidance, how: Dial) -> str:
    """One line per content region: name, share of the photo, partner, its share of the reference, how far, remark.

    A trace of a brush, which is no region of its own, goes as far as what it joins. Plain text.
    """
    words = how.words
    rows = [
        (
            pair.name,
            f"{pair.content_share:.0%}",
            pair.partner,
            f"{pair.style_share:.0%}",
            words.get(pair.name, ""),
            pair.reason,
        )
        for pair in guidance.pairs
    ]
    return _table(("region", "photo", "takes after", "reference", "how far", "remark"), rows)


def score_table(named_scores: Mapping[str, Mapping[str, float | str]]) -> str:
    """Scores by name as aligned text, one line each. Arrows tell which way is better, "-" marks what is missing."""
    columns = list(dict.fromkeys(key for scores in named_scores.values() for key in scores))
    header = ("", *(f"{key} {BETTER[key]}" if key in BETTER else key for key in columns))
    rows = [(name, *(_shown(scores.get(key)) for key in columns)) for name, scores in named_scores.items()]
    return _table(header, rows)


def _shown(value: float | str | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns are as wide as their widest entry; those of numbers are flush right."""
    header, *rows = ([printable(entry) for entry in row] for row in (header, *rows))
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    numeric = [bool(column) and all(map(_is_number, column)) for column in zip(*rows, strict=True)]
    numeric = numeric or [False] * len(header)
    lines = [
        "  ".join(
            entry.rjust(width) if flush_right else entry.ljust(width)
            for entry, width, flush_right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in (header, *rows)
    ]
    return "\n".join(lines)


def _is_number(entry: str) -> bool:
    try:
        float(entry.removesuffix("%"))
    except ValueError:
        return entry == "-"
    return True


def _strip(row: Sequence[tuple[str, Picture]], width: int) -> list[Image.Image]:
    """The cells of a row: captions above pictures, which all begin below the longest caption."""
    face = font()
    captions = [_wrap(caption, width, face) for caption, _ in row]
    lines = max((len(caption) for caption in captions if any(caption)), default=0)
    return [
        _cell("\n".join(caption), lines, to_pillow(picture), width, face)
        for caption, (_, picture) in zip(captions, row, strict=True)
    ]


def _cell(
    caption: str, lines: int, picture: Image.Image, width: int, font: ImageFont.FreeTypeFont
) -> Image.Image:
    top, height = lines * LINE_HEIGHT, max(1, round(picture.height * width / picture.width))
    cell = Image.new("RGB", (width, top + height), PAPER)
    ImageDraw.Draw(cell).multiline_text((0, 0), caption, INK, font, spacing=LINE_HEIGHT - FONT_SIZE)
    cell.paste(picture.resize((width, height), Image.Resampling.BICUBIC), (0, top))
    return cell


def _wrap(text: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    """Break at spaces so that each line fits the width. A longer word stays whole and is cut by the cell."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines


def font(size: int = FONT_SIZE) -> ImageFont.FreeTypeFont:
    """The font of all sheets. size: in pixels."""
    import_matplotlib()
    import matplotlib

    # It comes with Matplotlib. Pillow's own default font has no Greek letters and no arrows.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)


def to_pillow(picture: Picture) -> Image.Image:
    """A tensor (3, H, W) in [0, 1] or an array (H, W, 3), uint8 or in [0, 1], as an image of 8 bits."""
    pixels = picture.detach().cpu().permute(1, 2, 0).numpy() if isinstance(picture, Tensor) else picture
    if pixels.dtype != np.uint8:
        pixels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels))


def from_pillow(picture: Image.Image) -> Tensor:
    """An image of 8 bits as (3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def _plot_term(axes: Any, name: str, evaluations: np.ndarray, values: np.ndarray, **look: Any) -> None:
    positive = np.where(values > 0, values, math.nan)
    label = name if (values > 0).any() else f"{name} (0)"
    # A single evaluation is a point, not a line.
    axes.plot(evaluations, positive, label=label, marker="." if len(values) == 1 else None, **look)


def _mark_stages(axes: Any, stages: Sequence[int]) -> None:
    starts = [at for at, stage in enumerate(stages) if at == 0 or stage != stages[at - 1]]
    for at in starts:
        if at:
            axes.axvline(at + 0.5, color="0.6", linestyle="--", linewidth=1)
        place = {"xy": (at + 1, 1), "xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        axes.annotate(f"stage {stages[at] + 1}", xytext=(3, 3), color="0.4", **place)


def _region_borders(masks: Tensor) -> Tensor:
    """True where the strongest region differs from the right or lower neighbour's. (K, H, W) -> (H, W)."""
    uncovered = (1 - masks.sum(0, keepdim=True)).clamp(min=0)
    labels = torch.cat((uncovered, masks)).argmax(0)
    borders = torch.zeros_like(labels, dtype=torch.bool)
    borders[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    borders[:-1] |= labels[:-1] != labels[1:]
    return borders


def _thicken(lines: Tensor, width: int) -> Tensor:
    return F.max_pool2d(lines[None].float(), 2 * (width // 2) + 1, 1, width // 2)[0] > 0
