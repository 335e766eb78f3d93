"""Standard output and standard error that may fail: closed, full, of an encoding without our signs.

What cannot be said must not cost what was computed. Whoever prints, a library too, prints to these.
"""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast

# What a pipe says whose reader has seen enough (`| head`), on POSIX and, EINVAL, on Windows: that is no failure.
ENOUGH = (errno.EPIPE, errno.ESHUTDOWN, errno.EINVAL)


class Stream(io.TextIOBase):
    """A text stream that never raises. failure: why it could not be written, once it could not."""

    def __init__(self, under: TextIO | None) -> None:
        """under: the process's own; None where it was closed before the process began."""
        super().__init__()
        self.under = under
        self.failure: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Write a text, the signs that the encoding lacks as escapes. Returns its length, written or not."""
        if self.under is not None and self.failure is None:
            try:
                self.under.write(text)
            except UnicodeEncodeError:
                self._write_escaped(text)
            except (OSError, ValueError) as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        if self.under is not None and self.failure is None:
            try:
                self.under.flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    def isatty(self) -> bool:
        try:
            return self.under is not None and self.failure is None and self.under.isatty()
        except ValueError:  # closed
            return False

    def fileno(self) -> int:
        if self.under is None:
            raise io.UnsupportedOperation("there is no such stream")
        return self.under.fileno()

    def close(self) -> None:
        """It is not this one's to close."""

    @property
    def encoding(self) -> Any:  # type: ignore[override]  # read-only, as that of every real stream
        return getattr(self.under, "encoding", None) or "utf-8"

    @property
    def refused(self) -> str:
        """Why it could not be written, where somebody wanted to read it; "" otherwise."""
        if not isinstance(self.failure, OSError) or self.failure.errno in ENOUGH:
            return ""
        return self.failure.strerror or str(self.failure)

    def _write_escaped(self, text: str) -> None:
        assert self.under is not None
        said = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        try:
            self.under.write(said)
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _give_up(self, error: OSError | ValueError) -> None:
        """Write nothing more; what a buffer holds goes nowhere: the interpreter would fail with it at its end."""
        self.failure = error
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, cast(TextIO, self.under).fileno())
            finally:
                os.close(nowhere)


@contextmanager
def forgiving() -> Iterator[tuple[Stream, Stream]]:
    """Standard output and standard error for the time of a command."""
    output, error = Stream(sys.stdout), Stream(sys.stderr)
    with redirect_stdout(output), redirect_stderr(error):
        try:
            yield output, error
        finally:
            output.flush()
            error.flush()
