"""What a run writes beside its picture: the names, and the refusal to write over what is read or is not ours."""

import re
from collections.abc import Sequence
from pathlib import Path

from photostyle.cli.console import refuse_inputs
from photostyle.cli.snapshots import is_snapshot
from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import read_record
from photostyle.files.checkpoints import is_checkpoint, previous_path
from photostyle.files.places import check_name
from photostyle.files.reading import path_exists

PREVIEW = "preview.png"  # in a folder that holds folders of masks


def record_path(picture: Path) -> Path:
    """The record of a picture. Raises PhotostyleError for a path that names no file."""
    if not picture.name:
        raise PhotostyleError(f'"{picture}" names no picture: name one, such as out.png')
    return picture.with_suffix(".json")


def losses_path(picture: Path) -> Path:
    """The loss curves."""
    return _beside(picture, "losses.png")


def checkpoint_path(picture: Path) -> Path:
    """The checkpoint of its solve, while it is unfinished."""
    return _beside(picture, "checkpoint.safetensors")


def solved_path(picture: Path) -> Path:
    """What was solved, at the size at which it was, with 16 bits."""
    return _beside(picture, "solved.tif")


def regions_path(picture: Path) -> Path:
    """The sheet of the regions."""
    return _beside(picture, "regions.png")


def masks_folder(picture: Path) -> Path:
    """The masks that were made for it."""
    return _beside(picture, "masks")


def snapshot_path(picture: Path, evaluations: int) -> Path:
    """The unfinished picture after so many evaluations."""
    return _beside(picture, f"{evaluations:05d}.png")


def refuse_to_overwrite(config: Config) -> None:
    """Nothing that a run writes may replace what it reads, nor a .json that is no record of ours."""
    picture, inputs = config.output, config.files
    check_name(picture)
    written = [picture, record_path(picture)]
    for wanted, path in (
        (config.plot, losses_path(picture)),
        (config.keep_solved, solved_path(picture)),
        (config.region_sheet, regions_path(picture)),
    ):
        written += [path] if wanted else []
    written += [] if config.animate is None else [config.animate]
    if config.checkpoints:
        path = checkpoint_path(picture)
        written += [path, previous_path(path)]
        refuse_foreign_checkpoint(path)
    if config.save_every:
        snapshot = re.compile(re.escape(picture.stem) + r"-\d{5}\.png")
        written += [
            path for path in inputs if path.parent == picture.parent and snapshot.fullmatch(path.name)
        ]
    for path in written:
        check_name(path)
    refuse_inputs(written, inputs)
    refuse_foreign_record(picture)
    _refuse_foreign_company(config)


def company(picture: Path, *new: Path) -> list[str]:
    """The names of what is ours beside a picture, and of what is new there: an entry of the record to be written."""
    there = _that_are_ours(picture, [losses_path(picture), solved_path(picture), regions_path(picture)])
    return sorted({path.name for path in (*there, *_that_are_ours(picture, _snapshots(picture)), *new)})


def _refuse_foreign_company(config: Config) -> None:
    """Names that nobody gave must not cost anybody a file."""
    picture = config.output
    unnamed = [losses_path(picture)] * config.plot
    unnamed += [solved_path(picture)] * config.keep_solved + [regions_path(picture)] * config.region_sheet
    unnamed += _snapshots(picture) if config.save_every else []
    ours = _that_are_ours(picture, unnamed)
    for path in unnamed:
        if path_exists(path) and path not in ours:
            raise PhotostyleError(
                f"{path} would be written beside {picture}, and there is no photostyle record by which it was ours; "
                "move it, or choose another --output"
            )


def _that_are_ours(picture: Path, paths: Sequence[Path]) -> list[Path]:
    """Those that exist and that the picture's record names, all where the record is of an older version."""
    try:
        record = read_record(record_path(picture), command=None)
    except PhotostyleError:  # none there
        record = {"beside": []}
    named = record.get("beside")

    def is_ours(path: Path) -> bool:
        return named is None or (isinstance(named, list) and path.name in named) or is_snapshot(path)

    return [path for path in paths if path_exists(path) and is_ours(path)]


def _snapshots(picture: Path) -> list[Path]:
    snapshot = re.compile(re.escape(picture.stem) + r"-\d{5}\.png")
    try:
        return sorted(path for path in picture.parent.iterdir() if snapshot.fullmatch(path.name))
    except OSError:  # none there, or one that may be written in and not be read
        return []


def refuse_foreign_picture(picture: Path) -> None:
    """A name that nobody gave must not cost anybody a picture: raise PhotostyleError where there is a foreign one."""
    check_name(picture)
    check_name(record_path(picture))
    if path_exists(picture) and not path_exists(record_path(picture)):
        raise PhotostyleError(
            f"{picture} exists and has no photostyle record beside it, so it is not overwritten; "
            "choose another --output"
        )


def refuse_foreign_preview(preview: Path, ours: bool) -> None:
    """Raise PhotostyleError where a file of that name is none of ours. ours: whether masks beside it are."""
    if path_exists(preview) and not ours:
        raise PhotostyleError(
            f"{preview} exists beside no masks that photostyle wrote, so it is not overwritten; choose another --output"
        )


def refuse_foreign_checkpoint(path: Path) -> None:
    """Raise PhotostyleError where a file of a checkpoint's name is none of ours."""
    for each in (path, previous_path(path)):
        if path_exists(each) and not is_checkpoint(each):
            raise PhotostyleError(
                f"{each} exists and is no photostyle checkpoint, so it is not overwritten; move it, or choose another "
                "--output"
            )


def refuse_foreign_record(picture: Path) -> None:
    """Raise PhotostyleError where the .json beside a picture that is to be written is no record of ours."""
    path = record_path(picture)
    check_name(path)
    if not path_exists(path):
        return
    try:
        read_record(path, command=None)
    except PhotostyleError as error:
        raise PhotostyleError(
            f"{path} exists and is no photostyle record, so it is not overwritten; choose another --output"
        ) from error


def _beside(picture: Path, name: str) -> Path:
    return picture.with_name(f"{picture.stem}-{name}")
