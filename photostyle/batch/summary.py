"""The record of a batch, DIR/batch.json: which pictures, what became of each, and what they have in common."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from photostyle.batch.look import Look
from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import config_to_json, made_by, read_record, write_record
from photostyle.files.arrays import path_of
from photostyle.files.reading import path_exists

COMMAND = "batch"
NAME = "batch.json"
State = Literal["made", "kept", "failed", "not begun"]


@dataclass
class Job:
    """One picture of a batch. why: it is to be made; "" where the one that is there is kept."""

    config: Config
    why: str = ""
    state: State = "not begun"
    failure: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def output(self) -> Path:
        return self.config.output

    @property
    def title(self) -> str:
        """The photograph, and what it takes after, by their names."""
        styles = " + ".join(path_of(each).name for each in self.config.style)
        return f"{path_of(self.config.content).name} after {styles}"


def write_summary(
    folder: Path,
    ended: str,
    jobs: Sequence[Job],
    look: Look | None,
    seconds: float,
    environment: dict[str, Any],
) -> None:
    """Write it, atomically. ended: "running", "done", "failed" or "interrupted"."""
    entries: dict[str, Any] = {
        "photostyle": made_by(COMMAND),
        "ended": ended,
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "environment": environment,
        "look": None if look is None else vars(look),
        "seconds": seconds,
        "pictures": [_entry(job) for job in jobs],
    }
    write_record(folder / NAME, entries)


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The summary that a folder holds, None where it holds none. Raises PhotostyleError for another file there."""
    path = folder / NAME
    if not path_exists(path):
        return None
    try:
        record = read_record(path, COMMAND)
        for each in record["pictures"]:
            str(each["output"]), str(each["state"])
    except (PhotostyleError, KeyError, TypeError) as error:
        said = str(error) if isinstance(error, PhotostyleError) else f"{path} is no whole record of a batch"
        raise PhotostyleError(f"{said}; choose another --output") from None
    return record


def outputs_of(summary: dict[str, Any] | None) -> set[str]:
    """The names of the pictures that a batch made into its folder."""
    pictures = summary["pictures"] if summary else []
    return {each["output"] for each in pictures if each["state"] in ("made", "kept")}


def look_of(summary: dict[str, Any] | None, of: str) -> Look | None:
    """The look of a summary where it follows from the same; None else."""
    entries = summary.get("look") if summary else None
    if not isinstance(entries, dict) or entries.get("of") != of:
        return None
    try:
        return Look(of, *(dict(entries[name]) for name in ("maps", "boldness", "strength")))
    except (KeyError, TypeError, ValueError):
        return None


def _entry(job: Job) -> dict[str, Any]:
    config = config_to_json(job.config)
    return {
        "content": config["content"],
        "style": config["style"],
        "output": job.output.name,
        "state": job.state,
        "why": job.why,
        "failure": job.failure,
        "seconds": job.seconds,
        "notes": list(job.notes),
    }
