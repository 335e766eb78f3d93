"""The pictures of a folder for a training: every depth, sorted, broken ones skipped and named."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from photostyle.errors import PhotostyleError
from photostyle.training.pictures import NAMED, find_pictures


def picture(path: Path, size: tuple[int, int] = (8, 6), value: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(path)
    return path


def test_every_depth_is_found_in_one_order(tmp_path: Path) -> None:
    names = ["b/a.PNG", "a.jpg", "b/c/d/e.webp", "é.png", "B.png"]
    for name in names:
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    picture(tmp_path / ".hidden.png")
    picture(tmp_path / ".cache" / "a.png")
    listing = find_pictures(tmp_path)
    assert [path.as_posix() for path in listing.files] == sorted(names)
    assert set(listing.sizes) == {(6, 8)} and listing.notes() == ()


def test_a_link_to_a_folder_is_followed_and_one_that_points_up_ends(tmp_path: Path) -> None:
    picture(tmp_path / "elsewhere" / "a.png")
    data = tmp_path / "data"
    data.mkdir()
    (data / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(data)
    assert [path.as_posix() for path in find_pictures(data).files] == ["linked/a.png"]


def test_broken_pictures_are_skipped_counted_and_named(tmp_path: Path) -> None:
    whole = picture(tmp_path / "whole.png", (40, 30))
    picture(tmp_path / "small.png", (9, 4))
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:-40])
    (tmp_path / "empty.jpg").touch()
    listing = find_pictures(tmp_path, minimum=8)
    assert [path.name for path in listing.files] == ["whole.png"]
    assert [each.path.name for each in listing.broken] == ["cut.png", "empty.jpg", "small.png"]
    first, *named = listing.notes()
    assert first == f"{tmp_path}: 3 of 4 pictures cannot be used"
    assert "cut.png" in named[0] and "empty (0 bytes)" in named[1] and "9x4; at least 8 pixels" in named[2]
    for number in range(NAMED):
        (tmp_path / f"{number}.png").touch()
    assert find_pictures(tmp_path).notes()[-1] == "skipped: 2 more"


def test_the_hash_is_of_paths_and_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        picture(tmp_path / folder / "a.png")
        picture(tmp_path / folder / "b.png", value=91)
    first, second = (find_pictures(tmp_path / folder).sha256 for folder in ("one", "two"))
    assert first == second
    (tmp_path / "two" / "b.png").rename(tmp_path / "two" / "c.png")
    moved = find_pictures(tmp_path / "two").sha256
    picture(tmp_path / "two" / "c.png", value=92)
    assert len({first, moved, find_pictures(tmp_path / "two").sha256}) == 3


def test_no_folder_and_no_picture_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(PhotostyleError, match="does not exist; expected a folder"):
        find_pictures(tmp_path / "none")
    (tmp_path / "file.png").touch()
    with pytest.raises(PhotostyleError, match="is a file; expected a folder"):
        find_pictures(tmp_path / "file.png")
    with pytest.raises(
        PhotostyleError, match=r"holds 1 pictures and none that can be used; the first: .*empty"
    ):
        find_pictures(tmp_path)


def test_a_name_that_cannot_be_and_a_folder_not_to_be_listed_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PhotostyleError, match=r"y cannot be read \(.+\); expected a folder of pictures"):
        find_pictures(tmp_path / ("y" * 300))
    picture(tmp_path / "open" / "a.png")
    (tmp_path / "shut").mkdir()
    listed = os.scandir

    def refusing(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "shut":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PhotostyleError, match=r"shut cannot be read \(Permission denied\)"):
        find_pictures(tmp_path)


@pytest.mark.slow
def test_processes_find_what_one_finds(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"{number}.png", value=number)
    (tmp_path / "empty.png").touch()
    assert find_pictures(tmp_path, workers=2) == find_pictures(tmp_path)
