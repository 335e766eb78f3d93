"""The experiment on unrelated photographs, run whole on small ones, and its verdicts."""

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch
from torch import Tensor

from experiments.calibration import read_verdicts
from experiments.framework import INDEX_BEGIN, INDEX_END, read_config, run_experiment
from experiments.kinds import unrelated
from experiments.photographs import SHIPPED, file_of, photograph, title
from photostyle.errors import PhotostyleError
from photostyle.evaluation.doubt import doubt
from photostyle.evaluation.signs import Signs
from photostyle.files.images import read_image, sha256_of, write_image
from photostyle.imaging.filters import area_average

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """
question = "q"
expectation = "e"
answer = "a"
cost = "c"
command = "python scripts/experiment.py experiments/000-twice"
kind = "unrelated"

[settings]
pairs = "free/pairs.toml"

[[settings.variants]]
name = "default"
masks = "cluster"
config = { preset = "patches", size = 48, iterations = [1] }

[[settings.variants]]
name = "one colour map at 0.6"
masks = "none"
config = { preset = "instant" }
"""
PAIRS = """
[[pair]]
content = "cup.png"
style = "../dpst/input/in1.png"
verdict_0_1_0 = "bad: green"

[[pair]]
content = "skimage:coffee"
style = "cup.png"
"""

COFFEE = skimage.data.coffee()[::4, ::4]


@pytest.fixture
def experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coffee: Tensor, chelsea: Tensor, one_start: None
) -> tuple[Path, Path]:
    """The folder of the experiment and that of its data."""
    data, folder = tmp_path / "data", tmp_path / "experiments" / "000-twice"
    for each in (data / "free", data / "dpst" / "input", folder):
        each.mkdir(parents=True)
    write_image(data / "free" / "cup.png", area_average(coffee, 64, 96))
    write_image(data / "dpst" / "input" / "in1.png", area_average(chelsea, 64, 96))
    (data / "free" / "pairs.toml").write_text(PAIRS, encoding="utf-8")
    (folder / "config.toml").write_text(CONFIG, encoding="utf-8")
    (folder.parent / "README.md").write_text(f"{INDEX_BEGIN}\n{INDEX_END}\n", encoding="utf-8")
    for name in ("verdicts.toml", "signs.csv"):
        shutil.copy(ROOT / "experiments" / "013-unrelated-photographs" / name, folder / name)
    monkeypatch.setattr("skimage.data.coffee", lambda: COFFEE)
    monkeypatch.setattr(unrelated, "FOLDER", folder)
    monkeypatch.setattr("experiments.calibration.RESAMPLES", 10)
    return folder, data


def run(folder: Path, data: Path) -> dict[str, Any]:
    result = run_experiment(folder, data, lambda text: None)
    assert result is not None
    figures: dict[str, Any] = result["figures"]
    return figures


@pytest.mark.slow
def test_pictures_are_made_doubted_judged_and_shown(experiment: tuple[Path, Path]) -> None:
    folder, data = experiment
    figures = run(folder, data)
    assert list(figures["pairs"]) == ["cup from in1", "coffee from cup"]
    entry = figures["pairs"]["cup from in1"]
    assert entry["0.1.0"] == "bad: green" and figures["0.1.0"]["bad"] == 1
    for name, found in entry["variants"].items():
        path = folder / "runs" / f"cup from in1, {name}.png"
        assert sha256_of(path) == found["sha256"] and found["verdict"] is None
        assert found["doubt"] == doubt(Signs(**found["signs"]))
    assert entry["variants"]["one colour map at 0.6"]["regions"] == 1
    assert figures["variants"]["default"]["not judged"] == 2
    assert figures["agreement"]["this experiment"]["couples"] is None
    assert figures["agreement"]["fresh photographs"]["couples"] > 0.9
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "| cup from in1 | bad: green | not judged (0." in text
    # Both are of the data folder, or one is: neither may be shown.
    assert (folder / "runs" / "sheet 1.png").exists() and not (folder / "sheet.jpg").exists()


@pytest.mark.slow
def test_a_verdict_is_of_the_picture_that_was_looked_at(experiment: tuple[Path, Path]) -> None:
    folder, data = experiment
    found = run(folder, data)["pairs"]["cup from in1"]["variants"]
    stubs = folder / "runs" / "to judge.toml"
    assert len(tomllib.loads(stubs.read_text(encoding="utf-8"))["verdict"]) == 4
    said = stubs.read_text(encoding="utf-8").split("[[verdict]]")[1:3]
    given = [
        "[[verdict]]" + text.replace('verdict = ""', f'verdict = "{verdict}"').replace('""', '"why"')
        for text, verdict in zip(said, ("bad", "good"), strict=True)
    ]
    # The second was given for another picture.
    given[1] = given[1].replace(found["one colour map at 0.6"]["sha256"], "0" * 64)
    with (folder / "verdicts.toml").open("a", encoding="utf-8") as file:
        file.write("\n" + "\n".join(given))
    figures = run(folder, data)
    found = figures["pairs"]["cup from in1"]["variants"]
    assert (found["default"]["verdict"], found["default"]["of an older picture"]) == ("bad", False)
    assert (
        found["one colour map at 0.6"]["verdict"],
        found["one colour map at 0.6"]["of an older picture"],
    ) == ("good", True)
    assert (
        figures["variants"]["default"]["bad"] == 1
        and figures["variants"]["one colour map at 0.6"]["good"] == 0
    )
    assert figures["agreement"]["this experiment"]["pictures"] == 1
    assert "good: why (of an older picture)" in (folder / "README.md").read_text(encoding="utf-8")
    assert len(tomllib.loads(stubs.read_text(encoding="utf-8"))["verdict"]) == 3


@pytest.mark.slow
def test_a_picture_of_an_earlier_version_is_shown_beside(experiment: tuple[Path, Path]) -> None:
    folder, data = experiment
    first, _, closed_form = CONFIG.split("[[settings.variants]]")
    (folder / "config.toml").write_text(f"{first}[[settings.variants]]{closed_form}", encoding="utf-8")
    run(folder, data)
    settings, sheet = read_config(folder)["settings"], folder / "runs" / "sheet 1.png"
    width = read_image(sheet).width
    (folder / "before").mkdir()
    write_image(folder / "before" / "cup from in1.png", torch.rand(3, 40, 60))
    unrelated.sheet(settings, data, folder)
    assert read_image(sheet).width > width
    # A pair of which neither is of the data folder is shown to everyone.
    pairs = PAIRS.replace('style = "cup.png"', 'style = "skimage:coffee"')
    (data / "free" / "pairs.toml").write_text(pairs, encoding="utf-8")
    run(folder, data)
    assert (folder / "sheet.jpg").exists()


def test_photographs_go_by_name(tmp_path: Path) -> None:
    assert file_of("Dune.jpg") == "free/Dune.jpg" and file_of("../dpst/input/in3.png") == "dpst/input/in3.png"
    assert file_of("skimage:coffee") is None
    for name in (
        *(f"skimage:{each}" for each in SHIPPED),
        "sklearn:china.jpg",
        "matplotlib:grace_hopper.jpg",
    ):
        assert min(photograph(name, tmp_path).pixels.shape[1:]) > 200
    assert title("skimage:coffee", "../dpst/input/in3.png") == "coffee from in3"
    with pytest.raises(PhotostyleError, match='no photograph "skimage:moon"; name a file'):
        photograph("skimage:moon", tmp_path)


def test_the_recorded_verdicts_are_of_different_pairs_and_settings() -> None:
    verdicts = read_verdicts(ROOT / "experiments" / "013-unrelated-photographs" / "verdicts.toml")
    keys = [(*each.pair, each.setting, each.sha256) for each in verdicts]
    assert len(set(keys)) == len(keys) and json.dumps(keys)
    assert all(each.reason for each in verdicts if each.verdict != "good")
    assert {each.set for each in verdicts} >= {"calibration", "fresh"}
