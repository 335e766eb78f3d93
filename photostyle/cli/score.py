"""photostyle score: how near a result came, in numbers."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from torch import Tensor

from photostyle.cli.arguments import parse
from photostyle.cli.console import DONE, line, note, tell
from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.evaluation import reports as report
from photostyle.evaluation.artefacts import find_artefacts
from photostyle.evaluation.comparison import comparison_within
from photostyle.evaluation.doubt import advice, doubt
from photostyle.evaluation.records import read_record, stranger
from photostyle.evaluation.scores import score, score_encoder
from photostyle.evaluation.signs import find_signs
from photostyle.evaluation.whereabouts import located
from photostyle.files.images import read_image
from photostyle.files.reading import path_is_file
from photostyle.imaging.filters import area_average, size_of
from photostyle.losses.weights import find, locate
from photostyle.materials import read_all_masks
from photostyle.regions.canvas import recoloured
from photostyle.regions.colour import region_colour_maps
from photostyle.regions.guidance import Guidance, pair_regions


@dataclasses.dataclass(frozen=True)
class ScoreCommand:
    """Score a result beside the untouched photo and the Monge-Kantorovich baseline."""

    result: Annotated[Path, tyro.conf.Positional]
    """the picture; what it was made from is read from the record beside it"""
    content: Path | None = None
    """the photo; default: as recorded"""
    style: Path | None = None
    """the reference; default: as recorded"""
    masks: tuple[str, ...] = ()
    """CONTENT_MASK STYLE_MASK, or none; default: as recorded"""
    weights: Path | None = None
    """VGG weights for the style score; default: torch hub cache, else patches, and the column says so"""
    encoder: Literal["vgg19", "vgg16"] = "vgg19"
    """the architecture of the weights"""


def show_scores(arguments: Sequence[str]) -> int:
    """photostyle score: the table of metrics, that of artefacts, and how far the picture is to be doubted."""
    options = parse(ScoreCommand, arguments, "photostyle score")
    content, style, masks = _what_it_was_made_from(options)
    photo, reference, result = read_image(content), read_image(style), read_image(options.result)
    sets = read_all_masks(masks, photo, [reference])
    guidance = pair_regions(photo.pixels, sets[0], reference.pixels, sets[1])
    for text in (*sets[0].notes, *sets[1].notes, *guidance.notes):
        note(text)
    encoder = None
    if locate(options.weights, options.encoder, False) is not None:
        loaded = find(options.weights, options.encoder, download=False)
        encoder = score_encoder(loaded, options.encoder)
    if result.pixels.shape != photo.pixels.shape:
        raise PhotostyleError(
            f"{options.result} is {result.width}x{result.height} but {photo.path} {photo.width}x{photo.height}: "
            "score equal sizes"
        )
    rows = {
        str(options.result): result.pixels,
        "untouched photo": photo.pixels,
        "Monge-Kantorovich": _baseline(photo.pixels, reference.pixels, guidance),
    }
    pair = comparison_within(photo.pixels, photo.pixels, reference.pixels, guidance.content, guidance.style)
    compared = {
        name: pair.with_result(area_average(pixels, *size_of(pair.content))) for name, pixels in rows.items()
    }
    scores = {name: dataclasses.asdict(score(each, encoder)) for name, each in compared.items()}
    # The photo has no row here: what it has itself is no artefact, so all of it would be 0.
    del compared["untouched photo"]
    spoilt = {name: find_artefacts(each).as_dict() for name, each in compared.items()}
    signs = {name: find_signs(each) for name, each in compared.items()}
    doubted = {name: {"doubt": doubt(each)} | each.as_dict() for name, each in signs.items()}
    tell("\n\n".join(report.score_table(each) for each in (scores, spoilt, doubted)))
    if doubted_for := advice(signs[str(options.result)]):
        line(doubted_for)
    return DONE


def _what_it_was_made_from(options: ScoreCommand) -> tuple[Path, Path, tuple[str, ...]]:
    """Content, style and masks: as given, else as recorded."""
    if not options.result.name:
        raise PhotostyleError(f'"{options.result}" names no picture; name one, such as out.png')
    beside = options.result.with_suffix(".json")
    recorded: dict[str, Any] = {}
    if not (options.content and options.style and options.masks) and path_is_file(beside):
        record = read_record(beside)
        if foreign := stranger(record, beside, options.result):
            raise PhotostyleError(f"{foreign}; give --content, --style and --masks of {options.result}")
        needed = {name: entry for name, entry in record["inputs"].items() if not _is_given(name, options)}
        recorded = located(record | {"inputs": needed, "weights": None, "solved": None}, beside)["config"]
    if not recorded and not (options.content and options.style):
        raise PhotostyleError(
            f"{options.result} has no record {beside} beside it; give --content, --style and --masks"
        )
    style = options.style or recorded["style"]
    if isinstance(style, list):
        raise PhotostyleError(
            f"{options.result} is of {len(style)} references, scores are against one; give --style and --masks of one"
        )
    masks = options.masks or tuple(recorded.get("masks", ("none",)))
    if not options.masks and len(masks) > 2:
        raise PhotostyleError(
            f"{options.result} has masks of {len(masks) - 1} references; give --masks CONTENT_MASK STYLE_MASK of one"
        )
    return (
        options.content or Path(recorded["content"]),
        Path(style),
        masks,
    )


def _is_given(name: str, options: ScoreCommand) -> bool:
    """Whether an input of a record is not asked for, because another is given in its place, or none is needed."""
    if " mask" in name:
        return bool(options.masks)
    if name == "content":
        return options.content is not None
    return options.style is not None or not name.startswith("style")


def _baseline(photo: Tensor, reference: Tensor, guidance: Guidance) -> Tensor:
    maps = region_colour_maps(photo, guidance.content, reference, guidance.style)
    return recoloured(photo, guidance.content, maps, Config.feather)
