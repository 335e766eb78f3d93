"""What was solved, kept beside a picture, so that it can be rendered again without a new solve."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from photostyle.cli.outputs import solved_path
from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.files.images import encode_image, read_image, sha256_of
from photostyle.result import Result


def kept_solved(config: Config, result: Result) -> dict[Path, bytes]:
    """The file to keep it in and its bytes; none where nothing was solved or it is not to be kept.

    With 16 bits, as `transfer` has rounded it: what is rendered from the file has the bytes of the run. (Rounding moves
    2 in 10,000 samples of an 8-bit result by one level, seen at 535x426 solved at 256 and 512 px; float32 would be two
    times the file.)
    """
    if result.solved is None or not config.keep_solved:
        return {}
    path = solved_path(config.output)
    return {path: encode_image(path, result.solved, depth=16)}


def named_solved(kept: Mapping[Path, bytes]) -> dict[str, str] | None:
    """Path and SHA-256 of what `kept_solved` keeps, for the record."""
    entries = [
        {"path": str(path.absolute()), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in kept.items()
    ]
    return next(iter(entries), None)


def read_solved(record: dict[str, Any], source: Path) -> Tensor | None:
    """What `kept_solved` has kept for a record, (3, h, w); None where there was nothing to solve.

    source: its file, for messages. Raises PhotostyleError where there was something and it is not
    there, or no longer what it was.
    """
    if record["ended"] == "done" and not record["stages"]:
        return None
    kept = record.get("solved")
    if kept is None:
        raise PhotostyleError(
            f"{source} keeps no solved picture (it is of an older version, of --no-keep-solved, or ended too soon), so "
            "there is nothing to render again; start a new run"
        )
    path = Path(kept["path"])
    if not path.exists():
        raise PhotostyleError(
            f"{path}, the solved picture of {source}, is gone; restore it, or start a new run"
        )
    if sha256_of(path) != kept["sha256"]:
        raise PhotostyleError(
            f"{path} has changed since {source} was written (SHA-256 differs); restore it, or start a new run"
        )
    return read_image(path, minimum=1).pixels
