"""Where the trials of a study are kept: Optuna's journal file, or any database that it knows."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from photostyle.errors import ComputationError, PhotostyleError

if TYPE_CHECKING:  # imported where it is used: only a search needs it
    import optuna

    from photostyle.search.lock import OwnedLock

Direction = Literal["minimize", "maximize"]


class DamagedJournal(PhotostyleError):
    """A journal file that can be read and makes no study."""


def open_study(name: str, journal: Path, url: str | None, directions: Sequence[Direction]) -> "optuna.Study":
    """The study of this name in a journal file, or where an Optuna URL says. It is begun where there is none.

    directions: of its objectives. Raises DamagedJournal where the file holds something else, PhotostyleError where the
    file or database cannot be opened.
    """
    import optuna
    from optuna.storages import BaseStorage, JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from photostyle.search.lock import OwnedLock

    storage: BaseStorage | str
    try:
        with experimental(), _silent():
            if url is None:
                # An absolute path and this lock: the lock by symbolic link would wait for ever for a relative one.
                path = str(journal.absolute())
                lock = OwnedLock(path)
                _mend(journal, lock)
                storage = JournalStorage(JournalFileBackend(path, lock_obj=lock))
            else:
                storage = url
            return optuna.create_study(
                study_name=name,
                storage=storage,
                directions=directions,
                load_if_exists=True,
            )
    except Exception as error:  # databases and their drivers fail with types of their own
        damaged = url is None and journal.is_file() and not isinstance(error, OSError)
        raise (DamagedJournal if damaged else PhotostyleError)(
            f"{shown(journal, url)} cannot be opened as a study ({_one_line(error)}); check it, or name another"
        ) from error


@contextmanager
def working(where: str) -> Iterator[None]:
    """Turn what a storage raises when it fails (a full disk, a lost connection) into a ComputationError of one line."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with _silent():
            yield
    except (OSError, SQLAlchemyError, StorageInternalError) as error:
        raise ComputationError(
            f"{where} failed ({_one_line(error)}); what was done is kept: the same command goes on"
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Without Optuna's lines about every trial: the terminal belongs to the caller."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def experimental() -> Iterator[None]:
    """Silence Optuna's warnings about parts that may change. Tests hold the parts used here to what they do now."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def shown(journal: Path, url: str | None) -> str:
    """Where a study is kept, as it may be shown and recorded: a URL without its password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    if url is None:
        return str(journal)
    try:
        return f"--storage {make_url(url).render_as_string(hide_password=True)}"
    except (ArgumentError, ValueError):
        return "--storage"


def _mend(journal: Path, lock: "OwnedLock") -> None:
    """Cut off a last line that a full disk left unfinished. Optuna would append to it, and then read neither line."""
    if not journal.is_file():
        return
    lock.acquire()
    try:
        whole = journal.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            os.truncate(journal, end)
    finally:
        lock.release()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).partition("\n")[0].split()) or type(error).__name__
