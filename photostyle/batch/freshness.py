"""What is still to be made: whether a picture is the one that its settings and inputs would give, by its record."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from photostyle.config import Config, Recipe
from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import TRANSFER, config_from_json, read_record
from photostyle.evaluation.whereabouts import NO_FILE, found, mask_sha256
from photostyle.files.arrays import path_of
from photostyle.files.images import sha256_of
from photostyle.files.reading import path_exists
from photostyle.materials import TO_BE_MADE, mask_paths

# What decides how masks come out that are made for a run.
OF_MADE_MASKS = ("segmenter", "segmenter_revision", "refine_masks")


class Hashes:
    """SHA-256 of files, each read once."""

    def __init__(self) -> None:
        self.of: Callable[[Path], str] = cache(sha256_of)


def why_make(
    config: Config,
    record_file: Path,
    hashes: Hashes,
    command: str = TRANSFER,
    also: dict[str, Any] | None = None,
) -> str:
    """Why a picture has to be made, as a few words; "" where the one that is there is what config gives.

    It is by what the record beside it says: that it ended, of which settings it is, and by which bytes of the inputs
    and of the picture. Times of files say nothing. command: what made it, and also: what its record has to hold beside.
    """
    if not path_exists(config.output):
        return "missing"
    try:
        record = read_record(record_file, command)
        return next(_reasons(config, record_file, record, hashes, also or {}), "")
    except PhotostyleError:
        return "no record of it"
    except (KeyError, TypeError, AttributeError):
        return "no whole record of it"


def _reasons(
    config: Config, source: Path, record: dict[str, Any], hashes: Hashes, also: dict[str, Any]
) -> Iterator[str]:
    if record["output"]["sha256"] != hashes.of(config.output):
        yield "changed since it was made"
    if record["ended"] != "done":
        yield f"ended early ({record['ended']})"
    if [name for name, value in also.items() if record.get(name) != value]:
        yield "another look"
    if differing := list(_other_settings(config, config_from_json(record["config"], source), record)):
        yield f"other settings: {', '.join(differing)}"
    inputs = record["inputs"]
    wanted, recorded = _pictures(config), {name for name in inputs if "mask" not in name}
    if wanted.keys() != recorded or any(
        inputs[name]["sha256"] != hashes.of(path) for name, path in wanted.items()
    ):
        yield "another photograph or reference"
    masks = {name: entry for name, entry in inputs.items() if "mask" in name}
    if _other_masks(config, masks, record, source):
        yield "other masks"
    weights = record.get("weights")
    if isinstance(config.weights, Path) and weights and weights["sha256"] != hashes.of(config.weights):
        yield "other weights"


def _other_settings(config: Config, recorded: Config, record: dict[str, Any]) -> Iterator[str]:
    names = [field.name for field in fields(Recipe)]
    if config.fit and record.get("asked_size") == config.size:
        names.remove("size")  # it was made as large as memory allowed
    if config.precision == Recipe.precision:
        names.remove("precision")  # a record names the one that was decided on
    if config.masks in TO_BE_MADE:
        names += OF_MADE_MASKS
    yield from (name for name in names if getattr(config, name) != getattr(recorded, name))


def _pictures(config: Config) -> dict[str, Path]:
    """The files of photographs by the names that a record has for them."""
    styles = [path_of(each) for each in config.style]
    numbers = [""] if len(styles) == 1 else [f" {number}" for number in range(1, len(styles) + 1)]
    named = {"content": path_of(config.content)}
    named |= {f"style{number}": path for number, path in zip(numbers, styles, strict=True)}
    return named if config.start_file is None else named | {"start": path_of(config.start_file)}


def _other_masks(config: Config, masks: dict[str, Any], record: dict[str, Any], source: Path) -> bool:
    """Whether the masks are others than wanted, by what was asked for where they were made, or have changed."""
    if config.masks in TO_BE_MADE:
        asked = (record.get("segmentation") or {}).get("asked")
        # Those that are gone are made again where they are needed.
        there = [each for each in masks.values() if path_exists(Path(each["path"]))]
        return asked != config.masks[0] or not all(found(each, source, mask=True) for each in there)
    wanted = mask_paths(config.masks, 1 + len(config.style))
    try:
        hashes = ["" if path == NO_FILE else mask_sha256(Path(path)) for path in wanted]
    except PhotostyleError:
        return True
    return hashes != [each["sha256"] for each in masks.values()]
