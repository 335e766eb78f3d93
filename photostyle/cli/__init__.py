"""The command line: it alone prints, chooses file names and ends a process."""

import sys
from collections.abc import Sequence

from photostyle.cli.signals import nothing_begun
from photostyle.process import let_threads_sleep


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, given or from the process's arguments; returns the exit code, see `program.main`."""
    let_threads_sleep()
    with nothing_begun():
        from photostyle.cli import program  # imports torch

    return program.main(arguments)


def script(command: str) -> None:
    """Entry of the thin scripts: run one command with the process's arguments and exit."""
    sys.exit(main([command, *sys.argv[1:]]))
