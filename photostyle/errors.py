"""The two ways a run can fail, told apart because the command's exit code tells them apart."""


class PhotostyleError(ValueError):
    """Bad input or option (exit code 2).

    One line: which file, what was found, what was expected, what to do.
    """


class ComputationError(RuntimeError):
    """The computation failed on good input: not a number, memory, disk (exit code 1)."""


def one_line(message: object) -> str:
    """Another library's message as part of a line of ours; its type where it says nothing."""
    return " ".join(str(message).split()) or type(message).__name__
