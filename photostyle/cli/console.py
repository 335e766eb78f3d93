"""What the commands say to people and to the shell: lines, exit codes, and the refusal to overwrite an input."""

import sys
from collections.abc import Iterable
from pathlib import Path

from photostyle.errors import ComputationError, PhotostyleError

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def complain(message: object, code: int) -> int:
    """Say in one line why the command ends; returns the exit code."""
    line(f"photostyle: {message}")
    return code


def note(text: str) -> None:
    """Say what was decided for the user."""
    line(f"note: {text}")


def line(text: str) -> None:
    """A line beside the output proper, at once."""
    print(text, file=sys.stderr, flush=True)


def refuse_inputs(written: Iterable[Path], inputs: Iterable[Path | None]) -> None:
    """Raise PhotostyleError where a file to write is one that is read, by this or any other name."""
    sources = [path for path in inputs if path is not None and path.exists()]
    sources += [file for folder in sources if folder.is_dir() for file in folder.iterdir()]
    for path in written:
        if path.exists() and any(path.samefile(source) for source in sources if source.exists()):
            raise PhotostyleError(f"{path} is an input and would be overwritten; choose another --output")


def make_folder(folder: Path) -> None:
    """Make a folder where there is none. Raises PhotostyleError for a file there, ComputationError for the disk."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise PhotostyleError(f"{folder} is a file; expected a folder: choose another --output") from error
    except OSError as error:
        raise ComputationError(
            f"{folder} cannot be made ({error.strerror}): check space and permissions"
        ) from error
