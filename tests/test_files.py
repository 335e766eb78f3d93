"""What is written is what is read again, and nobody's painting is written over."""

import math
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from photostyle.errors import ComputationError, PhotostyleError
from photostyle.files.images import read_grey
from photostyle.files.legends import LEGEND, hex_name
from photostyle.files.lock import alone_in
from photostyle.files.masks import MaskSet, read_masks
from segmentation import files
from segmentation.files import check_folder, write_masks

Kind = Literal["soft", "colours"]
Depth = Literal[8, 16]

PALETTE = ((120, 180, 255), (90, 140, 60), (0, 0, 255), (0, 0, 0), (255, 255, 255), (10, 0, 0))
NAMES = ("sky", "old wall", "#0000ff", "天空", 'quote"back\\slash', "Sky")


def regions(masks: torch.Tensor, names: tuple[str, ...] = NAMES) -> MaskSet:
    return MaskSet(masks, names[: len(masks)], PALETTE[: len(masks)], True, "", ())


def soft(count: int = 3, height: int = 11, width: int = 17, seed: int = 0) -> torch.Tensor:
    """Masks that sum to 1."""
    return torch.randn(count, height, width, generator=torch.Generator().manual_seed(seed)).mul(2).softmax(0)


def hard(count: int = 3, height: int = 12, width: int = 18) -> torch.Tensor:
    """Masks of 0 and 1: upright stripes."""
    label = torch.arange(width) * count // width
    return torch.nn.functional.one_hot(label, count).T[:, None].repeat(1, height, 1).float()


def read(folder: Path, like: MaskSet) -> MaskSet:
    found = read_masks(folder, Path("photo.jpg"), *like.masks.shape[1:])
    assert (found.names, found.colours, found.exact, found.notes) == (like.names, like.colours, True, ())
    return found


def listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("depth", "dtype"), [(8, np.uint8), (16, np.uint16)])
def test_soft_masks_come_back_within_a_level_and_fill_each_pixel(
    tmp_path: Path, depth: Depth, dtype: type
) -> None:
    original = regions(soft(6))
    paths = write_masks(tmp_path / "masks", original, "soft", depth)
    assert paths[-1] == tmp_path / "masks" / LEGEND and len(paths) == 7
    assert {path.name for path in paths} == listing(tmp_path / "masks")
    levels = np.stack([np.asarray(Image.open(path)) for path in paths[:-1]])
    assert levels.dtype == dtype
    assert (levels.sum(0, dtype=int) == 2**depth - 1).all()
    found = read(tmp_path / "masks", original)
    assert (found.masks - original.masks).abs().max() < 1 / (2**depth - 1)


def test_levels_are_rounded_by_largest_remainders() -> None:
    # Of 10 levels, by hand: 3.4 2.3 4.3 -> one is missing and goes to 3.4; 3.34 3.33 3.33; 0.5 0.5 9 -> the first.
    pixels = np.array([[0.34, 0.23, 0.43], [0.334, 0.333, 0.333], [0.05, 0.05, 0.9], [0.26, 0.26, 0.26]])
    levels = files.round_together(pixels.T[:, None], 10)[:, 0].T
    # The last sums to 7.8 -> 8: two are missing of 2 2 2, and go to the first two.
    assert levels.tolist() == [[4, 2, 4], [4, 3, 3], [1, 0, 9], [3, 3, 2]]
    # Of 24 regions with 0.5 and 0.25 levels in turn, 9 in sum, the first nine with 0.5.
    many = files.round_together(np.tile([0.05, 0.025], 12)[:, None, None], 10).ravel()
    assert many.nonzero()[0].tolist() == list(range(0, 18, 2)) and many.max() == 1


@given(
    count=st.integers(1, 8),
    seed=st.integers(0, 10**6),
    top=st.sampled_from([255, 65535]),
    covered=st.sampled_from([0.0, 0.3, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_levels_are_near_and_sum_to_the_rounded_sum(count: int, seed: int, top: int, covered: float) -> None:
    masks = (soft(count, 5, 7, seed) * covered).numpy()
    masks[:, 0] = np.eye(count)[0][:, None]  # a row that is all in the first region
    levels = files.round_together(masks, top).astype(int)
    exact = masks.astype(float) * top
    assert (np.abs(levels - exact) < 1).all() and (levels[exact == 0] == 0).all()
    np.testing.assert_array_equal(levels.sum(0), np.rint(exact.sum(0)))
    # The largest remainders: who was rounded up had no smaller one than who was not.
    up, remainder = levels > exact, exact - np.floor(exact)
    least_up, most_down = np.where(up, remainder, 1).min(0), np.where(up, 0, remainder).max(0)
    assert (least_up >= most_down)[up.any(0)].all()


@pytest.mark.parametrize("depth", [8, 16])
def test_writing_again_what_was_read_changes_no_pixel(tmp_path: Path, depth: Depth) -> None:
    original = regions(soft(5) * 0.7)
    first = write_masks(tmp_path / "a", original, "soft", depth)
    second = write_masks(tmp_path / "b", read(tmp_path / "a", original), "soft", depth)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_masks_a_little_over_one_stay_within_the_scale(tmp_path: Path) -> None:
    over = torch.tensor([1.0001, 0.6, 0.0])[:, None, None].repeat(1, 4, 4)
    over[1, 2:] = 0
    levels = files.round_together(over.numpy(), 65535)
    assert levels[0].min() == 65535 and levels[2].max() == 0
    halves = np.array([0.50001, 0.5, 0.0])[:, None, None]  # 32768.2 + 32767.5 of 65535
    assert files.round_together(halves, 65535).ravel().tolist() == [32768, 32767, 0]


@pytest.mark.parametrize("kind", ["soft", "colours"])
def test_hard_masks_come_back_as_they_were(tmp_path: Path, kind: Kind) -> None:
    original = regions(hard(6))
    write_masks(tmp_path / "masks", original, kind)
    found = read(tmp_path / "masks", original)
    assert torch.equal(found.masks, original.masks)
    assert read(tmp_path / "masks", original).sha256 == found.sha256 != ""


def test_a_painting_shows_each_pixel_s_largest_region(tmp_path: Path) -> None:
    original = regions(soft(6))
    paths = write_masks(tmp_path / "masks", original, "colours")
    assert [path.name for path in paths] == ["masks.png", LEGEND]
    picture = Image.open(paths[0])
    assert picture.mode == "RGB"
    expected = np.array(PALETTE, np.uint8)[original.masks.argmax(0)]
    np.testing.assert_array_equal(np.asarray(picture), expected)
    assert "void" not in tomllib.loads(paths[1].read_text())


def test_two_regions_of_one_name_but_for_its_case_are_two_files(tmp_path: Path) -> None:
    names = (
        "Sky",
        "sky",
        "SKY ",
        "sky_2",
        "con",
        "console",
        "COM1",
        "天空",
        "…",
        "Crème brûlée",
        "a" * 300,
        "a" * 299 + "b",
    )
    masks = hard(len(names), 4, 24)
    colours = tuple((k, 0, 0) for k in range(len(names)))
    original = MaskSet(masks, names, colours, True, "", ())
    stems = [path.stem for path in write_masks(tmp_path / "masks", original, "soft")[:-1]]
    assert stems == [
        *("sky", "sky_2", "sky_3", "sky_2_2", "con_region", "console", "com1_region", "region", "region_2"),
        *("creme_brulee", "a" * 60, "a" * 60 + "_2"),
    ]
    assert torch.equal(read(tmp_path / "masks", original).masks, masks)


def test_a_small_region_keeps_its_name_in_a_painting(tmp_path: Path) -> None:
    masks = hard(3, 40, 60)
    masks[2] = 0
    masks[:, 20, 30] = torch.tensor([0.0, 0.0, 1.0])  # 1 pixel of 2400
    masks[0, :, 40:] = 1
    original = regions(masks)
    write_masks(tmp_path / "masks", original, "colours")
    assert read(tmp_path / "masks", original).masks[2].sum() == 1


# what is in no region


def test_pixels_in_no_region_stay_so(tmp_path: Path) -> None:
    masks = hard(4)[:3]  # the last stripe is in none
    for kind in ("soft", "colours"):
        original = regions(masks)
        write_masks(tmp_path / kind, original, kind)
        assert torch.equal(read(tmp_path / kind, original).masks, masks)


def test_the_void_colour_is_no_region_s_nor_like_one(tmp_path: Path) -> None:
    void = []
    for colour in (PALETTE[0], (0, 0, 0), (30, 20, 32)):
        original = MaskSet(hard(2)[:1], ("sky",), (colour,), True, "", ())
        write_masks(tmp_path / hex_name(colour), original, "colours")
        assert torch.equal(read(tmp_path / hex_name(colour), original).masks, original.masks)
        void.append(tomllib.loads((tmp_path / hex_name(colour) / LEGEND).read_text())["void"])
    assert void == ["#000000", "#0000ff", "#00ff00"]


def test_a_pixel_is_in_no_region_where_more_of_it_is_in_none(tmp_path: Path) -> None:
    levels = torch.tensor([[0.3, 0.3], [0.25, 0.5], [0.45, 0.1], [0.5, 0.0]])  # none: 0.4, 0.25, 0.45, 0.5
    masks = levels.T[:, None].repeat(1, 3, 1)
    original = regions(masks)
    write_masks(tmp_path / "masks", original, "colours")
    found = read(tmp_path / "masks", original).masks
    assert found[:, 0].T.tolist() == [[0, 0], [0, 1], [1, 0], [1, 0]]


def test_masks_that_would_cover_nothing_are_refused(tmp_path: Path) -> None:
    faint = regions(torch.full((2, 4, 4), 0.0009))
    for kind, words in (("soft", "fainter than a level of 8 bits"), ("colours", "no pixel is in a region")):
        with pytest.raises(PhotostyleError, match=words):
            write_masks(tmp_path / "masks", faint, kind)
    assert not (tmp_path / "masks").exists()
    write_masks(tmp_path / "masks", faint, "soft", 16)


def test_masks_that_are_not_numbers_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ComputationError, match="not numbers"):
        write_masks(tmp_path / "masks", regions(soft() * math.nan), "soft")
    assert not (tmp_path / "masks").exists()


def test_a_painting_refuses_two_regions_of_one_colour(tmp_path: Path) -> None:
    same = MaskSet(hard(2), ("sky", "sea"), (PALETTE[0],) * 2, True, "", ())
    with pytest.raises(PhotostyleError, match=r"is not written.*'#78b4ff' to sky and another region"):
        write_masks(tmp_path / "masks", same, "colours")
    assert not (tmp_path / "masks").exists()
    write_masks(tmp_path / "masks", same, "soft")
    assert torch.equal(read(tmp_path / "masks", same).masks, same.masks)


# the legend's text


@given(name=st.text())
def test_any_name_is_quoted_so_that_toml_reads_it_back(name: str) -> None:
    text = f"{files.toml_string(name)} = {files.toml_string(name)}\n"
    assert tomllib.loads(text) == {name: name} and text.count("\n") == 1


@given(names=st.lists(st.text(), min_size=1, max_size=4, unique=True))
@settings(max_examples=40, deadline=None)
@pytest.mark.slow
def test_any_names_come_back_from_both_kinds(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    masks = hard(len(names), 4, 12)
    original = MaskSet(masks, tuple(names), PALETTE[: len(names)], True, "", ())
    for kind in ("soft", "colours"):
        folder = tmp_path_factory.mktemp("masks")
        write_masks(folder, original, kind)
        assert torch.equal(read(folder, original).masks, masks)


def test_the_legend_is_one_a_person_can_read(tmp_path: Path) -> None:
    write_masks(tmp_path / "masks", regions(hard(2)), "colours")
    header, *lines = (tmp_path / "masks" / LEGEND).read_text().splitlines()
    assert header.startswith("# written by photostyle; the SHA-256 of all it wrote is ")
    assert lines == [
        'kind = "colours"',
        'file = "masks.png"',
        "# Each region is one flat colour in masks.png: repaint it in any program and save it as PNG.",
        "",
        "[regions]",
        '"sky" = { colour = "#78b4ff" }',
        '"old wall" = { colour = "#5a8c3c" }',
    ]
    write_masks(tmp_path / "soft", regions(hard(2)), "soft")
    assert (tmp_path / "soft" / LEGEND).read_text().splitlines()[1:] == [
        'kind = "soft"',
        "",
        "[regions]",
        '"sky" = { file = "sky.png", colour = "#78b4ff" }',
        '"old wall" = { file = "old_wall.png", colour = "#5a8c3c" }',
    ]


def test_the_same_masks_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_masks(tmp_path / name, regions(soft()), "soft")
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")


# a second run


@pytest.mark.parametrize("first", ["soft", "colours"])
@pytest.mark.parametrize("second", ["soft", "colours"])
def test_an_earlier_run_is_replaced_and_nothing_else(tmp_path: Path, first: Kind, second: Kind) -> None:
    folder = tmp_path / "masks"
    write_masks(folder, regions(soft(4)), first)
    (folder / "holiday.png").write_bytes(b"mine")
    again = regions(hard(2), names=("sky", "sea"))
    paths = write_masks(folder, again, second)
    assert listing(folder) == {path.name for path in paths} | {"holiday.png"}
    assert (folder / "holiday.png").read_bytes() == b"mine"
    assert torch.equal(read(folder, again).masks, again.masks)
    assert check_folder(folder) == tuple(path.name for path in paths[:-1])


@pytest.mark.parametrize("names", [("sky", "old wall"), ("sea", "grass")])
@pytest.mark.parametrize("before", [0, 1])
def test_who_reads_while_a_set_is_replaced_reads_one_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], before: int
) -> None:
    folder, new = tmp_path / "masks", regions(hard(2), names=names)
    write_masks(folder, regions(soft(2)), "soft")
    seen = list[Path]()

    def replacing(path: Path) -> object:
        if len(seen) == before:
            write_masks(folder, new, "soft")
        seen.append(path)
        return read_grey(path)

    monkeypatch.setattr("photostyle.files.masks.read_grey", replacing)
    found = read_masks(folder, tmp_path / "photo.jpg")
    assert found.names == names
    assert torch.equal(found.masks, new.masks)


def repaint(path: Path) -> None:
    Image.open(path).point(lambda level: level ^ 1).save(path)


EDITS: dict[str, Callable[[Path], object]] = {
    "a mask": lambda folder: repaint(folder / "old_wall.png"),
    "a name": lambda folder: (folder / LEGEND).write_text(
        (folder / LEGEND).read_text().replace('"sky"', '"sea"')
    ),
    "a comment": lambda folder: (folder / LEGEND).write_text((folder / LEGEND).read_text() + "# mine\n"),
    "the header": lambda folder: (folder / LEGEND).write_text(
        (folder / LEGEND).read_text().partition("\n")[2]
    ),
    "a lost mask": lambda folder: (folder / "sky.png").unlink(),
    "two masks": lambda folder: (
        (folder / "sky.png").rename(folder / "x"),
        (folder / "old_wall.png").rename(folder / "sky.png"),
        (folder / "x").rename(folder / "old_wall.png"),
    ),
    "no TOML": lambda folder: (folder / LEGEND).write_text("mine"),
    "no text": lambda folder: (folder / LEGEND).write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_was_edited_is_never_written_over(tmp_path: Path, edit: str) -> None:
    folder = tmp_path / "masks"
    write_masks(folder, regions(soft(3)), "soft")
    EDITS[edit](folder)
    before = snapshot(folder)
    for call in (lambda: write_masks(folder, regions(soft(3)), "soft"), lambda: check_folder(folder)):
        with pytest.raises(PhotostyleError) as caught:
            call()
        assert str(caught.value) == (
            f"{folder} holds masks that photostyle did not write, or that were edited since: choose another "
            "--output, or remove it"
        )
    assert snapshot(folder) == before


def test_a_legend_written_by_hand_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / LEGEND).write_text(
        'kind = "colours"\nfile = "a.png"\n[regions]\nsky = { colour = "#000000" }\n'
    )
    (tmp_path / "a.png").write_bytes(b"mine")
    before = snapshot(tmp_path)
    with pytest.raises(PhotostyleError, match="did not write"):
        write_masks(tmp_path, regions(hard(2)), "colours")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("kind", ["soft", "colours"])
def test_a_file_in_the_way_is_never_written_over(tmp_path: Path, kind: Kind) -> None:
    name = {"soft": "sky.png", "colours": "masks.png"}[kind]
    write_masks(tmp_path, regions(hard(2), names=("one", "two")), "soft")
    (tmp_path / name).write_bytes(b"mine")
    before = snapshot(tmp_path)
    with pytest.raises(PhotostyleError) as caught:
        write_masks(tmp_path, regions(hard(2)), kind)
    assert str(caught.value) == (
        f"{tmp_path / name} exists and is no mask that photostyle wrote: choose another --output or move it"
    )
    assert snapshot(tmp_path) == before


def test_a_legend_names_only_files_of_its_own_folder_to_remove(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    (tmp_path / "mine.png").write_bytes(b"mine")
    body = 'kind = "soft"\n[regions]\nsky = { file = "../mine.png", colour = "#000000" }\n'
    (folder / LEGEND).write_text(files.legend_header(body, [b"mine"]) + "\n" + body)
    with pytest.raises(PhotostyleError, match="did not write"):
        write_masks(folder, regions(hard(2)), "soft")
    assert (tmp_path / "mine.png").read_bytes() == b"mine"


# what goes wrong


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_masks(tmp_path, regions(soft(3)), "soft")
    before = snapshot(tmp_path)
    flush, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 5:  # the journal and its folder, the legend, a mask
            raise OSError(28, "No space left on device")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ComputationError, match="No space left"):
        write_masks(tmp_path, regions(hard(4)), "soft")
    assert snapshot(tmp_path) == before


def test_the_earlier_set_is_whole_until_the_legend_names_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, later = regions(soft(3)), regions(hard(3, 11, 17))
    write_masks(tmp_path, earlier, "soft")
    replace, found = Path.replace, []

    def watched(path: Path, target: Path) -> Path:
        masks = read(tmp_path, earlier).masks
        found.append((masks - earlier.masks).abs().max() < 1 / 255 or torch.equal(masks, later.masks))
        if len(found) == 7:  # the journal, three masks aside, their legend, one in its place
            raise OSError(5, "Input/output error")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", watched)
    with pytest.raises(ComputationError, match=r"Input/output error.*check space and permissions"):
        write_masks(tmp_path, later, "soft")
    monkeypatch.undo()
    assert all(found) and torch.equal(read(tmp_path, later).masks, later.masks)
    paths = write_masks(tmp_path, later, "soft")
    assert listing(tmp_path) == {path.name for path in paths}


def test_two_commands_that_write_masks_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.02)
    with alone_in(tmp_path, "masks"):
        with pytest.raises(PhotostyleError, match="another photostyle command is at work"):
            write_masks(tmp_path, regions(hard(3)), "soft")
    write_masks(tmp_path, regions(hard(3)), "soft")


def test_a_place_that_cannot_hold_masks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    for folder, words in (
        (tmp_path / "file", "is a file; expected a folder"),
        (tmp_path / "missing" / "masks", "does not exist: create it first"),
    ):
        for call in (check_folder, lambda folder: write_masks(folder, regions(hard(2)), "soft")):
            with pytest.raises(PhotostyleError, match=words):
                call(folder)
    assert check_folder(tmp_path / "masks") == check_folder(tmp_path) == ()
    denied = tmp_path
    monkeypatch.setattr(files.os, "access", lambda path, mode: Path(path) != denied)
    for folder in (tmp_path, tmp_path / "masks"):
        with pytest.raises(PhotostyleError, match="read-only"):
            check_folder(folder)
    assert listing(tmp_path) == {"file"}


def test_a_mask_that_is_white_everywhere_is_white(tmp_path: Path) -> None:
    (path, _) = write_masks(tmp_path, regions(torch.ones(1, 3, 4)), "soft")
    assert (read_grey(path).values == 1).all()
