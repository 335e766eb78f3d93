"""A kind of experiment: twice a number that is read from a file, and a picture of it. One run may wait to be killed."""

from pathlib import Path
from typing import Any

from on_workers import killed_once


def runs(settings: dict[str, Any], data: Path) -> dict[str, Any]:
    """A run a number; `watched`, if any, is where each says that it began, and `victim` the one that waits."""
    shared = {name: settings[name] for name in ("watched", "victim") if name in settings}
    return {f"run {number}": {"number": number, **shared} for number in settings["numbers"]}


def inputs(parameters: dict[str, Any]) -> list[str]:
    """The number is in a file."""
    return [f"numbers/{parameters['number']}.txt"]


def execute(parameters: dict[str, Any], data: Path, folder: Path) -> dict[str, Any]:
    """Read it, draw it, say what is there to be seen."""
    if "watched" in parameters:
        killed_once(Path(parameters["watched"]), parameters["number"], parameters.get("victim", -1))
    number = int((data / f"numbers/{parameters['number']}.txt").read_text())
    (folder / f"pictures {number}").mkdir()
    (folder / f"pictures {number}" / "picture.bin").write_bytes(bytes(number))
    return {"twice": 2 * number, "seen": sorted(path.name for path in data.rglob("*.txt"))}


def summarise(settings: dict[str, Any], records: dict[str, Any]) -> dict[str, Any]:
    """Their sum."""
    return {"sum": sum(record["figures"]["twice"] for record in records.values())}


def tables(figures: dict[str, Any]) -> str:
    """In words."""
    return f"The sum is {figures['sum']}."
