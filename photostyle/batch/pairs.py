"""A CSV of pairs: a photograph and its reference in every row, and whatever else that one run is to have."""

import csv
import io
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_origin

from photostyle.config import MASK_WORDS
from photostyle.errors import PhotostyleError, did_you_mean, one_line, shown
from photostyle.files.images import SUFFIXES
from photostyle.files.reading import MOST_RECORD, file_bytes, path_exists, path_is_dir, text_of
from photostyle.settings import KINDS, names_file

DELIMITERS = ",;\t"  # what spreadsheets write; the one that comes first in the head is meant
SEVERAL = "|"  # between the paths of a cell, since names hold spaces
YES, NO = ("true", "yes", "1"), ("false", "no", "0")
# Of the batch, not of one picture.
NOT_OF_A_ROW = (
    "animate",
    "show",
    "threads",
    "quiet",
    "first_picture",
    "resume",
    "device",
    "deterministic",
    "download",
)


@dataclass(frozen=True)
class Row:
    """One pair. where: "FILE, line N"; style: empty where the row names none; options: by the names of run's settings,
    each with its words; output: the result's name as given, None where it is not."""

    where: str
    content: Path
    style: tuple[Path, ...]
    options: dict[str, tuple[str, ...]]
    output: str | None


def read_pairs(path: Path, outside: bool = False) -> list[Row]:
    """The rows of a CSV with columns content, style, masks, output and any setting of run; empty cells say nothing.

    Paths are relative to the CSV; several in a cell have a | between them. outside: whether they may lie outside its
    folder, which somebody else's file must not ask for by itself.
    Raises PhotostyleError, with the line, for anything else.
    """
    try:
        text = text_of(file_bytes(path, MOST_RECORD))
    except UnicodeDecodeError as error:
        raise PhotostyleError(f"{path} is no UTF-8 text ({one_line(error)}): save it as CSV UTF-8") from None
    head = text.partition("\n")[0]
    delimiter = min(DELIMITERS, key=lambda each: head.find(each) % (len(head) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = _columns(path, next(reader, []))
        rows = list(_rows(path, reader, columns, outside))
    except csv.Error as error:
        raise PhotostyleError(
            f"{path}, line {reader.line_num}: no CSV ({one_line(error)}): correct it"
        ) from None
    if not rows:
        raise PhotostyleError(f"{path} holds no pair; give a row below its head for each: content,style")
    return rows


def _columns(path: Path, head: list[str]) -> list[str]:
    columns = [name.strip().lower().replace("-", "_").replace(" ", "_") for name in head]
    known = [name for name in KINDS if name not in NOT_OF_A_ROW]
    for name in columns:
        if name not in known:
            hint = did_you_mean(name, known, "did you mean {}? ")
            raise PhotostyleError(
                f"{path}, line 1: no column {shown(name)}; {hint}there are content, style, masks, output and settings "
                "of photostyle run"
            )
    if twice := [name for name in columns if columns.count(name) > 1]:
        raise PhotostyleError(f"{path}, line 1: {twice[0]} stands there twice; leave one out")
    if "content" not in columns:
        raise PhotostyleError(
            f"{path}, line 1: no column content; the first line names the columns: content,style"
        )
    return columns


def _rows(path: Path, reader: Iterator[list[str]], columns: list[str], outside: bool) -> Iterator[Row]:
    for cells in reader:
        where = f"{path}, line {reader.line_num}"  # type: ignore[attr-defined]
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(columns):
            raise PhotostyleError(
                f"{where}: {len(cells)} cells under {len(columns)} columns; put what holds a separator in quotes"
            )
        given = {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if cell.strip()}
        yield _row(where, path.parent, given, outside)


def _row(where: str, folder: Path, given: Mapping[str, str], outside: bool) -> Row:
    if "content" not in given:
        raise PhotostyleError(f"{where}: content is empty; name a photograph")
    files = {
        name: tuple(_file(where, name, word.strip(), folder, outside) for word in _paths(name, cell))
        for name, cell in given.items()
        if name != "output" and names_file(name)
    }
    options = {
        name: files[name] if name in files else _words(where, name, cell)
        for name, cell in given.items()
        if name not in ("content", "style", "output")
    }
    (content,) = files["content"]
    style = tuple(map(Path, files.get("style", ())))
    return Row(where, Path(content), style, options, _output(where, given.get("output")))


def _paths(name: str, cell: str) -> list[str]:
    return cell.split(SEVERAL) if get_origin(KINDS[name]) is tuple else [cell]


def _file(where: str, name: str, word: str, folder: Path, outside: bool) -> str:
    if name == "masks" and word in MASK_WORDS:
        return word
    path = folder / word
    if not path_exists(path) or (
        name != "masks" and path_is_dir(path)
    ):  # first: it takes any bytes for a name
        raise PhotostyleError(f"{where}: {name} {path} does not exist: paths are relative to the file")
    if not outside and not path.resolve().is_relative_to(folder.resolve()):
        raise PhotostyleError(
            f"{where}: {name} {word} lies outside the folder of the file; add --outside where you trust it"
        )
    return str(path)


def _words(where: str, name: str, cell: str) -> tuple[str, ...]:
    """A cell as words of a command line, behind the option's name."""
    if KINDS[name] is bool:
        if cell.lower() not in YES + NO:
            raise PhotostyleError(f"{where}: {name} is {shown(cell)}; expected true or false")
        return ("true" if cell.lower() in YES else "false",)
    try:
        words = tuple(shlex.split(cell)) if get_origin(KINDS[name]) is tuple else (cell,)
    except ValueError as error:
        raise PhotostyleError(f"{where}: {name} is {shown(cell)} ({one_line(error)}): correct it") from None
    if option := next((word for word in words if word.startswith("-")), None):
        raise PhotostyleError(f"{where}: {name} is {shown(option)}, which begins like an option: correct it")
    return words


def _output(where: str, name: str | None) -> str | None:
    """A bare name: whatever a file says, results stay in the folder that the command names."""
    if name is None:
        return None
    if Path(name).name != name or "\\" in name or Path(name).suffix.lower() not in SUFFIXES:
        raise PhotostyleError(
            f"{where}: output is {shown(name)}; expected a name in --output without folders, ending in one of "
            f"{' '.join(SUFFIXES)}"
        )
    return name
