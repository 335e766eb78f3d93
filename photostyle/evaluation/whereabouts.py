"""Where the files are that a record names: folders move, and what a file is its SHA-256 says, not its path."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from photostyle.errors import PhotostyleError
from photostyle.files.images import sha256_of
from photostyle.files.masks import read_masks
from photostyle.files.reading import path_exists, path_is_dir, path_is_file

NO_FILE = "none"  # the path of masks that there are not
FILES_OF_CONFIG = ("content", "style", "masks", "weights", "start_file")


def with_relative_paths(record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The record with each file's path from `folder`, where the record is to be, beside the absolute one."""

    def named(entry: Any) -> Any:
        if not isinstance(entry, dict) or not Path(str(entry.get("path"))).is_absolute():
            return entry
        return entry | {"relative": os.path.relpath(entry["path"], folder.absolute())}

    entries: dict[str, Any] = {name: named(record[name]) for name in ("weights", "solved") if name in record}
    if isinstance(inputs := record.get("inputs"), dict):
        entries["inputs"] = {name: named(entry) for name, entry in inputs.items()}
    return dict(record) | entries


def found(entry: Mapping[str, str], source: Path, mask: bool = False) -> Path | None:
    """Where the file of an entry ("path", "sha256", of newer records "relative") is now; None where none has its bytes.

    Looked for at its absolute path, then at its path from the record `source`, then by its name beside that. mask: the
    hash is that of `read_masks`. Nothing but a file with the recorded bytes is taken, whatever a record says.
    """
    fits = (path for path in _places(entry, source) if _sha256(path, mask) == entry["sha256"])
    return next(fits, None)


def located(record: dict[str, Any], source: Path) -> dict[str, Any]:
    """The record with its inputs, weights and solved picture named where they are now, in its configuration too.

    Raises PhotostyleError for an input that is not found, and for one or weights that have changed. Weights that are
    gone and the solved picture are left to who reads them.
    """
    names = {name: record.get(name) for name in ("weights", "solved")} | record["inputs"]
    moved = dict[str, str]()
    for name, entry in names.items():
        if entry is None or entry["path"] == NO_FILE:
            continue
        if place := found(entry, source, " mask" in name):
            moved[entry["path"]] = str(place)
        elif name != "solved" and path_exists(Path(entry["path"])):
            raise PhotostyleError(
                f"{entry['path']} has changed since the record was made (SHA-256 differs); restore it, or start a "
                "new run"
            )
        elif name in record["inputs"]:
            others = " or ".join(map(str, list(_places(entry, source))[1:]))
            raise PhotostyleError(
                f"{entry['path']} does not exist, and what {source} was made with is not at {others} either; "
                "restore it, or start a new run"
            )

    def here(value: Any) -> Any:
        if isinstance(value, list):
            return [here(each) for each in value]
        return moved.get(value, value) if isinstance(value, str) else value

    def entry_here(entry: Any) -> Any:
        return entry and entry | {"path": here(entry["path"])}

    config = record["config"]
    changed: dict[str, Any] = {
        name: entry_here(record[name]) for name in ("weights", "solved") if name in record
    }
    changed["inputs"] = {name: entry_here(entry) for name, entry in record["inputs"].items()}
    changed["config"] = config | {name: here(config[name]) for name in FILES_OF_CONFIG if name in config}
    return record | changed


def mask_sha256(path: Path) -> str:
    """What `read_masks` hashes: more than one file where there is a legend."""
    return read_masks(path, path).sha256


def _places(entry: Mapping[str, str], source: Path) -> Iterator[Path]:
    """Where a file may be: at its absolute path, at that from the record's folder, by its name in that folder."""
    absolute, folder = Path(entry["path"]), source.absolute().parent
    beside = folder / absolute.name
    # By its text, as it was made: what .. of a linked folder is does not matter.
    relative = Path(os.path.normpath(folder / str(entry.get("relative", absolute.name))))
    yield from dict.fromkeys((absolute, relative, beside))


def _sha256(path: Path, mask: bool) -> str | None:
    """The hash of a file or, of a mask, a folder; None where there is none that can be read."""
    if not (path_is_file(path) or (mask and path_is_dir(path))):
        return None
    try:
        return mask_sha256(path) if mask else sha256_of(path)
    except PhotostyleError:
        return None
