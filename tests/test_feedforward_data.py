"""Crops that a training sees: where they come from, that they come again, and that many processes change nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from photostyle.feedforward import data as feed
from photostyle.feedforward.data import Contents, Order, Pictures, StyleGallery, as_pictures, loader, square
from photostyle.training.pictures import find_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photographs, one of them two folders deep, and a broken one."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "a" / "b").mkdir(parents=True)
    photographs = {"cat.png": data.chelsea(), "a/coffee.jpg": data.coffee(), "a/b/rocket.png": data.rocket()}
    for name, pixels in photographs.items():
        Image.fromarray(pixels).resize((150, 100)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    return folder


def pictures(folder: Path, short: int = 64) -> Pictures:
    return Pictures(find_pictures(folder), short)


def test_a_square_is_cut_where_it_is_asked_for() -> None:
    across, down = np.meshgrid(np.arange(40, dtype=np.uint8), np.arange(20, dtype=np.uint8))
    picture = np.stack([across, down, across], axis=-1)
    cut = square(picture, 10, 0.5, across=1.0, down=0.0)
    assert torch.equal(cut[..., 0], torch.arange(30, 40, dtype=torch.uint8).expand(10, 10))
    assert torch.equal(cut[..., 1], torch.arange(10, dtype=torch.uint8)[:, None].expand(10, 10))
    assert torch.equal(square(picture, 10, 0.5, 1.0, 0.0, mirrored=True), cut.flip(1))


def test_pictures_are_shrunk_and_those_kept_are_those_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = pictures(folder)
    monkeypatch.setattr(feed, "KEPT_BYTES", 0)
    read = pictures(folder)
    assert read.kept is None
    for number in range(3):
        assert kept[number].shape == (64, 96, 3)
        np.testing.assert_array_equal(kept[number], read[number])


def test_an_epoch_has_as_many_contents_as_asked_from_all_pictures(folder: Path) -> None:
    contents = Contents(pictures(folder), 32, 12, seed=1)
    assert torch.equal(contents[0, 3], contents[0, 3])
    assert not torch.equal(contents[0, 3], contents[1, 3])
    assert sorted(contents.source(number) for number in range(12)) == sorted([0, 1, 2] * 4)
    assert [Contents(contents.pictures, 32, 2, 1).source(number) for number in range(2)] == [0, 1]


def test_a_batch_is_the_same_from_any_step_and_for_any_number_of_processes(folder: Path) -> None:
    contents = Contents(pictures(folder), 16, 10, seed=1)

    def run(begin: int, workers: int) -> list[torch.Tensor]:
        return list(loader(contents, Order(10, 4, 7, range(begin, 6)), workers, pinned=False))

    alone = run(0, 0)
    assert len(alone) == 6  # of two a whole epoch, so two of ten contents are left out of each
    for number, batch in enumerate(run(3, 0)):
        assert torch.equal(batch, alone[3 + number])


@pytest.mark.slow
def test_processes_that_decode_change_no_batch(folder: Path) -> None:
    contents = Contents(pictures(folder), 16, 10, seed=1)
    here, there = (
        list(loader(contents, Order(10, 4, 7, range(6)), workers, pinned=False)) for workers in (0, 2)
    )
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(here, there, strict=True))


def test_ranks_share_a_batch() -> None:
    whole = list(Order(24, 6, 3, range(8)))
    parts = [list(Order(24, 6, 3, range(8), rank, 2)) for rank in range(2)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert sorted(batch) == sorted(first + second)
        assert len(first) == len(second)


def test_batches_are_channels_last_in_the_unit_interval(folder: Path) -> None:
    batch = as_pictures(Contents(pictures(folder), 16, 4, 0)[0, 0][None], torch.device("cpu"))
    assert batch.shape == (1, 3, 16, 16)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= float(batch.min()) < float(batch.max()) <= 1


def test_the_gallery_has_the_documents_crops(folder: Path) -> None:
    gallery = StyleGallery.of(pictures(folder, 256), (128, 256), 200, seed=0)
    assert {size: crops.shape for size, crops in gallery.crops.items()} == {
        128: (100, 128, 128, 3),
        256: (100, 256, 256, 3),
    }
    for sources in gallery.sources.values():
        assert set(sources) == {0, 1, 2}  # each picture at both sizes


def test_a_pictures_first_crop_is_its_whole_middle(folder: Path) -> None:
    source = pictures(folder)
    gallery = StyleGallery.of(source, (64,), 3, seed=0)
    for number in range(3):
        np.testing.assert_array_equal(gallery.crops[64][number].numpy(), source[number][:, 16:80])


def test_no_style_is_drawn_twice_before_all_were(folder: Path) -> None:
    gallery = StyleGallery.of(pictures(folder), (16, 32), 8, seed=0)
    size, drawn = gallery.draw(6, seed=5, step=3)
    assert size == 32
    assert sorted(drawn[:4].tolist()) == [0, 1, 2, 3]
    assert torch.equal(drawn, gallery.draw(6, seed=5, step=3)[1])
    assert gallery.draw(6, seed=5, step=4)[0] == 16
