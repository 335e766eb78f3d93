"""Settings as a TOML file that a person can read and edit: `photostyle run --config FILE`.

A setting is a field of Config that names no file. The preset may be among them; the others replace what it says.
"""

from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tomli_w

from photostyle.config import NAMES_FILES, Config
from photostyle.errors import PhotostyleError, did_you_mean, printable, shown
from photostyle.files.atomic import write_bytes_atomically
from photostyle.files.reading import MOST_TEXT, file_bytes, parsed_toml

KINDS = get_type_hints(Config)
PICTURES = ("content", "style", "masks", "start_file")  # what may be in memory
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word in quotes"}


def read_settings(path: Path) -> dict[str, Any]:
    """The settings a TOML file holds, by field name, each of its field's type.

    Raises PhotostyleError where it is no such file, or holds what is no setting or cannot be its value.
    """
    try:
        entries = parsed_toml(path, file_bytes(path, MOST_TEXT))
    except PhotostyleError as error:
        raise PhotostyleError(f"{error}; give a TOML file of settings, lines such as size = 512") from None
    return _checked(entries, path)


def write_settings(path: Path, settings: Mapping[str, Any], comment: str = "") -> None:
    """Write settings, atomically, below a comment of any number of lines; `read_settings` gives back equal ones.

    Raises PhotostyleError for what is no setting, and for None, which TOML cannot say.
    """
    if nothing := [name for name, value in settings.items() if value is None]:
        raise PhotostyleError(f"{path} cannot hold {', '.join(nothing)} = None; leave out what is not set")
    _checked({name: _listed(value) for name, value in settings.items()}, path)
    lines = "".join(f"# {printable(line)}".rstrip() + "\n" for line in comment.splitlines())
    listed = {name: _listed(value) for name, value in settings.items()}
    write_bytes_atomically(path, (lines + tomli_w.dumps(listed)).encode())


def names_file(setting: str) -> bool:
    """Whether a setting names a file, so that it says of what a run is and not how it is made."""
    kind = get_type_hints(Config, include_extras=True)[setting]
    return NAMES_FILES in getattr(kind, "__metadata__", ()) or _holds_a_path(KINDS[setting])


def _holds_a_path(kind: Any) -> bool:
    return kind is Path or any(map(_holds_a_path, get_args(kind)))


def typed(value: Any, kind: Any) -> Any:
    """A JSON or TOML value as a setting of the given type. Raises ValueError where it is of another."""
    origin, options = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return value if type(value) in options else typed(value, options[0])
    if origin is tuple and isinstance(value, list):
        return tuple(typed(entry, options[0]) for entry in value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and type(value) is int:
        return float(value)
    if not (value in options if origin is Literal else type(value) is kind):
        raise ValueError(value)
    return value


def all_typed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as their fields have them, lists as tuples. Raises PhotostyleError for a value of another type."""
    values = {}
    for name, value in settings.items():
        plain = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
        try:
            values[name] = typed(plain, KINDS[name])
        except ValueError as error:
            raise PhotostyleError(f"{name} = {shown(value)}; expected {expected(KINDS[name])}") from error
    return values


def _checked(entries: Mapping[str, Any], path: Path) -> dict[str, Any]:
    settings = {}
    for name, value in entries.items():
        if name not in KINDS:
            hint = did_you_mean(name.replace("-", "_"), KINDS, "did you mean {}? ")
            raise PhotostyleError(
                f"{path} has an unknown setting {shown(name)}; {hint}photostyle run --help lists all"
            )
        if names_file(name):
            raise PhotostyleError(
                f"{path} has {name}, which names a file and is no setting; give --{name.replace('_', '-')} instead"
            )
        try:
            settings[name] = typed(value, KINDS[name])
        except ValueError as error:
            raise PhotostyleError(
                f"{path} has {name} = {shown(value)}; expected {expected(KINDS[name])}"
            ) from error
    return settings


def expected(kind: Any) -> str:
    """What values of a type are, in words."""
    origin, options = get_origin(kind), get_args(kind)
    if kind is Path:
        return "a path"
    if origin is UnionType:
        return expected(options[0])
    if origin is tuple:
        return f"a list, each entry {expected(options[0])}"
    if origin is Literal:
        return f"one of {', '.join(options)}"
    return _WORDS[kind]


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
