"""The command line: names a command, runs it, turns what went wrong into one line and an exit code.

Each command is a module beside this one.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from photostyle.cli.console import BAD_INPUT, DONE, Ending, complain, exit_code
from photostyle.cli.signals import nothing_begun
from photostyle.errors import ComputationError, PhotostyleError, is_out_of_memory, shortened
from photostyle.files.reading import path_exists
from photostyle.process import check_limits
from photostyle.version import __version__

USAGE = f"""photostyle {__version__}: photorealistic style transfer

  photostyle PHOTO REFERENCE [MORE ...] [options of run]                         the photo in the reference's colours
  photostyle batch PHOTOS ... --style REFERENCE -o DIR [options of run]          many photos, or a CSV of pairs
  photostyle try PHOTO REFERENCE [MORE ...] [-o SHEET]                           six ways to do it, side by side
  photostyle adjust OUT.json [--strength 0.5 ...]                                less of it, without a new solve
  photostyle run --content PHOTO --style REFERENCE [MORE ...] [--masks CONTENT_MASK STYLE_MASK ...] [--output OUT]
  photostyle segment PHOTO [MORE ...] [-o MASKS]                                 masks from photographs
  photostyle search --content PHOTO --style REFERENCE [--trials 50] [-o DIR]     settings for two photographs
  photostyle stylise PHOTO --style PICTURE [MORE ...] [--photorealistic]         by a trained network, in one pass
  photostyle masks CONTENT_MASK STYLE_MASK [--content PHOTO --style REFERENCE]   regions, pairing, overlay
  photostyle score OUT.png                                                       metrics of a result
  photostyle recognise OUT.png | PICTURE [MORE ...] [-o OUT-recognised.json]     what a network sees in pictures
  photostyle rerun OUT.json                                                      the same bytes again

photostyle COMMAND --help explains every option."""

# Each command's module and function, imported when it is called for: a help text does not wait for torch.
COMMANDS = {
    "run": ("photostyle.cli.run", "run"),
    "batch": ("photostyle.cli.batch", "batch"),
    "try": ("photostyle.cli.candidates", "try_candidates"),
    "adjust": ("photostyle.cli.adjust", "adjust"),
    "segment": ("photostyle.cli.masks", "segment"),
    "search": ("photostyle.cli.search", "search"),
    "stylise": ("photostyle.cli.stylise", "stylise_photo"),
    "masks": ("photostyle.cli.masks", "show_masks"),
    "score": ("photostyle.cli.score", "show_scores"),
    "recognise": ("photostyle.cli.recognise", "recognise_pictures"),
    "rerun": ("photostyle.cli.rerun", "rerun"),
}

# What is run where no command is named but photographs are.
PHOTOGRAPHS = ("photostyle.cli.photographs", "run_photographs")
NOTHING = (
    "no photographs; give a photo and the reference that it takes its colours from: photostyle photo.jpg sunset.jpg "
    "(photostyle --help lists the commands)"
)

ENDING = Ending(
    "photostyle",
    out_of_memory="out of memory; use a smaller --size, or a smaller photo",
    interrupted="interrupted; every file that was there is whole",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return exit_code(lambda: _main(words), ENDING)


def _main(words: Sequence[str]) -> int:
    if not words:
        return complain(NOTHING, BAD_INPUT)
    name, *rest = words
    if name in ("-h", "--help"):
        print(USAGE)
        return DONE
    if name == "--version":
        print(__version__)
        return DONE
    if name not in COMMANDS and _may_be_a_file(name):
        return _imported(*PHOTOGRAPHS)(words)
    return _command(name)(rest)


def _may_be_a_file(word: str) -> bool:
    return not word.startswith("-") and (Path(word).suffix != "" or path_exists(Path(word)))


def _command(name: str) -> Callable[[Sequence[str]], int]:
    if name.startswith("-"):
        raise PhotostyleError(
            f"{name} comes before any photograph or command; begin with them: photostyle photo.jpg sunset.jpg {name}"
        )
    if name not in COMMANDS:
        raise PhotostyleError(f'no command "{name}"; there are: {", ".join(COMMANDS)}')
    return _imported(*COMMANDS[name])


@contextmanager
def _libraries() -> Iterator[None]:
    """What a library raises while it is imported, of an environment variable that it does not understand, is a line."""
    try:
        yield
    except (PhotostyleError, ImportError, MemoryError, OSError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ComputationError(
            f"a library cannot be loaded ({type(error).__name__}: {shortened(error)}): check the environment "
            "variables that are meant for it, and its installation"
        ) from error


def _imported(module: str, function: str) -> Callable[[Sequence[str]], int]:
    try:
        Path.cwd()
    except OSError as error:  # a library would end the process for it, in words of its own
        raise PhotostyleError(f"the working folder is gone ({error.strerror}); change into another") from None
    with nothing_begun(), _libraries():
        command: Callable[[Sequence[str]], int] = getattr(import_module(module), function)
    check_limits()
    return command
