"""Who works on a trial or holds a lock, and where trials are kept: what is known of a process, of a broken journal."""

import os
import platform
from pathlib import Path

import optuna
import pytest

from photostyle.errors import ComputationError, PhotostyleError
from photostyle.search.lock import OwnedLock
from photostyle.search.owners import is_gone, this_process
from photostyle.search.storage import Direction, open_study, shown, working

DIRECTIONS: list[Direction] = ["minimize", "maximize"]
NOBODY = 2**30  # a process number above every system's greatest


def test_a_process_is_gone_when_its_machine_says_so():
    assert not is_gone(this_process())
    assert is_gone(this_process() | {"pid": NOBODY})


def test_of_a_process_on_another_machine_nothing_is_known():
    assert not is_gone(this_process() | {"pid": NOBODY, "host": platform.node() + "-2"})
    assert not is_gone({})


def test_a_process_of_another_user_is_there(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not is_gone(this_process())


def test_a_line_that_a_full_disk_left_unfinished_is_cut_off(tmp_path: Path):
    journal = tmp_path / "journal.log"
    open_study("search", journal, None, DIRECTIONS).enqueue_trial({"x": 1.0})
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "stu')
    again = open_study("search", journal, None, DIRECTIONS)
    assert journal.read_bytes().startswith(whole) and b'"stu' not in journal.read_bytes()[len(whole) :][:20]
    assert [trial.state for trial in again.trials] == [optuna.trial.TrialState.WAITING]


def test_nobody_waits_for_the_lock_of_a_process_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lock = OwnedLock(str(tmp_path / "journal.log"))
    with monkeypatch.context() as patch:
        patch.setattr("photostyle.search.lock.this_process", lambda: this_process() | {"pid": NOBODY})
        assert lock.acquire()
    assert [path.name for path in tmp_path.iterdir()] == ["journal.log.lock"], "as Optuna calls it"
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waits"))
    assert lock.acquire()
    lock.release()
    assert not [*tmp_path.iterdir()]


def test_a_study_has_the_two_objectives_and_is_the_same_when_opened_again(tmp_path: Path):
    first = open_study("search", tmp_path / "journal.log", None, DIRECTIONS)
    assert [direction.name for direction in first.directions] == ["MINIMIZE", "MAXIMIZE"]
    first.tell(first.ask(), [1.0, 2.0])
    assert [
        trial.values for trial in open_study("search", tmp_path / "journal.log", None, DIRECTIONS).trials
    ] == [[1.0, 2.0]]


def test_what_is_no_study_is_one_line(tmp_path: Path):
    (tmp_path / "journal.log").write_text("[1, 2\n")
    with pytest.raises(
        PhotostyleError, match=r"journal\.log cannot be opened as a study \(.+\); check it"
    ) as caught:
        open_study("search", tmp_path / "journal.log", None, DIRECTIONS)
    assert "\n" not in str(caught.value)


def test_a_password_is_not_shown():
    assert shown(Path("journal.log"), None) == "journal.log"
    assert shown(Path("journal.log"), "mysql://me:secret@host/db") == "--storage mysql://me:***@host/db"
    assert shown(Path("journal.log"), "no address") == "--storage"


def test_a_full_disk_ends_in_one_line_and_other_errors_are_let_through():
    with pytest.raises(
        ComputationError, match=r"^search failed \(.*No space left.*\); what was done is kept"
    ):
        with working("search"):
            raise OSError(28, "No space left on device")
    with pytest.raises(KeyError), working("search"):
        raise KeyError("a mistake")
