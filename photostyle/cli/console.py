"""What the commands say to people and to the shell: lines, exit codes, and the refusal to overwrite an input."""

import errno
import io
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from photostyle.errors import ComputationError, PhotostyleError, printable
from photostyle.files.reading import path_exists, path_is_dir

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
CLOSED = 141  # 128 + SIGPIPE: how programs end that write to a reader who has gone


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
        code = command()
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except PhotostyleError as error:
        return complain(error, BAD_INPUT, ending.program)
    except ComputationError as error:
        return complain(f"{error}{ending.remedy}", FAILED, ending.program)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return complain(ending.out_of_memory.format(error=error), FAILED, ending.program)
    except BrokenPipeError:  # who reads has enough: photostyle score … | head
        _forget_output()
        return CLOSED
    except OSError as error:
        # Of what is read and written each has a line of its own: this is the output's own, or nobody knows it.
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF) or error.filename is not None:
            raise
        _forget_output()
        return complain(f"the output cannot be written ({error.strerror})", FAILED, ending.program)
    except KeyboardInterrupt:
        return complain(ending.interrupted, INTERRUPTED, ending.program)
    except SystemExit as stop:  # tyro has printed the help
        return int(stop.code or DONE)


def write_anywhere() -> None:
    """Let standard output and error take every text: what their encoding lacks is written as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """What is left in the buffer of standard output goes nowhere, or the process would complain of it at its end."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: object, code: int, program: str = "photostyle") -> int:
    """Say in one line why the command ends; returns the exit code."""
    line(f"{program}: {message}")
    return code


def note(text: str) -> None:
    """Say what was decided for the user."""
    line(f"note: {text}")


def line(text: str) -> None:
    """Write a line to standard error, at once, and as a line whatever names of files and regions hold."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # a full disk, a closed pipe: no line is worth a picture
            print(printable(text), file=sys.stderr, flush=True)


def refuse_inputs(written: Iterable[Path], inputs: Iterable[Path | None]) -> None:
    """Raise PhotostyleError where a file to write is one of those that are read, by this or any other name."""
    sources = [path for path in inputs if path is not None and path_exists(path)]
    sources += [file for folder in sources if path_is_dir(folder) for file in _listed(folder)]
    for path in written:
        if path_exists(path) and any(path.samefile(source) for source in sources if path_exists(source)):
            raise PhotostyleError(f"{path} is an input and would be overwritten; choose another --output")


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise PhotostyleError(f"{folder} cannot be read ({error.strerror}): check its permissions") from None


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
