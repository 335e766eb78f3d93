"""The two ways a run can fail, told apart because the command's exit code tells them apart."""

import difflib
from collections.abc import Iterable


class PhotostyleError(ValueError):
    """Bad input or option (exit code 2).

    One line: which file, what was found, what was expected, what to do.
    """


class ComputationError(RuntimeError):
    """The computation failed on good input: not a number, memory, disk (exit code 1)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has ended: Python's, NumPy's, CUDA's, or that of torch's CPU allocator."""
    # Known by name and text, since torch need not be imported here; its CPU allocator has no exception of its own, and
    # its operators pass on C++'s std::bad_alloc as a RuntimeError.
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or any(text in str(error) for text in ("can't allocate memory", "bad_alloc"))


def one_line(message: object) -> str:
    """Another library's message as part of a line of ours; its type where it says nothing."""
    return " ".join(str(message).split()) or type(message).__name__


def did_you_mean(name: str, known: Iterable[str], hint: str) -> str:
    """The hint with the known name that is most like an unknown one in its place {}; "" where none is like it."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return hint.format(close[0]) if close else ""
