"""photostyle PHOTO REFERENCE ...: a run whose command is its photographs."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from photostyle.cli.arguments import HELP, named, parse_config
from photostyle.cli.outputs import refuse_foreign_picture
from photostyle.cli.run import execute
from photostyle.errors import PhotostyleError


def run_photographs(arguments: Sequence[str]) -> int:
    """photostyle PHOTO REFERENCE [MORE ...] [options of run]: the run, its picture named after the photographs."""
    photographs, options = split(arguments)
    if HELP & set(options):
        parse_config(options)
    if twice := {"content", "style"} & named(options):
        raise PhotostyleError(
            f"--{min(twice)} is given beside {' '.join(photographs)}; give the photographs one way or the other"
        )
    if "output" not in named(options):
        picture = named_after(photographs)
        refuse_foreign_picture(picture)
        options = [*options, "--output", str(picture)]
    photo, *references = photographs
    return execute(parse_config(["--content", photo, "--style", *references, *options]))


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The photographs, which come first, and the options. Raises PhotostyleError for fewer than two photographs."""
    photographs = list(takewhile(lambda word: not word.startswith("-"), arguments))
    options = list(arguments[len(photographs) :])
    if len(photographs) < 2 and not HELP & set(options):
        raise PhotostyleError(
            f"{' '.join(photographs) or 'this'} alone is too little; give a photo and, after it, the reference that it "
            "takes its colours from: photostyle photo.jpg sunset.jpg"
        )
    return photographs, options


def named_after(photographs: Sequence[str | Path], addition: str = "") -> Path:
    """A PNG in the working folder whose name is those of the photographs, the photo's first."""
    return Path("-".join(Path(each).stem for each in photographs) + addition + ".png")
