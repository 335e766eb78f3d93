"""photostyle adjust: a finished run rendered again, gentler or otherwise finished, without a new solve."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from photostyle.bounds import Between
from photostyle.cli.arguments import named, parse, refuse_half_said
from photostyle.cli.console import DONE, note, refuse_inputs, tell
from photostyle.cli.outputs import company, record_path, refuse_foreign_picture, refuse_foreign_record
from photostyle.cli.quoting import command_line
from photostyle.cli.solved import read_solved
from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import (
    config_from_json,
    config_to_json,
    make_record,
    read_record,
    stranger,
    write_picture,
)
from photostyle.evaluation.whereabouts import located
from photostyle.files.arrays import read_photograph
from photostyle.files.images import check_output, encode_image, sha256_of
from photostyle.imaging.filters import size_of
from photostyle.pipeline import transfer
from photostyle.process import prepared

OWN = {"record", "output", "quiet"}  # what is no setting of the picture
SOLVED_BEFORE = (
    "ended",
    "weights",
    "segmentation",
    "stages",
    "trace",
    "solved",
)  # what a record keeps of its run


@dataclass(frozen=True)
class AdjustCommand:
    """Render a recorded run again with other settings of what comes after the solve; what is not given stays."""

    record: Annotated[Path, tyro.conf.Positional]
    """the .json beside a picture"""
    strength: Annotated[float | None, Between(0, 1)] = Config.strength
    """how far to go, 0 (the photo) to 1"""
    region_strength: tuple[str, ...] = Config.region_strength
    """strengths of single regions by their names, as in sky=0.5 person=0.2; in place of all that the record has"""
    protect: tuple[str, ...] = Config.protect
    """what keeps its own colour: skin, none, or regions of the photo's mask"""
    second_look: bool = Config.second_look
    """hold the picture back where signs speak against it and nothing says how far to go"""
    preserve_luminance: bool = Config.preserve_luminance
    """keep the photo's lightness and take only the reference's colours"""
    smooth_radius: int = Config.smooth_radius
    """radius of the local affine smoothing of the result in pixels; 0: off"""
    smooth_edge: float = Config.smooth_edge
    """the smoothing's colour scale in image units"""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """where to write; default: beside the record, with -adjusted in its name"""
    quiet: bool = False
    """print nothing but errors"""


ADJUSTABLE = {field.name for field in fields(AdjustCommand)} - OWN


def adjust(arguments: Sequence[str]) -> int:
    """photostyle adjust: the same solve, finished otherwise."""
    began = time.perf_counter()
    refuse_half_said(arguments)
    options = parse(AdjustCommand, arguments, "photostyle adjust")
    changed = {name: getattr(options, name) for name in named(arguments) & ADJUSTABLE}
    if not changed:
        raise PhotostyleError(
            "photostyle adjust is told nothing to change; give a setting, as in "
            + command_line("photostyle", "adjust", options.record, "--strength", "0.5")
        )
    record = read_record(options.record)
    if foreign := stranger(record, options.record):
        note(f"{foreign}; what is adjusted is the recorded one")
    record = located(record, options.record)
    recorded = config_from_json(record["config"], options.record)
    output = options.output or options.record.with_name(
        f"{options.record.stem}-adjusted{recorded.output.suffix}"
    )
    config = replace(recorded, **changed, output=output, quiet=options.quiet)
    solved = read_solved(record, options.record)
    if solved is None and any(config.evaluations):
        config = replace(config, boldness=0.0)  # what was found then: it stayed at the closed form
    kept = record.get("solved") or {}
    read = [*config.files, *map(Path, [kept["path"]] if kept else [])]
    refuse_inputs([output, record_path(output)], read)
    if options.output is None:
        refuse_foreign_picture(output)
    refuse_foreign_record(output)
    photo = read_photograph(config.content)
    said = list(
        check_output(output, alpha=photo.alpha is not None, depth=photo.depth, size=size_of(photo.pixels))
    )
    with prepared(record["environment"]["threads"], config.deterministic):
        result = transfer(replace(config, content=photo), say=said.append, solved=solved)
    result = replace(result, notes=tuple(said))
    origin = {
        "record": str(options.record.absolute()),
        "sha256": sha256_of(options.record),
        "changed": {name: config_to_json(config)[name] for name in sorted(changed)},
    }
    picture = encode_image(
        output, result.image, alpha=photo.alpha, depth=photo.depth, resolution=photo.resolution
    )
    seconds, digest = time.perf_counter() - began, hashlib.sha256(picture).hexdigest()
    made = make_record(config, result, digest, seconds, {}, {}) | _of_the_run(record)
    write_picture(
        output, picture, record_path(output), made | {"adjusted": origin, "beside": company(output)}
    )
    if not options.quiet:
        for text in said:
            note(text)
        tell(
            f"{output}  {photo.width}x{photo.height}  {seconds:.1f} s on {result.device}\n{record_path(output)}"
        )
    return DONE


def _of_the_run(record: dict[str, Any]) -> dict[str, Any]:
    """What stays as it was recorded: how the solve went, and what it was made with."""
    return {name: record[name] for name in SOLVED_BEFORE if name in record}
