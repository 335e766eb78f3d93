"""Fine-tuning: regimes, rates, augmentation, the loop's promises, and that it learns."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from photostyle.errors import ComputationError, PhotostyleError
from photostyle.files.tensors import write_tensors
from photostyle.networks.heads import headed
from photostyle.networks.network import find_network
from photostyle.recognition.finetune import tune
from photostyle.recognition.finetune.augmentation import BORDER, Preparation, cut_out, scaled
from photostyle.recognition.finetune.loop import CHECKPOINT, WEIGHTS, Hooks
from photostyle.recognition.finetune.report import accuracies, confused, confusion_matrix, plot_confusion
from photostyle.recognition.finetune.settings import (
    HEAD_RATE,
    RATES,
    FinetuneSettings,
    Phase,
    blocks_of,
    check_settings,
    phases_of,
)
from photostyle.recognition.finetune.tune import CONFUSION, CURVES, RECORD, finetune

# One block of 64 channels on pictures of 8 pixels, as large as the digits are: a tenth of a second an epoch.
TINY = FinetuneSettings(
    network="vgg11", random=True, blocks=1, size=8, regime="all", rates=(1e-3, 1e-4), epochs=2, batch=128
)
PLAIN = Preparation(8, 8, flip=False, shift=False, mean=(0.0,) * 3, deviation=(1.0,) * 3)


def test_the_document_s_numbers_are_the_defaults() -> None:
    settings = FinetuneSettings()
    assert (settings.network, settings.rates) == ("vgg16", (1e-5, 1e-7)) and RATES == (1e-5, 1e-7)
    assert {
        name: [phase.name for phase in phases_of(replace(settings, regime=name))] for name in REGIMES
    } == REGIMES
    assert blocks_of(settings) == 5 and blocks_of(FinetuneSettings(network="resnet18")) == 0


REGIMES: dict[Any, list[str]] = {"head": ["head"], "all": ["all"], "head-then-all": ["head", "all"]}


def test_the_rate_runs_between_its_ends_and_never_rises() -> None:
    (phase,) = phases_of(FinetuneSettings(regime="all"))
    rates = [phase.rate(step, 101) for step in range(101)]
    assert rates[0] == 1e-5 and rates[-1] == pytest.approx(1e-7) and rates == sorted(rates, reverse=True)
    assert rates[50] == pytest.approx((1e-5 + 1e-7) / 2)
    assert Phase("all", 1, (0.1, 0.01)).rate(0, 1) == 0.1
    first, second = phases_of(FinetuneSettings(epochs=7))
    assert (first.epochs, second.epochs, first.rates[0], second.rates) == (4, 3, HEAD_RATE, RATES)
    assert len(phases_of(FinetuneSettings(epochs=1))) == 1


@pytest.mark.parametrize(
    "wrong, match",
    [
        ({"network": "vgg61"}, "did you mean vgg"),
        ({"epochs": 0}, "--epochs is 0; it must be at least 1"),
        ({"batch": 1}, "--batch is 1; it must be at least 2"),
        ({"blocks": 6}, "--blocks is 6; it must lie between 0 and 5"),
        ({"network": "resnet18", "blocks": 2}, "--blocks cuts a VGG, and resnet18 is none"),
        ({"rates": (1e-7, 1e-5)}, "must fall"),
        ({"rates": (float("nan"), 1e-5)}, "must fall"),
        ({"head_rate": 0.0}, "--head-rate is 0.0"),
        ({"seed": 2**32}, "--seed is 4294967296; it must lie between"),
        ({"validation": 0.5, "test": 0.5}, "leave some to train on"),
    ],
)
def test_settings_that_cannot_be_are_one_line(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(PhotostyleError, match=match):
        check_settings(FinetuneSettings(**wrong))


def test_a_cut_is_the_square_at_its_corner() -> None:
    pictures = torch.arange(2 * 3 * 6 * 6).reshape(2, 3, 6, 6)
    found = cut_out(pictures, torch.tensor([[0, 2], [1, 0]]), 4)
    assert torch.equal(found, torch.stack([pictures[0, :, 0:4, 2:6], pictures[1, :, 1:5, 0:4]]))


def test_without_augmentation_the_middle_is_normalised() -> None:
    prepare = replace(PLAIN, size=6, mean=(0.1, 0.2, 0.3), deviation=(0.5, 0.25, 2.0))
    pictures = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    expected = (pictures[..., 1:7, 1:7] / 255 - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor(
        [0.5, 0.25, 2.0]
    )[:, None, None]
    torch.testing.assert_close(prepare(pictures), expected)


def test_augmentation_is_a_function_of_the_generator_and_takes_whole_squares() -> None:
    pictures = torch.randint(0, 256, (64, 3, 10, 10), dtype=torch.uint8)
    prepare = replace(PLAIN, size=8, resize=10, flip=True, shift=True)
    first, again, other = (prepare(pictures, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    seen = set()
    for picture, found in zip(pictures / 255, first, strict=True):
        squares = {
            (top, left, mirrored): picture[:, top : top + 8, left : left + 8].flip(-1 if mirrored else ())
            for top in range(3)
            for left in range(3)
            for mirrored in (False, True)
        }
        seen.add(next(place for place, square in squares.items() if torch.equal(square, found)))
    # 64 draws of 18 places: one that is never drawn has a chance of 18 * (17/18)^64 = 0.46, so most are asked for.
    assert len(seen) >= 14
    still = replace(prepare, flip=False, shift=False)(pictures, torch.Generator().manual_seed(1))
    assert torch.equal(still, pictures[..., 1:9, 1:9] / 255)


def test_small_pictures_are_shifted_over_their_repeated_border() -> None:
    ramp = torch.arange(16, dtype=torch.uint8).repeat(3, 16, 1)
    prepare = replace(PLAIN, size=16, resize=16, shift=True)
    found = prepare(ramp.repeat(64, 1, 1, 1), torch.Generator().manual_seed(0)) * 255
    places = {round(float(each[0, 0, 8])) - 8 for each in found}
    assert places == set(range(-(16 // BORDER), 16 // BORDER + 1))
    assert float(found.min()) >= 0 and float(found.max()) <= 15.001
    assert BORDER * 4 == 32  # He et al. 2016: 4 of CIFAR's 32 pixels


def test_enlarging_keeps_a_flat_picture_flat() -> None:
    torch.testing.assert_close(scaled(torch.full((1, 3, 8, 8), 0.3), 32), torch.full((1, 3, 32, 32), 0.3))
    torch.testing.assert_close(scaled(torch.full((1, 3, 32, 32), 0.3), 9), torch.full((1, 3, 9, 9), 0.3))


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 of the 1797 digits."""
    digits = load_digits()
    digits.images, digits.target = digits.images[:300], digits.target[:300]
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: digits)


@pytest.fixture
def few(few_digits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no plots: a test that trains several times takes a second."""
    for name in ("plot_confusion", "plot_history"):
        monkeypatch.setattr(tune, name, lambda *_: None)


def weights_of(folder: Path) -> bytes:
    return (folder / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_it_learns_and_writes_all_that_it_promises(few_digits: None, tmp_path: Path) -> None:
    said = list[str]()
    settings = replace(TINY, epochs=6, batch=32)
    record = finetune("digits", settings, tmp_path, hooks=Hooks(said.append))
    assert record["outcome"]["test accuracy"] > 0.7  # 10 % by chance
    assert record == json.loads((tmp_path / RECORD).read_text())
    assert record["weights"]["source"] == "random" and record["settings"]["random"] is True
    assert (
        record["outcome"]["best epoch"]
        == max(record["history"], key=lambda each: (each["validation accuracy"], -each["validation loss"]))[
            "epoch"
        ]
    )
    assert sum(record["data"]["pictures"]["test"]) == np.sum(record["outcome"]["confusion matrix"]) == 60
    for name in (CURVES, CONFUSION):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 500
    assert said[0].startswith("10 classes of 29 (2) to 32 (5)") and sum("best" in line for line in said) >= 1
    network = find_network("vgg11", tmp_path / WEIGHTS)
    assert network.classes == tuple("0123456789") and network.size == 8
    # A second call has nothing left to train, and says the same of the same weights.
    before = weights_of(tmp_path)
    again = finetune("digits", settings, tmp_path)
    assert again["outcome"] == record["outcome"] and weights_of(tmp_path) == before


@pytest.mark.parametrize(
    "regime, epochs, moved", [("head", 2, False), ("all", 2, True), ("head-then-all", 4, True)]
)
def test_a_regime_trains_what_it_says(
    few: None, tmp_path: Path, regime: Any, epochs: int, moved: bool
) -> None:
    start = headed("vgg11_bn", 5, 1, initialised=True).state_dict()
    write_tensors(
        tmp_path / "start.safetensors",
        start,
        {"network": "vgg11_bn", "blocks": "1", "size": "8", "resize": "8"},
    )
    settings = replace(TINY, network="vgg11_bn", random=False, regime=regime, epochs=epochs, batch=32)
    record = finetune("digits", settings, tmp_path, weights=tmp_path / "start.safetensors")
    end = load_file(tmp_path / WEIGHTS)
    for name in start:
        if name.startswith("features"):  # the batch statistics too
            assert torch.equal(start[name], end[name]) != moved, name
    assert end["classifier.0.weight"].shape == (10, 64 * 7 * 7)
    assert list(dict.fromkeys(each["phase"] for each in record["history"])) == REGIMES[regime]
    assert record["weights"]["source"] == "file" and record["weights"]["sha256"]


class Stops:
    """Hooks that ask to stop after so many batches."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("batches", [3, 7, 9])  # in the first epoch, at its end, in the second phase
def test_stopped_anywhere_it_ends_in_the_same_bytes(few: None, tmp_path: Path, batches: int) -> None:
    settings = replace(TINY, regime="head-then-all", batch=32)
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    whole = finetune("digits", settings, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        finetune("digits", settings, tmp_path / "stopped", hooks=Hooks(stop=Stops(batches)))
    torch.rand(17), np.random.random(3)  # noqa: NPY002 - another process has drawn other numbers
    stopped = finetune("digits", settings, tmp_path / "stopped")
    assert weights_of(tmp_path / "stopped") == weights_of(tmp_path / "whole")
    assert stopped["history"] == whole["history"]


def test_other_settings_or_data_do_not_go_on_from_a_checkpoint(few: None, tmp_path: Path) -> None:
    finetune("digits", replace(TINY, epochs=1), tmp_path)
    with pytest.raises(PhotostyleError, match=r"checkpoint\.safetensors was made with epochs = 1, not 2"):
        finetune("digits", replace(TINY, epochs=2), tmp_path)


def test_it_ends_early_where_validation_gets_no_better(few: None, tmp_path: Path) -> None:
    said = list[str]()
    # A rate at which nothing moves: the first epoch is the best.
    settings = replace(TINY, epochs=9, patience=2, rates=(1e-30, 1e-30))
    record = finetune("digits", settings, tmp_path, hooks=Hooks(said.append))
    assert record["outcome"]["epochs"] == 3 and record["outcome"]["best epoch"] == 1
    assert "all: no better validation in 2 epochs, so it ends here" in said


def test_a_loss_that_is_no_number_is_one_line(few: None, tmp_path: Path) -> None:
    start = headed("vgg11", 10, 1, initialised=True).state_dict()
    start["features.0.weight"] = torch.full_like(start["features.0.weight"], 3e38)
    write_tensors(
        tmp_path / "a.safetensors", start, {"network": "vgg11", "blocks": "1", "size": "8", "resize": "8"}
    )
    with pytest.raises(ComputationError, match="the loss is nan in epoch 1: lower --rates"):
        finetune("digits", replace(TINY, random=False), tmp_path, weights=tmp_path / "a.safetensors")
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize(
    "settings, weights, match",
    [
        (replace(TINY, blocks=5, size=16), None, "vgg11 cannot take pictures of 16x16"),
        (TINY, "a.safetensors", "--random and --weights .* contradict"),
        (
            replace(TINY, random=False, blocks=2),
            "a.safetensors",
            r"were cut: they have no features\.3\.weight",
        ),
    ],
)
def test_what_cannot_begin_is_one_line(
    few: None, tmp_path: Path, settings: Any, weights: str | None, match: str
) -> None:
    start = headed("vgg11", 10, 1, initialised=True).state_dict()
    write_tensors(
        tmp_path / "a.safetensors", start, {"network": "vgg11", "blocks": "1", "size": "8", "resize": "8"}
    )
    with pytest.raises(PhotostyleError, match=match) as caught:
        finetune("digits", settings, tmp_path, weights=weights and tmp_path / weights)
    assert "\n" not in str(caught.value)


def test_a_folder_is_learnt_through_files(few: None, tmp_path: Path) -> None:
    """Two classes that differ in colour alone; odd numbers, so that a last batch has one picture."""
    for name, colour in (("blue", (0, 0, 200)), ("red", (200, 0, 0))):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (12 + number, 16), colour).save(tmp_path / "data" / name / f"{number}.png")
    settings = replace(TINY, network="vgg11_bn", epochs=12, batch=5)
    (tmp_path / "out").mkdir()
    record = finetune(str(tmp_path / "data"), settings, tmp_path / "out")
    assert record["outcome"]["test accuracy"] == 1 and record["data"]["classes"] == ["blue", "red"]


def test_the_confusion_matrix_counts_rows_as_they_are() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 1, 1, 1, 0, 2])
    matrix = confusion_matrix(predicted, labels, 4)
    assert matrix.tolist() == [[1, 2, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert accuracies(matrix, "abcd") == {"a": pytest.approx(1 / 3), "b": 1.0, "c": 0.5, "d": None}
    assert confused(matrix, "abcd") == [
        {"class": "a", "taken for": "b", "times": 2},
        {"class": "c", "taken for": "a", "times": 1},
    ]


@pytest.mark.parametrize("classes", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_the_confusion_matrix_is_a_picture_for_few_classes_and_for_many(tmp_path: Path, classes: int) -> None:
    plot_confusion(
        np.eye(classes, dtype=int) * 9, [f"a class named {n}" for n in range(classes)], tmp_path / "a.png"
    )
    with Image.open(tmp_path / "a.png") as picture:
        assert 300 < picture.width <= 16 * 120
