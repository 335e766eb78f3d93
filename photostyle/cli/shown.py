"""The pictures of a recorded run: the photo, its references and the result, from the record beside the result."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from photostyle.cli.console import note
from photostyle.cli.outputs import record_path
from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import read_record
from photostyle.evaluation.whereabouts import found
from photostyle.files.images import Picture, read_image
from photostyle.files.reading import path_is_file

CONTENT, STYLE, RESULT = "content", "style", "result"


@dataclass(frozen=True)
class Shown:
    """A picture and what it is.

    role: "content", "style" (of several "style 1", …) or "result", of a run; "" for any other picture.
    sha256: of the file, as the run's record has it; None where there is none.
    """

    role: str
    path: Path
    sha256: str | None = None


def shown_of(path: Path) -> list[Shown]:
    """The pictures of a run, named by its record or its result, in this order: photo, references, result.

    A picture without a record is alone; where the .json beside it is no record, a note says so.
    """
    if path.suffix.lower() == ".json":
        return _of_record(read_record(path), path)
    beside = record_path(path)
    if not path_is_file(beside):
        return [Shown("", path)]
    try:
        record = read_record(beside)
    except PhotostyleError as error:
        note(f"{path} is taken by itself, for {error}")
        return [Shown("", path)]
    return _of_record(record, beside)


def read_shown(shown: Shown) -> Picture:
    """A picture of any size; raises PhotostyleError where it is no longer the one that was recorded."""
    picture = read_image(shown.path, minimum=1)
    if shown.sha256 not in (None, picture.sha256):
        raise PhotostyleError(
            f"{shown.path} has changed since the record was made (SHA-256 differs); restore it, or give "
            "the result with --content and --style"
        )
    return picture


def _of_record(record: dict[str, Any], source: Path) -> list[Shown]:
    """The result is looked for beside its record first, and the others from there: all may have moved."""
    recorded, inputs = Path(record["output"]["path"]), record["inputs"]
    beside = source.with_suffix(recorded.suffix)
    names = [CONTENT, *(name for name in inputs if re.fullmatch(rf"{STYLE}( \d+)?", name))]
    return [
        *(
            Shown(name, found(inputs[name], source) or Path(inputs[name]["path"]), inputs[name]["sha256"])
            for name in names
        ),
        Shown(RESULT, beside if beside.exists() else recorded, record["output"]["sha256"]),
    ]
