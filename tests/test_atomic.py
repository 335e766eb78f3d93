"""A file is written whole or not at all, whatever fails."""

import hashlib
import os
from pathlib import Path

import pytest

from photostyle.errors import ComputationError
from photostyle.files.atomic import write_bytes_atomically


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
