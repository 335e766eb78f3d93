"""A file is written whole or not at all, whatever fails."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from photostyle.errors import ComputationError
from photostyle.files.atomic import temporary_folder, write_bytes_atomically, write_together


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_disk_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    (tmp_path / "a.bin").write_bytes(b"old")
    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fail)
    expected = ComputationError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        write_bytes_atomically(tmp_path / "a.bin", b"new")
    if isinstance(error, OSError):
        assert "a.bin cannot be written (No space left on device)" in str(caught.value)
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_file_is_written_whole_with_the_user_s_permissions(tmp_path: Path) -> None:
    (tmp_path / "real.bin").write_bytes(b"old")
    (tmp_path / "link.bin").symlink_to(tmp_path / "real.bin")
    digest = write_bytes_atomically(tmp_path / "link.bin", b"new")
    assert digest == hashlib.sha256(b"new").hexdigest()
    assert (tmp_path / "link.bin").is_symlink() and (tmp_path / "real.bin").read_bytes() == b"new"
    (tmp_path / "plain.bin").write_bytes(b"")
    modes = [(tmp_path / name).stat().st_mode for name in ("plain.bin", "real.bin")]
    assert modes[0] == modes[1]


def test_a_full_disk_shows_before_any_of_several_files_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []

    def fail(descriptor: int) -> None:
        flushed.append(descriptor)
        if len(flushed) == 2:
            raise OSError(28, "No space left on device")

    first, second = tmp_path / "a.json", tmp_path / "a.png"
    first.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ComputationError, match=r"a\.json cannot be written"):
        write_together({first: b"new", second: b"picture"})
    assert first.read_bytes() == b"old" and names(tmp_path) == ["a.json"]


def test_files_are_put_in_place_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put: list[str] = []
    real = Path.replace

    def watched(self: Path, target: Path) -> Path:
        put.append(target.name)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    assert write_together({tmp_path / "a.json": b"1", tmp_path / "b": b"2", tmp_path / "a.png": b"3"})
    assert put == ["a.json", "b", "a.png"]


def test_what_is_not_provided_for_is_not_put_in_place(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"old")
    assert not write_together({tmp_path / "a.json": b"new"}, lambda: False)
    assert (tmp_path / "a.json").read_bytes() == b"old" and names(tmp_path) == ["a.json"]


WRITER = """
import os, sys, time
from pathlib import Path
from photostyle.files.atomic import write_together
real = Path.replace
def stopped(self, target):
    if target.name == sys.argv[1]:
        print("here", flush=True)
        time.sleep(600)
    return real(self, target)
Path.replace = stopped
write_together({Path("a.json"): b"new", Path("a.png"): b"picture"})
"""


@pytest.mark.parametrize("moment", ["a.json", "a.png"])
def test_what_a_killed_process_was_writing_the_next_one_removes(
    tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not before: while it lives its files are its own. A file of another name is nobody's to remove."""
    monkeypatch.setattr("photostyle.files.atomic.PATIENCE", 0.0)  # it stands in the middle of its renames
    (tmp_path / ".photostyle.tmp").write_bytes(b"another's")
    (tmp_path / "a.json").write_bytes(b"old")
    command = [sys.executable, "-c", WRITER, moment]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"here\n"
            beside = [name for name in names(tmp_path) if name.startswith(".photostyle-")]
            write_bytes_atomically(tmp_path / "b", b"")
            assert len(beside) == (2 if moment == "a.json" else 1) and {*beside} <= {*names(tmp_path)}
        finally:
            process.send_signal(signal.SIGKILL)
    assert (tmp_path / "a.json").read_bytes() == (b"old" if moment == "a.json" else b"new")
    write_bytes_atomically(tmp_path / "b", b"")
    assert names(tmp_path) == [".photostyle.tmp", "a.json", "b"]


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked there")
def test_a_temporary_folder_of_a_killed_process_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / ".photostyle-killed.tmp").mkdir()
    (tmp_path / ".photostyle-killed.tmp" / "a.bin").write_bytes(b"a")
    with temporary_folder() as first:
        (first / "b.bin").write_bytes(b"b")
        assert names(tmp_path) == [first.name]
        with temporary_folder() as second:
            assert names(tmp_path) == sorted([first.name, second.name])
    assert names(tmp_path) == []
