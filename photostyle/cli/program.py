"""The command line: names a command, runs it, turns what went wrong into one line and an exit code.

The commands are in the modules command_*; they and `console` alone print and choose file names.
"""

import sys
from collections.abc import Callable, Sequence

import torch

from photostyle.cli.console import BAD_INPUT, DONE, FAILED, INTERRUPTED, complain
from photostyle.cli.masks import segment, show_masks
from photostyle.cli.run import rerun, run
from photostyle.cli.score import show_scores
from photostyle.cli.search import search
from photostyle.errors import ComputationError, PhotostyleError
from photostyle.version import __version__

USAGE = f"""photostyle {__version__}: photorealistic style transfer

  photostyle run --content PHOTO --style REFERENCE [MORE ...] [--masks CONTENT_MASK STYLE_MASK ...] [--output OUT]
  photostyle segment PHOTO [MORE ...] [-o MASKS]                                 masks from photographs
  photostyle search --content PHOTO --style REFERENCE [--trials 50] [-o DIR]     settings for two photographs
  photostyle masks CONTENT_MASK STYLE_MASK [--content PHOTO --style REFERENCE]   regions, pairing, overlay
  photostyle score OUT.png                                                       metrics of a result
  photostyle rerun OUT.json                                                      the same bytes again

photostyle COMMAND --help explains every option."""

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "run": run,
    "segment": segment,
    "search": search,
    "masks": show_masks,
    "score": show_scores,
    "rerun": rerun,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(USAGE)
        return DONE
    if name == "--version":
        print(__version__)
        return DONE
    try:
        if name not in COMMANDS:
            raise PhotostyleError(f'no command "{name}"; there are: {", ".join(COMMANDS)}')
        return COMMANDS[name](rest)
    except PhotostyleError as error:
        return complain(error, BAD_INPUT)
    except ComputationError as error:
        return complain(error, FAILED)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return complain("out of memory; use a smaller --size, or a smaller photo", FAILED)
    except KeyboardInterrupt:
        return complain("interrupted before there was a picture; nothing was written", INTERRUPTED)
    except SystemExit as stop:  # tyro has printed the help
        return int(stop.code or DONE)


def script(command: str) -> None:
    """Entry of the thin scripts: run one command with the process's arguments and exit."""
    sys.exit(main([command, *sys.argv[1:]]))


def _is_out_of_memory(error: Exception) -> bool:
    # torch's CPU allocator has no exception of its own.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
