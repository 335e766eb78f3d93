"""What the commands say to people and to the shell: lines, exit codes, and the refusal to overwrite an input."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from photostyle.errors import ComputationError, PhotostyleError

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Ending:
    """What a program says where it ends early.

    program: its name, before every such line. remedy: after an error of the computation. out_of_memory, interrupted:
    the whole lines; {error} stands for what the error says.
    """

    program: str
    out_of_memory: str
    interrupted: str
    remedy: str = ""


def exit_code(command: Callable[[], int], ending: Ending) -> int:
    """Run a command; what goes wrong becomes one line and an exit code: 1 failed, 2 bad input, 130 interrupted."""
    try:
        return command()
    except PhotostyleError as error:
        return complain(error, BAD_INPUT, ending.program)
    except ComputationError as error:
        return complain(f"{error}{ending.remedy}", FAILED, ending.program)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return complain(ending.out_of_memory.format(error=error), FAILED, ending.program)
    except KeyboardInterrupt:
        return complain(ending.interrupted, INTERRUPTED, ending.program)
    except SystemExit as stop:  # tyro has printed the help
        return int(stop.code or DONE)


def complain(message: object, code: int, program: str = "photostyle") -> int:
    """Say in one line why the command ends; returns the exit code."""
    line(f"{program}: {message}")
    return code


def note(text: str) -> None:
    """Say what was decided for the user."""
    line(f"note: {text}")


def line(text: str) -> None:
    """Write a line to standard error, at once."""
    print(text, file=sys.stderr, flush=True)


def refuse_inputs(written: Iterable[Path], inputs: Iterable[Path | None]) -> None:
    """Raise PhotostyleError where a file to write is one of those that are read, by this or any other name."""
    sources = [path for path in inputs if path is not None and path.exists()]
    sources += [file for folder in sources if folder.is_dir() for file in folder.iterdir()]
    for path in written:
        if path.exists() and any(path.samefile(source) for source in sources if source.exists()):
            raise PhotostyleError(f"{path} is an input and would be overwritten; choose another --output")


def make_folder(folder: Path) -> None:
    """Make a folder where there is none. Raises PhotostyleError for a file there, ComputationError where it fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise PhotostyleError(f"{folder} is a file; expected a folder: choose another --output") from error
    except OSError as error:
        raise ComputationError(
            f"{folder} cannot be made ({error.strerror}): check space and permissions"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    # Known by its name, since torch need not be imported here; torch's CPU allocator has no exception of its own.
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or "can't allocate memory" in str(error)
