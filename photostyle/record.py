"""The record beside every picture: what was asked, with what, what was decided, how it went, what came out."""

import json
import platform
import subprocess
from dataclasses import asdict
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, get_type_hints

from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.guidance import Guidance
from photostyle.images import sha256_of, write_bytes_atomically
from photostyle.transfer import Result, stages_of
from photostyle.version import __version__

FORMAT = 1
LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "pillow", "scikit-image")


def make_record(
    config: Config, result: Result, output_sha256: str, seconds: float, metrics: dict[str, Any]
) -> dict[str, Any]:
    """Everything about a finished run, as JSON types. Paths are absolute, so that it can be run again anywhere."""
    return {
        "photostyle": {"format": FORMAT, "version": __version__, "commit": commit()},
        "ended": result.ended,
        "config": config_to_json(config),
        "environment": environment(result.device, result.threads),
        "inputs": _inputs(result),
        "weights": _weights(result),
        "size": {"width": result.photo.width, "height": result.photo.height},
        "regions": regions(result.guidance),
        "notes": list(result.notes),
        "seconds": seconds,
        "stages": list(stages_of(result)),
        "trace": result.trace,
        "metrics": metrics,
        "output": {"path": str(config.output.absolute()), "sha256": output_sha256},
    }


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON, atomically; a number that is not finite becomes null."""
    text = json.dumps(_finite(record), indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes_atomically(path, (text + "\n").encode())


def read_record(path: Path) -> dict[str, Any]:
    """Read a record. Raises PhotostyleError where the file is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PhotostyleError(f"{path} does not exist; give the .json beside a picture") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PhotostyleError(f"{path} is no record ({error}); give the .json beside a picture") from error
    if not isinstance(record, dict) or not {"photostyle", "config", "output"} <= record.keys():
        raise PhotostyleError(f"{path} is JSON but no photostyle record; give the .json beside a picture")
    return record


def config_to_json(config: Config) -> dict[str, Any]:
    """A configuration as JSON types, every path absolute."""
    entries = {name: _plain(value) for name, value in asdict(config).items()}
    return entries | {
        "masks": [name if name == "none" else str(Path(name).absolute()) for name in config.masks]
    }


def config_from_json(entries: dict[str, Any], source: Path) -> Config:
    """The configuration a record holds. Raises PhotostyleError where its fields are not this version's."""
    types = get_type_hints(Config)
    if unknown := entries.keys() - types.keys():
        raise PhotostyleError(
            f"{source} has settings this version ({__version__}) does not know: {', '.join(sorted(unknown))}; "
            "run it with the version it names"
        )
    values = {name: _typed(value, types[name]) for name, value in entries.items()}
    return Config(**values)


def check_inputs(record: dict[str, Any]) -> None:
    """Raise PhotostyleError where an input file is no longer the one that the record was made with."""
    for entry in record["inputs"].values():
        if (
            entry["sha256"]
            and Path(entry["path"]).is_file()
            and sha256_of(Path(entry["path"])) != entry["sha256"]
        ):
            raise PhotostyleError(
                f"{entry['path']} has changed since the record was made (SHA-256 differs); "
                "restore it, or start a new run"
            )


def environment(device: str, threads: int) -> dict[str, Any]:
    """Versions and machine, as far as they can change the bytes of a result."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": device,
        "threads": threads,
        **{name: installed_version(name) for name in LIBRARIES},
    }


def commit() -> str | None:
    """The commit of the source tree this runs from, "-dirty" where it was changed; None outside one."""
    folder = Path(__file__).resolve().parent
    if not (folder.parent / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def regions(guidance: Guidance) -> list[dict[str, Any]]:
    """How the regions were paired, orphans marked."""
    return [{name: _plain(value) for name, value in asdict(pair).items()} for pair in guidance.pairs]


def _inputs(result: Result) -> dict[str, Any]:
    entries = {
        "content": {"path": str(result.photo.path.absolute()), "sha256": result.photo.sha256},
        "style": {"path": str(result.reference.path.absolute()), "sha256": result.reference.sha256},
    }
    for name, path, masks in zip(
        ("content mask", "style mask"), result.mask_paths, result.masks, strict=True
    ):
        entries[name] = {"path": path, "sha256": masks.sha256}
    return entries


def _weights(result: Result) -> dict[str, str] | None:
    if result.weights is None:
        return None
    loaded = result.weights
    return {"path": str(loaded.path.absolute()), "sha256": loaded.sha256, "source": loaded.source}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.absolute())
    return list(value) if isinstance(value, tuple) else value


def _typed(value: Any, kind: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and (kind is Path or kind == Path | None):
        return Path(value)
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and value - value != 0 else value
