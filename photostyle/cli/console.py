"""What the commands say to people and to the shell: lines, exit codes, and the refusal to overwrite an input."""

import errno
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from photostyle.cli import signals
from photostyle.cli.streams import forgiving
from photostyle.errors import ComputationError, PhotostyleError, is_out_of_memory, one_line, printable
from photostyle.files.reading import path_exists, path_is_dir

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, signals.INTERRUPTED
# What the system refuses whatever the name of the file is.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.EIO}


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


def resumable(program: str, remedy: str = "") -> Ending:
    """The ending of a program that the same command goes on with. remedy: what to do about memory first."""
    return Ending(
        program,
        out_of_memory=f"out of memory ({{error}}){remedy}; the same command goes on",
        interrupted="interrupted; the same command goes on",
        remedy="; the same command goes on",
    )


def exit_code(command: Callable[[], int], ending: Ending) -> int:
    """Run a command; what goes wrong becomes one line and an exit code: 1 failed, 2 bad input, 130 interrupted.

    Where standard output cannot be written, other than by a reader who has seen enough, the command has failed.
    """
    with forgiving() as (output, _):
        code = _ended(command, ending)
        output.flush()
        if output.refused:
            line(f"{ending.program}: standard output cannot be written ({output.refused})")
            code = code or FAILED
    return code


def _ended(command: Callable[[], int], ending: Ending) -> int:
    try:
        with signals.interruptible():
            return command()
    except PhotostyleError as error:
        return complain(error, BAD_INPUT, ending.program)
    except ComputationError as error:
        return complain(f"{error}{ending.remedy}", FAILED, ending.program)
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        if not is_out_of_memory(error):
            if isinstance(error, OSError) and error.strerror is not None:
                return _refused_by_the_system(error, ending.program)
            raise
        if isinstance(error, ImportError):
            return complain(
                "out of memory: the libraries do not fit; raise the limit", FAILED, ending.program
            )
        return complain(ending.out_of_memory.format(error=error), FAILED, ending.program)
    except KeyboardInterrupt as stop:  # with words of its own where a command knows better
        return complain(str(stop) or ending.interrupted, INTERRUPTED, ending.program)
    except SystemExit as stop:  # tyro has printed the help
        return int(stop.code or DONE)


def _refused_by_the_system(error: OSError, program: str) -> int:
    """A line for what no door has caught: a name that cannot be, a folder not to be entered, too many open files."""
    named = error.filename is not None and error.errno not in NO_ROOM
    remedy, code = ("its name and permissions", BAD_INPUT) if named else ("space and limits", FAILED)
    said = error.strerror if error.filename is None else f"{error.filename} cannot be used ({error.strerror})"
    return complain(f"{said}: check {remedy}", code, program)


def complain(message: object, code: int, program: str = "photostyle") -> int:
    """Say in one line why the command ends; returns the exit code."""
    line(f"{program}: {message}")
    return code


def note(text: str) -> None:
    """Say what was decided for the user."""
    line(f"note: {text}")


def line(text: str) -> None:
    """Write a line to standard error, at once, and as a line whatever names of files and regions hold.

    Never raises: in a worker process standard error is none of `streams`, and no line is worth a picture.
    """
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(printable(text), file=sys.stderr, flush=True)


def reason(error: BaseException) -> str:
    """Why something was not done, in one line: what we say ourselves as it is, anything else with its kind."""
    if isinstance(error, PhotostyleError | ComputationError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if is_out_of_memory(error):
        return "out of memory"
    return f"{type(error).__name__}: {one_line(error)}"


def tell(*texts: object) -> None:
    """Print texts to standard output, each on lines of its own, as a terminal may have them: see `printable`."""
    for text in texts:
        print(*(printable(each) for each in str(text).split("\n")), sep="\n")


def spared(what: str, action: Callable[[], None], say: Callable[[str], None] = note) -> None:
    """Do what a finished picture does not depend on: whatever goes wrong costs it alone, and a note."""
    try:
        action()
    except (Exception, KeyboardInterrupt) as error:
        say(f"no {what}: {reason(error)}")


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
