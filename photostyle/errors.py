"""The two ways a run can fail, told apart because the command's exit code tells them apart."""

import difflib
from collections.abc import Iterable


class PhotostyleError(ValueError):
    """Bad input or option (exit code 2).

    One line: which file, what was found, what was expected, what to do.
    """


class ComputationError(RuntimeError):
    """The computation failed on good input: not a number, memory, disk (exit code 1)."""


def one_line(message: object) -> str:
    """Another library's message as part of a line of ours; its type where it says nothing."""
    return " ".join(str(message).split()) or type(message).__name__


def did_you_mean(name: str, known: Iterable[str], hint: str) -> str:
    """The hint with the known name that is most like an unknown one in its place {}; "" where none is like it."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return hint.format(close[0]) if close else ""
