"""A training of many styles: its numbers, its phases, and that it goes on as if it had not been interrupted."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from skimage import data
from torch import Tensor
from vgg import narrow_vgg

from photostyle.errors import ComputationError, PhotostyleError
from photostyle.feedforward.data import Pictures, StyleGallery, as_pictures
from photostyle.feedforward.distributed import Ranks
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.presets import PRESETS
from photostyle.feedforward.settings import ModelSettings
from photostyle.feedforward.train import Training, TrainingSettings, mixed
from photostyle.files.checkpoints import load_checkpoint, save_checkpoint
from photostyle.losses.encoders import Encoder
from photostyle.training.pictures import find_pictures
from photostyle.training.states import seeded

SMALL = TrainingSettings(
    size=32,
    style_sizes=(32, 48),
    style_crops=4,
    epoch_contents=8,
    batch=2,
    epochs=3,
    encoder_epochs=1,
    precision="float32",
)
MODEL = ModelSettings(channels=2, blocks=1, dimension=4, style_network="small")
ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("chelsea", "coffee", "rocket"):
        Image.fromarray(getattr(data, name)()).resize((96, 80)).save(folder / f"{name}.png")
    torch.save(narrow_vgg(), folder / "vgg.pth")
    return folder


def training(folder: Path, settings: TrainingSettings = SMALL, **model: object) -> Training:
    pictures = Pictures(find_pictures(folder), 96)
    gallery = StyleGallery.of(pictures, settings.style_sizes, settings.style_crops, settings.seed)
    with seeded(settings.seed):
        made = StyleModel(replace(MODEL, **model))  # type: ignore[arg-type]
    encoder = Encoder(narrow_vgg(), layers=settings.layers())
    return Training(made, settings, pictures, gallery, encoder, ALONE)


def state_of(model: StyleModel) -> dict[str, Tensor]:
    return {name: each.clone() for name, each in model.state_dict().items()}


def test_the_documents_numbers_are_the_preset() -> None:
    settings = PRESETS["document"].training
    assert settings == TrainingSettings()
    assert (settings.content_weight, settings.style_weight, settings.variation_weight) == (1.0, 5.0, 1e-5)
    assert (settings.learning_rate, settings.betas, settings.schedule) == (5e-4, (0.9, 0.999), "constant")
    assert (settings.batch, settings.size, settings.style_sizes, settings.style_crops) == (
        32,
        256,
        (128, 256),
        200,
    )
    assert (settings.epochs, settings.epoch_contents) == (80, 10_000)
    assert 0 < settings.joint_steps < settings.steps == 80 * (10_000 // 32)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": 16}, "16"),
        ({"style_sizes": ()}, "crops"),
        ({"batch": 0}, "--batch is 0; it must be at least 1"),
        ({"learning_rate": 0.0}, "--learning-rate is 0.0; it must be more than 0"),
        ({"content_weight": math.nan}, "--content-weight is nan"),
        ({"clip": math.inf}, "--clip is inf"),
        ({"warmup": -1}, "--warmup is -1"),
        ({"betas": (0.9, 1.0)}, "--betas are"),
        ({"content_layer": "relu9_9"}, 'no layer "relu9_9"'),
        ({"seed": -1}, "--seed is -1"),
        ({"epoch_contents": 1}, "at least a batch"),
        ({"encoder_epochs": 4}, "0 to 3"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(PhotostyleError, match=said):
        replace(SMALL, **wrong)  # type: ignore[arg-type]


def test_rates_rise_then_fall_along_a_cosine() -> None:
    settings = replace(SMALL, schedule="cosine", warmup=3)
    rates = [settings.rate(step) / settings.learning_rate for step in range(settings.steps + 1)]
    assert rates[0] == pytest.approx(1 / 4)
    assert max(rates) == rates[3]
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(0.01)


def test_the_generator_is_held_in_the_second_phase(folder: Path) -> None:
    under_way = training(folder)
    states = {report.step: state_of(under_way.model) for report in under_way.run(every=4)}
    assert under_way.phase == "encoder"
    first, joint, last = states[4], states[8], states[12]

    def moved(before: dict[str, Tensor], after: dict[str, Tensor], part: str) -> bool:
        return any(not torch.equal(before[name], after[name]) for name in before if name.startswith(part))

    assert moved(first, joint, "generator.") and moved(first, joint, "encoder.")
    assert not moved(joint, last, "generator.")
    assert moved(joint, last, "encoder.")


def test_it_goes_on_from_a_checkpoint_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    whole = training(folder)
    for report in whole.run(every=1):
        if report.step == 5:
            save_checkpoint(tmp_path / "checkpoint.safetensors", whole.state())
    torch.manual_seed(99)  # whatever was drawn in between
    rest = training(folder)
    checkpoint = load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert checkpoint is not None
    rest.restore(checkpoint)
    assert [report.step for report in rest.run(every=1)] == list(range(6, 13))
    for name, each in state_of(whole.model).items():
        assert torch.equal(each, rest.model.state_dict()[name]), name
    losses = [[entry["total"] for entry in each.history] for each in (whole, rest)]
    assert losses[0] == losses[1]


def test_a_checkpoint_of_other_settings_is_refused(folder: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.safetensors", training(folder).state())
    checkpoint = load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert checkpoint is not None
    with pytest.raises(PhotostyleError, match="learning_rate"):
        training(folder, replace(SMALL, learning_rate=1.0)).restore(checkpoint)
    with pytest.raises(PhotostyleError, match="injection"):
        training(folder, injection="concat").restore(checkpoint)


@pytest.mark.parametrize("injection", ["concat", "inject", "film", "patch"])
def test_every_injection_learns(folder: Path, injection: str) -> None:
    settings = replace(SMALL, encoder_epochs=0, learning_rate=5e-3)
    under_way = training(folder, settings, injection=injection)
    batch = as_pictures(torch.stack([under_way.contents[0, number] for number in (0, 7)]), ALONE.device)
    # The same step again and again: the same contents in the same styles.
    totals = [float(under_way._advance(batch)[:-1].sum()) for _ in range(15)]
    assert totals[-1] < 0.9 * totals[0]


def test_patches_have_no_encoder_to_tune(folder: Path) -> None:
    with pytest.raises(PhotostyleError, match="encoder_epochs 0"):
        training(folder, injection="patch")


def test_a_loss_that_is_no_number_ends_it(folder: Path) -> None:
    under_way = training(folder)
    with torch.no_grad():
        next(under_way.model.generator.parameters()).fill_(torch.nan)
    with pytest.raises(ComputationError, match="learning rate"):
        list(under_way.run())


def test_too_many_gram_matrices_are_computed_when_they_are_needed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = training(folder)
    monkeypatch.setattr("photostyle.feedforward.train.TARGET_BYTES", 0)
    computed = training(folder)
    assert computed.targets is None
    first, second = (next(iter(each.run(every=1))) for each in (kept, computed))
    assert first.losses == pytest.approx(second.losses, rel=1e-5)


def test_float32_stays_float32_where_it_is_asked_for() -> None:
    assert mixed("float32", torch.device("cpu")) == "float32"
    assert mixed("bfloat16", torch.device("cpu")) == "bfloat16"


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(PhotostyleError, match="multiple of 3"):
        Ranks(0, 3, torch.device("cpu")).share(32)


def command(folder: Path, output: Path, *more: str) -> list[str]:
    options = {"contents": folder, "styles": folder, "weights": folder / "vgg.pth", "output": output}
    options |= {"size": 32, "style-sizes": 32, "style-crops": 4, "epoch-contents": 8, "batch": 2}
    options |= {"epochs": 6, "encoder-epochs": 1, "channels": 2, "blocks": 1, "dimension": 4}
    options |= {
        "every": 1,
        "save-seconds": 0,
        "sample-every": 1000,
        "workers": 0,
        "device": "cpu",
        "threads": 1,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return ["scripts/train.py", "multistyle", "--tiny", *words, "--precision", "float32", *more]


def run(root: Path, words: list[str], *launcher: str) -> None:
    subprocess.run(
        [sys.executable, *launcher, *words], cwd=root, check=True, capture_output=True, timeout=300
    )


@pytest.mark.slow
def test_a_killed_training_ends_in_the_same_bytes(root: Path, folder: Path, tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    run(root, command(folder, undisturbed))
    process = subprocess.Popen(
        [sys.executable, *command(folder, killed)],
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120
    while not (killed / "checkpoint.previous.safetensors").exists() and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "model.safetensors").exists()
    run(root, command(folder, killed))
    ours, theirs = ((each / "model.safetensors").read_bytes() for each in (undisturbed, killed))
    assert ours == theirs
    histories = [json.loads((each / "record.json").read_text())["history"] for each in (undisturbed, killed)]
    assert [entry["total"] for entry in histories[0]] == [entry["total"] for entry in histories[1]]


@pytest.mark.slow
def test_two_processes_train_the_network_that_one_does(root: Path, folder: Path, tmp_path: Path) -> None:
    run(root, command(folder, tmp_path / "one", "--epochs", "2"))
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    run(root, command(folder, tmp_path / "two", "--epochs", "2"), *launcher)
    one, two = (load_file(tmp_path / each / "model.safetensors") for each in ("one", "two"))
    for name, each in one.items():
        # Adam's first steps are the signs of gradients, so one near 0 may turn: a few of eight steps of 5e-4 to 1e-3.
        torch.testing.assert_close(two[name], each, atol=4e-3, rtol=1e-3)
