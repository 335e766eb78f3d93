"""What a run has written so far, and what is said of it where the run ends early."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from photostyle.cli.first import FirstPicture
from photostyle.cli.signals import release
from photostyle.config import Config
from photostyle.errors import ComputationError, PhotostyleError, is_out_of_memory
from photostyle.files.reading import path_exists


class Written:
    """What a run has written so far: its first picture, its masks, unfinished pictures, its picture.

    picture: what the output is where it is more than the first picture, "" before.
    """

    def __init__(self) -> None:
        self.first: FirstPicture | None = None
        self.others: list[Path] = []
        self.picture = ""

    @property
    def output(self) -> str:
        """What the output is; "" where nothing was written to it."""
        first = self.first is not None and self.first.written
        return self.picture or ("the first picture" if first else "")

    def said(self, output: Path) -> str:
        """What there is where a run ends early."""
        there = path_exists(output)
        if self.output:
            return f"; {output} is {self.output}" if there else f"; {output} was written and is gone"
        if others := [str(each) for each in self.others if path_exists(each)]:
            return f" before there was a picture; {', '.join(others)} was written"
        before = f"; {output} is of an earlier run" if there else ""
        return f" before there was a picture; nothing was written{before}"


@contextmanager
def early_end(config: Config, written: Written) -> Iterator[Written]:
    """Say what is there where a run ends early, also by a signal that waited for a picture which then failed."""
    try:
        try:
            yield written
        except Exception:
            if release():
                raise KeyboardInterrupt from None
            raise
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"interrupted{written.said(config.output)}") from stop
    except (PhotostyleError, ComputationError) as error:
        if not written.output:
            raise
        raise type(error)(f"{error}{written.said(config.output)}") from error
    except (MemoryError, RuntimeError) as error:
        if not written.output or not is_out_of_memory(error):
            raise
        raise ComputationError(
            f"out of memory; use a smaller --size, or a smaller photo{written.said(config.output)}"
        ) from error
