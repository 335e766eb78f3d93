"""Moving pictures: what is kept of a run, and that a file holds it."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from photostyle.errors import PhotostyleError
from photostyle.evaluation import animation
from photostyle.evaluation.animation import FRAME, LAST_FRAME, Frames


def grey(level: float, height: int = 12, width: int = 16) -> torch.Tensor:
    return torch.full((3, height, width), level)


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp"])
def test_every_change_is_a_frame_and_the_last_stays_longer(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    frames = Frames(path)
    for level in (0.2, 0.2, 0.5, 0.5001, 0.8):  # the fourth is the same picture in 8 bits
        frames.add(grey(level))
    frames.write()
    with Image.open(path) as film:
        assert film.n_frames == 3 and film.size == (16, 12)
        levels, times = [], []
        for number in range(3):
            film.seek(number)
            film.load()
            levels.append(film.convert("RGB").getpixel((3, 3))[0] / 255)
            times.append(film.info["duration"])
    assert levels == pytest.approx([0.2, 0.5, 0.8], abs=2 / 255)
    assert times[-1] == LAST_FRAME and set(times[:-1]) == {FRAME}


def test_long_runs_are_thinned_evenly_and_end_with_their_last_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(animation, "MOST_FRAMES", 10)
    path = tmp_path / "moving.gif"
    frames = Frames(path)
    for number in range(43):
        frames.add(grey(number / 50))
    assert len(frames.frames) <= 10
    kept = [round(frame[0, 0, 0].item() / 255 * 50) for frame in frames.frames]
    assert kept == list(range(0, 43, 8))  # every eighth, from the first on
    frames.write()
    with Image.open(path) as film:
        film.seek(film.n_frames - 1)
        assert film.convert("RGB").getpixel((0, 0))[0] == pytest.approx(255 * 42 / 50, abs=1)


def test_coarse_stages_are_shown_at_the_last_ones_size(tmp_path: Path) -> None:
    path = tmp_path / "moving.webp"
    frames = Frames(path)
    frames.add(grey(0.1, 6, 8))
    frames.add(grey(0.9))
    frames.write()
    with Image.open(path) as film:
        assert film.n_frames == 2 and film.size == (16, 12)


def test_without_a_path_or_a_picture_nothing_is_written(tmp_path: Path) -> None:
    nowhere = Frames(None)
    nowhere.add(grey(0.5))
    nowhere.write()
    Frames(tmp_path / "moving.gif").write()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("moving.mp4", r'ends in ".mp4"; moving pictures are written as .gif or .webp'),
        ("nowhere/moving.gif", "the folder .*nowhere does not exist"),
    ],
)
def test_a_place_where_it_cannot_be_written_is_refused_before_the_work(
    name: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(PhotostyleError, match=said):
        Frames(tmp_path / name)
