"""How what takes long speaks: lines that stay, on a terminal one that replaces the one before; and how many help."""

import os
import shutil
import sys
from collections.abc import Callable

from photostyle.cli.console import line
from photostyle.errors import PhotostyleError

MOST_WORKERS = 8  # processes that read pictures: more wait for the graphics card, or for the disk

Say = Callable[[str], None]


def voices() -> tuple[Say, Say | None]:
    """A function for lines that stay, and one for those that replace each other; None where there is no terminal."""
    return (_say, _show) if sys.stderr.isatty() else (line, None)


def workers_of(asked: int) -> int:
    """Processes that read pictures: as many as asked for; for -1 one a core, MOST_WORKERS at most.

    Raises PhotostyleError for another number.
    """
    if asked < -1:
        raise PhotostyleError(f"--workers is {asked}; give 0 or more, or -1 for one a core")
    return asked if asked >= 0 else min(MOST_WORKERS, os.cpu_count() or 1)


def duration(seconds: float) -> str:
    """For people: "90 s", "5 min"."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _show(text: str) -> None:
    """In place of the line before, no longer than the terminal is wide."""
    print(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}", end="", file=sys.stderr, flush=True)


def _say(text: str) -> None:
    """A line that stays, where one is shown that does not."""
    print("\r\x1b[K", end="", file=sys.stderr)
    line(text)
