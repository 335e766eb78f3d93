"""A process that is killed at any system call of its last writes loses nothing, and the next one cleans up."""

import os
import sys
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import read_record, stranger, write_picture
from photostyle.files.masks import MaskSet, read_masks
from segmentation.files import write_masks

if sys.platform != "win32":
    import fcntl

Tried = Callable[[str, str, int], None]
CALLS = ("open", "fsync", "replace", "rename", "unlink", "mkdir", "rmdir")
KILLED = 9


def dies_at(number: int, write: Callable[[], object]) -> bool:
    """Whether a copy of this process that writes dies before its n-th system call; False where it has fewer."""
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, KILLED), f"it ended by itself, with {status}"
        return status == KILLED
    left = number

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def instead(*given: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left <= 0:
                os._exit(KILLED)
            return call(*given, **named)

        return instead

    try:
        for name in CALLS:  # pathlib opens by io.open, and does all else by os
            setattr(os, name, counted(getattr(os, name)))
        fcntl.flock = counted(fcntl.flock)
        opened = Path.open
        Path.open = counted(opened)  # type: ignore[assignment,method-assign]
        write()
    except BaseException:
        os._exit(1)
    os._exit(0)


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".photostyle-*")]


def record_of(picture: bytes) -> dict[str, object]:
    return {
        "photostyle": {"format": 1},
        "ended": "done",
        "config": {},
        "environment": {"threads": 1},
        "inputs": {},
        "stages": [],
        "output": {"path": "a.png", "sha256": sha256(picture).hexdigest()},
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_picture_and_its_record(tmp_path: Path, tried: Tried) -> None:
    picture, record, solved = (tmp_path / name for name in ("a.png", "a.json", "a-solved.tif"))

    def write(data: bytes) -> None:
        write_picture(picture, data, record, record_of(data), {solved: data})

    number, dying = 0, True
    while dying:
        number += 1
        write(b"old")
        dying = dies_at(number, lambda: write(b"new"))
        assert {picture.read_bytes(), solved.read_bytes()} <= {b"old", b"new"}
        if picture.read_bytes() == b"new":
            assert not stranger(read_record(record), record), "a new picture has its own record"
        write(b"again")
        assert not stranger(read_record(record), record) and not left_over(tmp_path)
    assert number > 10
    tried("deaths", "the picture, record and solved picture of a run", number - 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("before", [False, True])
def test_a_folder_of_masks(tmp_path: Path, before: bool, tried: Tried) -> None:
    def regions(level: float, *names: str) -> MaskSet:
        masks = torch.full((len(names), 3, 4), level)
        return MaskSet(masks, names, tuple((9 * each, 0, 0) for each in range(len(names))), True, "", ())

    number, dying = 0, True
    while dying:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "mine.txt").write_bytes(b"mine")
        if before:
            write_masks(folder, regions(0.5, "sky", "sea"), "soft")
        dying = dies_at(number, partial(write_masks, folder, regions(0.25, "sky", "wall"), "soft"))
        try:
            found = read_masks(folder, folder, 3, 4)
        except PhotostyleError:
            assert not (folder / "legend.toml").exists(), "what has a legend is whole"
        else:
            level = {("sky", "sea"): 0.5, ("sky", "wall"): 0.25}[found.names]
            assert (found.masks - level).abs().max() < 1 / 255
        paths = write_masks(folder, regions(0.25, "sky", "wall"), "soft")
        assert {path.name for path in folder.iterdir()} == {"mine.txt", *(path.name for path in paths)}
        assert (folder / "mine.txt").read_bytes() == b"mine"
    assert number > 10
    tried("deaths", f"a folder of masks, {'over an earlier one' if before else 'new'}", number - 1)
