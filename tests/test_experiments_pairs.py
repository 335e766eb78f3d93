"""The kinds of experiments on published pairs and on cost, each run whole on a small pair of free photographs."""

import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import spearmanr
from torch import Tensor
from vgg import narrow_vgg

from experiments.framework import INDEX_BEGIN, INDEX_END, run_experiment
from experiments.kinds import (
    benchmark,
    cost,
    lowres,
    variants,
)
from experiments.pairs import SLIM, read_pair
from experiments.scoring import HELD_OUT, scores_of
from photostyle.errors import PhotostyleError
from photostyle.evaluation.scores import SCORES
from photostyle.files.images import read_image, write_image
from photostyle.imaging.filters import resize
from photostyle.losses.weights import find

ROOT = Path(__file__).resolve().parent.parent

CONFIG = """
question = "q"
expectation = "e"
answer = "a"
cost = "c"
command = "python scripts/experiment.py experiments/000-twice"
kind = "{kind}"

[settings]
{settings}
"""
QUICK = "size = 48, iterations = [2], coarsest = 48, threads = 1"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, coffee: Tensor, chelsea: Tensor) -> Path:
    """A data folder with pair 1 in the published layout: free photographs, a narrow encoder, results as published."""
    folder = tmp_path_factory.mktemp("data")
    mask = torch.zeros(3, 64, 96)
    mask[:, :, 40:] = 1
    ours, theirs = resize(coffee, 64, 96), resize(chelsea, 64, 96)
    pictures = {
        "input/in1.png": ours,
        "style/tar1.png": theirs,
        "segmentation/in1.png": mask,
        "segmentation/tar1.png": mask,
        "final_results/best1_t_1000.png": (ours + theirs) / 2,
        "tmp_results/out1_t_1000.png": theirs,
    }
    for name, picture in pictures.items():
        (folder / "dpst" / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(folder / "dpst" / name, picture)
    (folder / SLIM).parent.mkdir()
    save_file(narrow_vgg(), folder / SLIM)
    return folder


@pytest.fixture
def experiment(tmp_path: Path, data: Path) -> Any:
    """Runs an experiment of a kind with some settings, in a folder of its own; returns result and folder."""

    def run(kind: str, settings: str) -> tuple[dict[str, Any], Path]:
        folder = tmp_path / "experiments" / "000-twice"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.toml").write_text(CONFIG.format(kind=kind, settings=settings), encoding="utf-8")
        (folder.parent / "README.md").write_text(f"{INDEX_BEGIN}\n{INDEX_END}\n", encoding="utf-8")
        results = "<!-- results: written by scripts/experiment.py -->\n<!-- /results -->\n"
        (tmp_path / "README.md").write_text(results, encoding="utf-8")
        result = run_experiment(folder, data, lambda line: None)
        assert result is not None
        return result, folder

    return run


def test_held_out_scores_are_of_other_layers_and_other_patches(data):
    pair = read_pair(data, 1)
    untouched = scores_of(pair.content.pixels, pair, data)
    assert [untouched[name] for name in ("style", *HELD_OUT)] == pytest.approx([1, 1, 1])
    moved = scores_of((pair.content.pixels * 0.7).clamp(0, 1), pair, data)
    assert len({round(moved[name], 6) for name in ("style", *HELD_OUT)}) == 3


METHODS = f"""
pairs = [1]
shown = ["Reinhard", "ours"]
methods = [
    {{ name = "ours", config = {{ preset = "patches", {QUICK} }} }},
    {{ name = "published" }},
    {{ name = "published, stage one" }},
    {{ name = "without", config = {{ preset = "patches", masks = "none", {QUICK} }} }},
    {{ name = "Gram", config = {{ preset = "photoreal", weights = "encoders/slim_vgg19.safetensors", {QUICK} }} }},
    {{ name = "Reinhard" }},
    {{ name = "histogram matching" }},
    {{ name = "photo" }},
]
"""


@pytest.mark.slow
def test_the_benchmark_from_settings_to_report(experiment, data, tmp_path, monkeypatch, coffee, chelsea):
    free = {"coffee": (resize(coffee, 64, 96), resize(chelsea, 64, 96))}
    monkeypatch.setattr(benchmark, "free_pairs", lambda: free)
    result, folder = experiment("benchmark", METHODS)
    figures = result["figures"]
    pair = read_pair(data, 1)
    expected = scores_of((pair.content.pixels + pair.style.pixels) / 2, pair, data)
    # The published picture is an 8-bit file: its scores are those of the unrounded one to a level or so.
    for score in ("style", "colour", "edge"):
        assert figures["methods"]["published"]["scores"][score]["mean"] == pytest.approx(
            expected[score], abs=0.05
        )
    assert figures["pairs"]["photo"]["1"]["edge"] == pytest.approx(1)
    assert figures["methods"]["photo"]["scores"]["style"]["mean"] == pytest.approx(1)
    assert figures["pairs"]["ours"]["1"] != figures["pairs"]["without"]["1"]
    assert figures["methods"]["ours"]["seconds"] > 0 and figures["methods"]["Reinhard"]["seconds"] is None
    assert (folder / "scores.csv").read_text(encoding="utf-8").count("\n") == 9
    assert (folder / "sheet.jpg").exists() and (folder / "runs" / "sheet-01.jpg").exists()
    page = (folder / "runs" / "report.html").read_text(encoding="utf-8")
    HTMLParser().feed(page)
    assert "histogram matching" in page and "http://" not in page
    assert "| ours |" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "worst pair first" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_pair_is_won_with_five_of_seven_scores():
    theirs = dict.fromkeys((*SCORES, *HELD_OUT), 0.5)
    better = {"style": 0.4, "colour": 0.4, "edge": 0.6, "grey": 0.6, "matting": 0.4}
    scores = {
        "ours": {1: theirs | better, 2: theirs | better | {"edge": 0.4}},
        "published": {1: theirs, 2: theirs},
    }
    records = {
        f"{pair} {name}": {
            "parameters": {"pair": pair, "method": {"name": name}},
            "figures": {"scores": of_pair, "seconds": None},
        }
        for name, of_pairs in scores.items()
        for pair, of_pair in of_pairs.items()
    }
    figures = benchmark.summarise({}, records)
    against = figures["methods"]["ours"]["against"]
    assert (against["pairs won"], against["of"]) == (1, 2)
    assert against["won in each pair"] == {"1": 5, "2": 4}
    assert (against["wins"]["edge"], against["wins"]["style"], against["wins"]["drift4"]) == (1, 2, 0)
    assert against["ratio"]["style"] == pytest.approx(0.8)
    table = benchmark.headline(figures)
    assert "| ours | **0.400** | **0.400** | **0.500** |" in table and "1 of 2 pairs" in table


@pytest.mark.slow
def test_variants_compare_with_the_first(experiment):
    settings = f"""
pairs = [1]
variants = [
    {{ name = "preset", config = {{ preset = "patches", {QUICK} }} }},
    {{ name = "more", config = {{ preset = "patches", {QUICK.replace("[2]", "[40]")} }} }},
    {{ name = "none", config = {{ preset = "instant" }} }},
]
"""
    result, folder = experiment("variants", settings)
    figures = result["figures"]
    assert figures["preset"]["seconds"] == figures["preset"]["total"] == pytest.approx(1)
    assert figures["more"]["evaluations"] == 40 and figures["more"]["seconds"] > 1
    assert figures["more"]["total"] < 1
    assert figures["none"]["seconds"] is None and figures["none"]["evaluations"] == 0
    assert "| more |" in variants.tables(figures) and (folder / "runs" / "sheet-01.jpg").exists()


@pytest.mark.slow
def test_low_resolution_ranks_settings_and_judges_a_search_at_full_size(experiment, monkeypatch):
    quick = {"size": 64, "iterations": (3,), "coarsest": 48, "threads": 1}
    monkeypatch.setitem(lowres.PRESETS, "search", quick | {"size": 48})
    monkeypatch.setitem(lowres.PRESETS, "patches", quick)
    settings = 'preset = "patches"\npairs = [1]\ntrials = 3\ndraws = 4\n'
    result, folder = experiment("lowres", settings)
    entry = result["figures"]["1"]
    small, large = ([point["style"] for point in entry["points"][size]] for size in ("small", "large"))
    assert len(set(small)) == 4
    assert entry["spearman"]["style"] == pytest.approx(spearmanr(small, large).statistic)
    search = entry["search"]
    assert search["small"]["chosen"] <= search["small"]["preset"]
    assert search["preset"]["distance"] == pytest.approx(
        np.hypot(search["preset"]["style"], 1 - search["preset"]["edge"])
    )
    # The preset's own settings at full size, once as a random point and once beside the search.
    assert search["preset"]["style"] == pytest.approx(large[0])
    assert "| 1 | chosen |" in lowres.tables(result["figures"])
    assert (folder / "runs" / "sheet.jpg").exists()


@pytest.mark.slow
def test_cost_is_of_a_process_of_its_own(experiment):
    held = np.ones(1200 * 2**17)  # 1200 MiB of eight bytes each, which are no peak of the process
    quick = QUICK.removesuffix(", threads = 1")
    line = f'{{ name = "small", photo = 64, threads = 1, config = {{ preset = "patches", boldness = 1.0, {quick} }} }}'
    result, _ = experiment("cost", f"lines = [{line}]")
    small = result["figures"]["small"]
    assert small["evaluations"] == 2 and small["evaluation"] > 0 and small["ratio"] == 1
    assert small["width"] == 64
    assert 100 < small["peak"] < held.nbytes / 2**20  # MiB; the imports are 600


@pytest.mark.slow
def test_cost_of_an_enlarged_photograph_and_of_no_evaluation(tmp_path):
    line = {"name": "none", "photo": 1300, "threads": 1, "config": {"preset": "instant"}}
    none = cost.measure(line, tmp_path)
    assert none["evaluations"] == 0 and none["evaluation"] is None
    assert none["width"] == 1300  # the photograph itself has 640


def test_cost_is_told_over_the_first_line():
    lines = [{"name": "b"}, {"name": "a"}]
    records = {name: {"figures": {"seconds": seconds}} for name, seconds in (("a", 6.0), ("b", 4.0))}
    figures = cost.summarise({"lines": lines}, records)
    assert (figures["b"]["ratio"], figures["a"]["ratio"]) == (1, 1.5)


def test_a_killed_cost_process_is_one_line(tmp_path, monkeypatch):
    killed = subprocess.CompletedProcess([], -9, "", "")
    monkeypatch.setattr(cost.subprocess, "run", lambda *arguments, **options: killed)
    with pytest.raises(PhotostyleError, match=r"^x: ended with -9, perhaps out of memory$"):
        cost.execute({"name": "x", "threads": 1}, tmp_path, tmp_path)


@pytest.mark.slow
def test_a_failed_cost_process_is_one_line(tmp_path):
    parameters = {"name": "x", "photo": 64, "threads": 1, "config": {"preset": "patches", "size": 0}}
    with pytest.raises(PhotostyleError, match=r"^x: .*size"):
        cost.execute(parameters, tmp_path, tmp_path)


@pytest.mark.slow
def test_the_random_network_has_the_real_one_s_widths(tmp_path):
    path = tmp_path / "random.safetensors"
    save_file(cost.random_vgg19(), path)
    state = find(path, "vgg19", download=False).state
    shapes = [state[f"features.{n}.weight"].shape[0] for n in (0, 5, 10, 19, 28)]
    assert shapes == [64, 128, 256, 512, 512]


def test_a_picture_that_is_written_is_what_was_scored(data, tmp_path):
    parameters = {"pair": 1, "method": {"name": "Reinhard"}}
    figures = benchmark.execute(parameters, data, tmp_path)
    picture = read_image(tmp_path / "01 Reinhard.png").pixels
    again = scores_of(picture, read_pair(data, 1), data)
    assert figures["scores"]["edge"] == pytest.approx(again["edge"], abs=0.02)
    assert picture.shape == (3, 64, 96)
