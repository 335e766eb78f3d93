"""bfloat16 where it is asked for or pays: features close to float32's, and a record that says which it was."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data
from vgg import narrow_vgg

from photostyle.cli import main
from photostyle.cli.console import DONE
from photostyle.errors import PhotostyleError
from photostyle.losses import precision
from photostyle.losses.encoders import Encoder
from photostyle.losses.precision import GAIN, resolved
from photostyle.process import prepared

LAYERS = ("relu1_1", "relu2_1", "relu3_1")


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that is made for bfloat16."""
    monkeypatch.setattr(precision, "gain", lambda: 2 * GAIN)


def test_features_in_bfloat16_are_float32s_to_its_digits():
    image = torch.rand(3, 40, 33, generator=torch.Generator().manual_seed(1)).requires_grad_()
    exact = Encoder(narrow_vgg(width=8), layers=LAYERS)(image)
    coarse = Encoder(narrow_vgg(width=8), layers=LAYERS, precision="bfloat16")(image)
    for layer in LAYERS:
        assert coarse[layer].dtype == torch.float32 and not torch.equal(coarse[layer], exact[layer])
        # Half a unit of 8 digits is 0.002; a layer's input, weights and output are rounded, five layers deep.
        assert (coarse[layer] - exact[layer]).norm() <= 0.02 * exact[layer].norm()
    sum(each.square().mean() for each in coarse.values()).backward()
    assert image.grad is not None and image.grad.dtype == torch.float32 and image.grad.isfinite().all()


def test_an_unknown_precision_is_an_error():
    with pytest.raises(PhotostyleError, match='unknown precision "float16": give float32 or bfloat16'):
        Encoder(narrow_vgg(), layers=LAYERS, precision="float16")


@pytest.mark.parametrize(("gain", "expected"), [(0.4, "float32"), (GAIN, "bfloat16"), (5.0, "bfloat16")])
def test_auto_is_bfloat16_where_it_pays(monkeypatch: pytest.MonkeyPatch, gain: float, expected: str):
    monkeypatch.setattr(precision, "gain", lambda: gain)
    assert resolved("auto", "cpu") == expected
    assert resolved("float32", "cpu") == "float32" and resolved("bfloat16", "cpu") == "bfloat16"
    assert resolved("auto", "cuda") == "float32"


def test_auto_is_float32_where_runs_have_to_be_the_same(fast: None):
    with prepared(deterministic=True):
        assert resolved("auto", "cpu") == "float32"
    assert resolved("auto", "cpu") == "bfloat16"


def test_the_trial_is_done_once_and_finds_a_ratio():
    assert precision.gain() > 0 and precision.gain() == precision.gain()


@pytest.mark.slow
def test_the_record_has_the_precision_that_was_decided_on_and_repeats_it(
    fast: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for name, picture in (("photo", data.coffee()), ("style", data.rocket())):
        Image.fromarray(picture).resize((48, 32)).save(f"{name}.png")
    torch.save(narrow_vgg(), "vgg.pth")
    files = [
        "--content",
        "photo.png",
        "--style",
        "style.png",
        "--weights",
        "vgg.pth",
        "--boldness",
        "1",
        "--no-metrics",
    ]
    sizes = ["--size", "48", "--coarsest", "48", "--iterations", "2", "--device", "cpu", "--threads", "1"]
    assert main(["run", *files, *sizes, "--preset", "photoreal", "--precision", "auto"]) == DONE
    record = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert record["config"]["precision"] == "bfloat16"
    # Where the record is repeated the trial may end otherwise.
    monkeypatch.setattr(precision, "gain", lambda: GAIN / 2)
    assert main(["rerun", "out.json", "--output", "again.png"]) == DONE
    assert Path("again.png").read_bytes() == Path("out.png").read_bytes()
