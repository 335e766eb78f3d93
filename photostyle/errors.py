"""The two ways a run can fail, told apart because the command's exit code tells them apart."""

import difflib
from collections.abc import Iterable

# Known texts of the end of memory, in small letters: ours and CUDA's, of torch, C++, Python's threads, the loader of
# libraries.
NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "can't start new thread",
    "failed to map segment",
)


class PhotostyleError(ValueError):
    """Bad input or option (exit code 2).

    One line, whatever the names in it hold: which file, what was found, what was expected, what to do.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class NotEnoughMemory(PhotostyleError):
    """More memory is needed than is free. size: the largest --size that would fit, None where none does."""

    def __init__(self, message: str, size: int | None = None) -> None:
        super().__init__(message)
        self.size = size


class ComputationError(RuntimeError):
    """The computation failed on good input: not a number, memory, disk (exit code 1)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has ended: Python's, NumPy's, CUDA's, torch's on the CPU, or the loader's."""
    # Known by name and text, since torch need not be imported here; its CPU allocator has no exception of its own, its
    # operators pass on C++'s std::bad_alloc as a RuntimeError, Python says "can't start new thread", and the loader of
    # shared libraries (glibc's dl-load.c) that it "failed to map segment" or "cannot allocate memory".
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if known or says_no_memory(str(error)):
        return True
    # numba's loader of LLVM says only that it failed; what it was handling says why.
    behind = error.__cause__ or error.__context__
    return isinstance(error, ImportError | OSError) and behind is not None and is_out_of_memory(behind)


def says_no_memory(text: str) -> bool:
    """Whether a message is of the end of memory."""
    return any(known in text.lower() for known in NO_MEMORY)


def one_line(message: object) -> str:
    """Another library's message as part of a line of ours; its type where it says nothing."""
    return " ".join(str(message).split()) or type(message).__name__


def shortened(message: object, most: int = 160) -> str:
    """`one_line` of a message or a value that somebody else's file holds, cut where it is longer than a line."""
    try:
        text = one_line(message)
    except (RecursionError, ValueError):  # nested too deeply to be shown, or a number of thousands of digits
        return f"a {type(message).__name__}"
    return text if len(text) <= most else f"{text[:most]} …"


def shown(value: object) -> str:
    """A value of somebody else's file as a line shows it: its repr, shortened."""
    try:
        return shortened(repr(value))
    except (RecursionError, ValueError):
        return f"a {type(value).__name__}"


def printable(text: str) -> str:
    """A line as a terminal may have it: what is not printable, line ends and escapes too, is written as an escape.

    Names of files and regions are somebody else's, and may hold anything.
    """
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "backslashreplace").decode("ascii")
        for each in text
    )


def did_you_mean(name: str, known: Iterable[str], hint: str) -> str:
    """The hint with the known name that is most like an unknown one in its place {}; "" where none is like it."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return hint.format(close[0]) if close else ""
