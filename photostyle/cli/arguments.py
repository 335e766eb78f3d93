"""Arguments to dataclasses: tyro parses, a preset gives the defaults, and what is wrong is one line."""

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from photostyle.config import Config
from photostyle.errors import PhotostyleError, did_you_mean
from photostyle.presets import PRESETS, resolve_preset, with_iterations
from photostyle.settings import read_settings

Options = TypeVar("Options")

HELP = {"-h", "--help"}
LISTS = {  # and what to do where one is empty
    "--iterations": "has no numbers; give one for each stage, or leave it out",
    "--protect": "names nothing; give skin, names of regions, or none",
    "--region-strength": "names no region; give NAME=STRENGTH, and leave out the # of a colour, which begins a comment "
    "in a shell: 0000ff=0.5",
    "--style": "names no file; name one reference photograph or more",
    "--style-weights": "has no numbers; give one for each reference, or leave it out",
}
SETTINGS_HELP = (
    "A photo and a reference become a photorealistic result. --config FILE: a TOML file of settings that replace what "
    "the preset says; options given beside it replace what the file says."
)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class _Options(Config):
    """The configuration as tyro reads it: from a command line every input is a file."""

    content: Path
    style: tuple[Path, ...]
    masks: tuple[str, ...] = ("none",)
    weights: Path | None = None
    start_file: Path | None = None
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Config.output


def parse(
    kind: type[Options],
    arguments: Sequence[str],
    program: str,
    default: Any = None,
    description: str | None = None,
) -> Options:
    """The arguments as an instance of a dataclass; default holds other defaults than the dataclass's own.

    description: what --help says above the options; the dataclass's docstring where it is None.

    Raises PhotostyleError, one line, where they cannot be parsed, and SystemExit after --help.
    """
    _refuse_unknown_options(kind, arguments, program)
    said = io.StringIO()
    settled = {} if default is None else {"default": default}
    try:
        with redirect_stderr(said):
            options: Options = tyro.cli(
                kind, args=list(arguments), prog=program, description=description, **settled
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise PhotostyleError(f"{_gist(said.getvalue())}; {program} --help explains the options") from None
    return options


def parse_config(arguments: Sequence[str], program: str = "photostyle run") -> Config:
    """The command line as a configuration: the preset first, then a file of settings, then every option given."""
    refuse_half_said(arguments)
    file, arguments = _settings_file(arguments)
    settings = read_settings(file) if file else {}
    if HELP & set(arguments):
        _explain(arguments, program, settings)
    _refuse_unknown_options(_Options, arguments, program)
    _refuse_missing(arguments, program)
    default = _Options(content=tyro.MISSING, style=tyro.MISSING, **settings)
    options = parse(_Options, arguments, program, default, SETTINGS_HELP)
    preset = resolve_preset(options.preset, options.weights, options.encoder, options.download)
    given = {name: getattr(options, name) for name in named(arguments)}
    inputs = {"content": options.content, "style": options.style, "preset": preset}
    return with_iterations(Config(**_defaults(preset, settings) | given | inputs))


def _defaults(preset: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is so where the command line says nothing else.

    The library makes no masks (it does not know the segmenters), the command line does where none are given.
    """
    return {"masks": ("auto",)} | PRESETS.get(preset, {}) | dict(settings)


def named(arguments: Sequence[str]) -> set[str]:
    """The fields of Config that the options set."""
    words = {"output" if word.partition("=")[0] == "-o" else _field(word) for word in arguments}
    names = {field.name for field in fields(Config)}
    return words & names | {word.removeprefix("no_") for word in words if word.startswith("no_")} & names


def _field(word: str) -> str:
    return word.partition("=")[0].removeprefix("--").replace("-", "_") if word.startswith("--") else ""


def _explain(arguments: Sequence[str], program: str, settings: Mapping[str, Any]) -> None:
    """Show the options with the defaults of the preset that is named beside --help; raises SystemExit."""
    rest = [argument for argument in arguments if argument not in HELP]
    preset = parse(_Options, rest, program, _Options(content=Path(), style=(Path(),), **settings)).preset
    default = _Options(
        content=tyro.MISSING, style=tyro.MISSING, **_defaults(preset, settings) | {"preset": preset}
    )
    parse(_Options, arguments, program, default, SETTINGS_HELP)


def refuse_half_said(arguments: Sequence[str]) -> None:
    """Raise PhotostyleError: tyro takes an empty list for an answer, and of two the last; neither was meant by these.

    Of --iterations the last holds, as of every number: a script's own options come after those it wraps.
    """
    options = [word.partition("=")[0].replace("_", "-") for word in arguments]
    for option in LISTS.keys() - {"--iterations"}:
        if options.count(option) > 1:
            raise PhotostyleError(
                f"{option} is given {options.count(option)} times; give it once, with all values"
            )
    for word, option, after in zip(arguments, options, [*arguments[1:], "--"][: len(options)], strict=True):
        if option in LISTS and "=" not in word and after.startswith(("--", "-o")):
            raise PhotostyleError(f"{option} {LISTS[option]}")


def _settings_file(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The file that --config names, and the arguments without it: it is no field of Config, it gives their defaults."""
    files, rest, words = list[str](), list[str](), iter(arguments)
    for word in words:
        if word == "--config":
            files.append(next(words, ""))
        elif word.startswith("--config="):
            files.append(word.partition("=")[2])
        else:
            rest.append(word)
    if any(not file or file.startswith("-") for file in files):
        raise PhotostyleError("--config needs a file of settings; give --config FILE")
    if len(files) > 1:
        raise PhotostyleError(f"--config is given {len(files)} times; give it once")
    return (Path(files[0]) if files else None), rest


def _refuse_missing(arguments: Sequence[str], program: str) -> None:
    """Without a photo or a reference there is nothing to do: say so with an example of both."""
    missing = [f"--{name}" for name in ("content", "style") if name not in named(arguments)]
    if missing:
        raise PhotostyleError(
            f"{program} needs {' and '.join(missing)}, as in {program} --content photo.jpg --style sunset.jpg; "
            f"{program} --help explains the options"
        )


def _refuse_unknown_options(kind: type, arguments: Sequence[str], program: str) -> None:
    """tyro reports a required option before a misspelt one, though the second is why the first is missing."""
    names = [f"--{field.name.replace('_', '-')}" for field in fields(kind)]
    if kind is _Options:
        names.append("--config")
    known = {*HELP, *names, *(f"--no-{name[2:]}" for name in names)}
    for argument in arguments:
        option = argument.partition("=")[0].replace("_", "-")
        # "--" alone ends the options; those of tyro itself write shell completions.
        if option.startswith("--") and option not in known and not option.startswith(("--tyro-", "---")):
            if option == "--":
                continue
            hint = did_you_mean(option, names, "did you mean {}? ")
            raise PhotostyleError(f"unknown option {option}; {hint}{program} --help lists all")


def _gist(box: str) -> str:
    """What tyro says in its box, below the title and above the next rule, as one line."""
    said: list[str] = []
    for row in _ANSI.sub("", box).splitlines()[1:]:
        text = row.strip("│╰╯ ")
        if text.strip("─-"):
            said.append(text)
        elif said:
            break
    return " ".join(" ".join(said).split()).removesuffix(".")
