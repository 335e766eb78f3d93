"""The record beside every picture: what was asked, with what, what was decided, how it went, what came out."""

import json
import math
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from functools import cache
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, get_type_hints

from photostyle.config import MASK_WORDS, TERMS, Config, Recipe
from photostyle.errors import PhotostyleError, shortened, shown
from photostyle.evaluation.whereabouts import with_relative_paths
from photostyle.files.arrays import IN_MEMORY
from photostyle.files.atomic import write_bytes_atomically, write_together
from photostyle.files.images import Picture, sha256_of
from photostyle.files.masks import MaskSet
from photostyle.files.reading import MOST_RECORD, file_bytes, parsed_json, path_is_file
from photostyle.losses.weights import Weights
from photostyle.regions.guidance import Guidance
from photostyle.regions.relation import Dial
from photostyle.result import Result, stages_of
from photostyle.settings import typed
from photostyle.version import __version__

FORMAT = 1
# Settings that had another name, and of one value a list was made.
RENAMED = {"content_layer": "content_layers"}
TRANSFER = "run"  # the command of records that name none
# What every record of a transfer holds and others read from it, and of which type.
_PARTS = {
    "ended": str,
    "config": dict,
    "environment": dict,
    "inputs": dict,
    "stages": list,
    "output": dict,
}
# The types that files of a configuration may have, lists of texts alone.
_NAMES: dict[str, tuple[type[str] | type[list[str]], ...]] = {
    "content": (str,),
    "style": (str, list),
    "masks": (list,),
}
LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "pillow", "scikit-image")


def make_record(
    config: Config,
    result: Result,
    output_sha256: str,
    seconds: float,
    metrics: dict[str, Any],
    artefacts: dict[str, Any],
    segmentation: dict[str, Any] | None = None,
    solved: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Everything about a finished run, as JSON types. Paths are absolute, so that it can be run again anywhere.

    segmentation: what made the masks, as JSON types; None where they were given. solved: path and SHA-256 of the file
    that keeps `Result.solved`; None where none does.
    """
    return {
        "photostyle": made_by(),
        "ended": result.ended,
        "config": config_to_json(_as_it_ran(config, result)),
        "environment": environment(result.device, result.threads),
        "inputs": _inputs(result),
        "weights": _weights(result),
        "segmentation": segmentation,
        **({"references": _references(config, result)} if len(result.references) > 1 else {}),
        "size": {"width": result.photo.width, "height": result.photo.height},
        "regions": regions(result.guidance, result.how),
        "protected": result.protected,
        "notes": list(result.notes),
        "seconds": seconds,
        "stages": list(stages_of(result)),
        "trace": result.trace,
        "metrics": metrics,
        "artefacts": artefacts,
        "solved": solved,
        "output": {"path": str(config.output.absolute()), "sha256": output_sha256},
    }


def made_by(command: str | None = None) -> dict[str, Any]:
    """What every record begins with: its format, this version, and the command where it is none of a transfer."""
    entries: dict[str, Any] = {"format": FORMAT, "version": __version__, "commit": commit()}
    return entries if command is None else entries | {"command": command}


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record by itself, atomically, see `encode_record`."""
    write_bytes_atomically(path, encode_record(path, record))


def encode_record(path: Path, record: dict[str, Any]) -> bytes:
    """A record as JSON, for this place: it names its files from there too. A number that is not finite becomes null."""
    text = json.dumps(
        _finite(with_relative_paths(record, path.parent)), indent=1, ensure_ascii=False, allow_nan=False
    )
    # A lone surrogate stands for a byte of a file name that is no UTF-8; its escape is JSON's own.
    return (text + "\n").encode(errors="backslashreplace")


def write_picture(
    path: Path,
    picture: bytes,
    record_path: Path,
    record: dict[str, Any],
    others: Mapping[Path, bytes] | None = None,
) -> None:
    """Put a picture, its record, which names the picture's SHA-256, and what else it names in their places together.

    The record first: what a kill between the renames leaves is an old picture beside the record of another one, which
    its hash tells, and that record makes the new picture again. It is never a new picture beside an old record.
    """
    write_together({record_path: encode_record(record_path, record), **(others or {}), path: picture})


def complete_record(path: Path, record: dict[str, Any]) -> bool:
    """Write a record again that knows more of the same picture; False where another run has replaced it meanwhile."""

    def is_still_of_it() -> bool:
        try:
            return bool(read_record(path)["output"]["sha256"] == record["output"]["sha256"])
        except PhotostyleError:
            return False

    return write_together({path: encode_record(path, record)}, is_still_of_it)


def stranger(record: dict[str, Any], source: Path, picture: Path | None = None) -> str:
    """What to say where a picture is not the one that a transfer's record was written for; "" where it is, or is gone.

    source: the record's file. picture: default: the one of the recorded name beside it.
    """
    entry = record["output"]
    if picture is None:
        name = Path(entry["path"]).name
        picture = source.with_name(name or source.name)
    if not path_is_file(picture) or entry["sha256"] == sha256_of(picture):
        return ""
    return f"{source} is the record of another picture than {picture} (SHA-256 differs)"


def read_record(path: Path, command: str | None = TRANSFER) -> dict[str, Any]:
    """Read a record of a command, None for any. Raises PhotostyleError where the file is none."""
    try:
        record = parsed_json(path, file_bytes(path, MOST_RECORD))
    except PhotostyleError as error:
        raise PhotostyleError(f"{error}; give the record, the .json beside a picture") from None
    if not isinstance(record, dict) or not isinstance(maker := record.get("photostyle"), dict):
        raise PhotostyleError(f"{path} is JSON but no photostyle record; give the .json beside a picture")
    if maker.get("format") != FORMAT:
        raise PhotostyleError(
            f"{path} is a record of format {shown(maker.get('format'))}, this version ({__version__}) reads "
            f"{FORMAT}; use version {shown(maker.get('version'))}"
        )
    if command not in (None, made := maker.get("command", TRANSFER)):
        raise PhotostyleError(
            f"{path} is a record of photostyle {shown(made)}, not of photostyle {command}; give one of that"
        )
    if made == TRANSFER and (wrong := _misshapen(record)):
        raise PhotostyleError(f"{path} is no whole record ({wrong}); give a record as it was written")
    return record


def _misshapen(record: Mapping[str, Any]) -> str:
    """What a record lacks of what is read from it, "" where it is whole; it may be somebody else's, or cut."""
    for name, kind in _PARTS.items():
        if not isinstance(record.get(name), kind):
            return f"{name} is {shown(record.get(name))}"
    for name, kinds in _NAMES.items():
        named: Any = record["config"].get(name, [] if name == "masks" else None)
        if not isinstance(named, kinds) or not all(isinstance(each, str) for each in named):
            return f"its configuration has {name} = {shown(named)}"
    files = {**record["inputs"], "output": record["output"]}
    files |= {name: record[name] for name in ("weights", "solved") if record.get(name) is not None}
    for name, entry in files.items():
        if not isinstance(entry, dict) or not all(
            isinstance(entry.get(key), str) for key in ("path", "sha256")
        ):
            return f"{shortened(name)} has no path and SHA-256"
    if type(record["environment"].get("threads")) is not int:
        return "environment has no number of threads"
    return ""


def config_to_json(config: Config) -> dict[str, Any]:
    """A configuration as JSON types, every path absolute."""
    entries = {field.name: _plain(getattr(config, field.name)) for field in fields(config)}
    # One reference is one path, as ever.
    style = entries["style"][0] if len(entries["style"]) == 1 else entries["style"]
    return entries | {
        "style": style,
        "masks": [_mask_name(name) for name in config.masks],
    }


def config_from_json(entries: dict[str, Any], source: Path) -> Config:
    """The configuration a record holds; what it lacks because it is older is as it was then.

    Raises PhotostyleError where its settings are not this version's.
    """
    kinds = get_type_hints(Config)
    entries = {
        RENAMED.get(name, name): [value] if name in RENAMED else value for name, value in entries.items()
    }
    if unknown := entries.keys() - kinds.keys():
        raise PhotostyleError(
            f"{source} has settings this version ({__version__}) does not know: "
            f"{shortened(', '.join(sorted(unknown)))}; run it with the version it names"
        )
    if missing := {"content", "style"} - entries.keys():
        raise PhotostyleError(
            f"{source} lacks {' and '.join(sorted(missing))}; give a record as it was written"
        )
    values = {}
    for name, value in (_before_there_was() | entries | {"style": _several(entries["style"])}).items():
        try:
            values[name] = typed(value, kinds[name])
        except ValueError as error:
            raise PhotostyleError(
                f"{source} has {name} = {shown(value)}, which it cannot be; correct it"
            ) from error
    return Config(**values)


def _before_there_was() -> dict[str, Any]:
    """What stands for settings that a record lacks because it is older: a term that there was not had no weight.

    Without a dial every region went all of the way, nothing was protected, and nobody looked again.
    """
    values: dict[str, Any] = {"boldness": 1.0, "protect": ["none"], "second_look": False}
    for term in TERMS:
        none: dict[str, Any] = {
            name: [] if isinstance(getattr(Recipe, name), tuple) else 0.0 for name in term.weights
        }
        values |= none if term.before is None else term.before
    return values


def environment(device: str, threads: int) -> dict[str, Any]:
    """Versions and machine, as far as they can change the bytes of a result."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": device,
        "threads": threads,
        **library_versions(),
    }


@cache
def library_versions() -> dict[str, str]:
    """The version of each of LIBRARIES; it does not change while a process runs, and takes 2 ms each to read."""
    return {name: installed_version(name) for name in LIBRARIES}


@cache
def commit() -> str | None:
    """The commit of the source tree this runs from, "-dirty" where it was changed; None outside one.

    Asked once: a process runs the code that it has read, and git takes 15 ms, in a batch for every photograph.
    """
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def regions(guidance: Guidance, how: Dial) -> list[dict[str, Any]]:
    """How the regions were paired, orphans marked, and how far each went; a trace of a brush went with its host."""
    went = {
        name: {"boldness": bold, "strength": strong}
        for name, bold, strong in zip(how.names, how.boldness.tolist(), how.strength.tolist(), strict=True)
    }
    return [
        {name: _plain(value) for name, value in asdict(pair).items()} | went.get(pair.name, {})
        for pair in guidance.pairs
    ]


def _as_it_ran(config: Config, result: Result) -> Config:
    """With the precision that was decided on: another machine would decide otherwise."""
    return config if result.precision is None else replace(config, precision=result.precision)


def _inputs(result: Result) -> dict[str, Any]:
    pictures = {"content": result.photo} | {
        f"style{number}": each for number, each in zip(_numbers(result), result.references, strict=True)
    }
    entries = {name: {"path": _path(each), "sha256": each.sha256} for name, each in pictures.items()}
    names = ("content mask", *(f"style mask{number}" for number in _numbers(result)))
    for name, path, masks in zip(names, result.mask_paths, result.masks, strict=True):
        entries[name] = {"path": path, "sha256": masks.sha256}
    if result.start is not None:
        entries["start"] = {"path": _path(result.start), "sha256": result.start.sha256}
    return entries


def _numbers(result: Result) -> list[str]:
    """What the inputs of each reference have in their names: nothing where it is the only one."""
    count = len(result.references)
    return [""] if count == 1 else [f" {number}" for number in range(1, count + 1)]


def _references(config: Config, result: Result) -> list[dict[str, Any]]:
    """Each reference with its weight, and its share in the mixture of every content region that it gives."""
    weights = config.style_weights or (1.0,) * len(result.references)
    return [
        {
            "path": _path(each),
            "sha256": each.sha256,
            "weight": weight,
            "gives": {
                name: part for name, part in zip(result.guidance.names, row.tolist(), strict=True) if part
            },
        }
        for each, weight, row in zip(result.references, weights, result.guidance.weights, strict=True)
    ]


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _weights(result: Result) -> dict[str, str] | None:
    if result.weights is None:
        return None
    loaded = result.weights
    return {"path": str(loaded.path.absolute()), "sha256": loaded.sha256, "source": loaded.source}


def _path(picture: Picture) -> str:
    """Of a picture that was never a file, what it is called in the record's configuration."""
    return str(_plain(picture if picture.path == IN_MEMORY else picture.path))


def _mask_name(name: str | MaskSet) -> str:
    if isinstance(name, MaskSet):
        return f"in memory {name.sha256}"
    return name if name in MASK_WORDS else str(Path(name).absolute())


def _plain(value: Any) -> Any:
    if isinstance(value, Picture):
        return f"in memory {value.sha256}"
    if isinstance(value, Weights):
        return str(value.path.absolute()) if value.source == "file" else None
    if isinstance(value, Path):
        return str(value.absolute())
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
