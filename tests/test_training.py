"""What every training here needs beside checkpoints and pictures: the order, progress, curves and the record."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from photostyle.errors import PhotostyleError
from photostyle.training.curves import plot_curves
from photostyle.training.order import batches, epoch_order, generator_of
from photostyle.training.progress import SECONDS, Progress, clock_text
from photostyle.training.records import training_record


def test_an_epoch_takes_every_picture_once_and_none_twice() -> None:
    found = batches(103, 10, seed=1, epoch=4)
    assert [len(each) for each in found] == [10] * 10 + [3]
    assert sorted(index for each in found for index in each) == list(range(103))


def test_a_batch_depends_on_seed_epoch_and_number_alone() -> None:
    assert batches(50, 8, seed=1, epoch=2, begin=3) == batches(50, 8, seed=1, epoch=2)[3:]
    orders = [tuple(epoch_order(50, *key)) for key in ((1, 2), (2, 1), (1, 3))]
    assert len(set(orders)) == 3
    drawn = [float(torch.rand((), generator=generator_of(*key))) for key in ((1, 2, 3), (1, 2, 4), (3, 2, 1))]
    assert len(set(drawn)) == 3
    assert float(torch.rand((), generator=generator_of(1, 2, 3))) == drawn[0]


def test_progress_tells_rate_and_time_left_of_this_run_alone() -> None:
    now, said = [100.0], list[str]()
    progress = Progress(total=300, say=said.append, done=100, clock=lambda: now[0])
    progress(100)
    now[0] += SECONDS
    progress(120, "loss 0.5")
    progress(121, "loss 0.4")
    assert said == ["120/300  2 steps/s, 1:30 left  loss 0.5"]
    now[0] += 990
    assert progress.pace(200) == "10 s a step, 16:40 left"
    shown = list[str]()
    Progress(2, said.append, shown.append, clock=lambda: 0.0)(1, "a")
    assert shown == ["1/2  starting  a"] and len(said) == 1


@pytest.mark.parametrize("seconds, text", [(7.4, "0:07"), (59.6, "1:00"), (750, "12:30"), (3723, "1:02:03")])
def test_time_as_people_read_it(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


@pytest.mark.slow
def test_curves_are_a_picture_and_equal_histories_equal_bytes(tmp_path: Path) -> None:
    history = [
        {"epoch": n + 1, "training": 1 / (n + 1), "validation": 2 / (n + 1), "rate": 0.1} for n in range(4)
    ]
    panels = {"loss": ("training", "validation"), "learning rate": ("rate",)}
    for name in ("a.png", "b.png"):
        plot_curves(history, tmp_path / name, panels, logarithmic=("learning rate",), marks={"all": 2.5})
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    # matplotlib's first two colours: both curves of the left panel are drawn, and one in the right.
    halves = pixels[:, : pixels.shape[1] // 2], pixels[:, pixels.shape[1] // 2 :]
    assert [
        [bool((half == colour).all(-1).any()) for colour in ((31, 119, 180), (255, 127, 14))]
        for half in halves
    ] == [
        [True, True],
        [True, False],
    ]
    with pytest.raises(PhotostyleError, match="nothing was trained"):
        plot_curves([], tmp_path / "c.png", panels)


def test_the_record_says_what_a_transfer_s_does() -> None:
    record = training_record(
        "finetune",
        {"seed": 0},
        {"sha256": "ab"},
        [{"epoch": 1}],
        {"accuracy": 0.9},
        seconds=2.0,
        device="cpu",
        threads=1,
    )
    assert json.loads(json.dumps(record)) == record
    assert record["photostyle"]["command"] == "finetune" and record["environment"]["torch"]
    assert list(record) == [
        "photostyle",
        "settings",
        "environment",
        "data",
        "notes",
        "seconds",
        "history",
        "outcome",
    ]
