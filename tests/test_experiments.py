"""Experiments: run once, go on where they stopped, and never older than their settings."""

import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from photostyle.errors import PhotostyleError
from photostyle.masks import MaskSet

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from experiments import artefact_pictures, masks  # noqa: E402
from experiments.framework import (  # noqa: E402
    INDEX_BEGIN,
    INDEX_END,
    config_hash,
    experiments,
    index,
    read_config,
    read_result,
    readme,
    run_experiment,
)

FOLDERS = list(experiments(ROOT / "experiments"))

CONFIG = """
question = "Is twice a number larger?"
expectation = "For positive numbers."
answer = "Yes."
cost = "Nothing."
command = "python scripts/experiment.py experiments/000-twice"
kind = "twice"

[settings]
numbers = [1, 2, 3]
"""


@pytest.fixture
def twice(tmp_path, monkeypatch):
    """An experiment whose kind counts its runs."""
    kind = types.ModuleType("experiments.twice")
    kind.executed = []

    def execute(parameters, data, folder):
        kind.executed.append(parameters["number"])
        if parameters["number"] == kind.fails:
            raise KeyboardInterrupt
        return {"twice": 2 * parameters["number"]}

    kind.fails = None
    kind.runs = lambda settings, data: {f"run {n}": {"number": n} for n in settings["numbers"]}
    kind.execute = execute
    kind.summarise = lambda settings, records: {"sum": sum(r["figures"]["twice"] for r in records.values())}
    kind.tables = lambda figures: f"The sum is {figures['sum']}."
    monkeypatch.setitem(sys.modules, "experiments.twice", kind)
    folder = tmp_path / "000-twice"
    folder.mkdir()
    (folder / "config.toml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "README.md").write_text(f"Before\n{INDEX_BEGIN}\nold\n{INDEX_END}\nAfter\n", encoding="utf-8")
    return folder, kind


def silent(line: str) -> None:
    pass


def test_a_finished_experiment_has_its_result_readme_and_a_line_in_the_index(twice, tmp_path):
    folder, _ = twice
    result = run_experiment(folder, tmp_path, silent)
    assert result["figures"] == {"sum": 12} == read_result(folder)["figures"]
    assert result["config"] == config_hash(read_config(folder))
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "# Is twice a number larger?" in text and "The sum is 12." in text and "**Answer.** Yes." in text
    overview = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert overview.startswith("Before\n") and overview.endswith("\nAfter\n") and "old" not in overview
    assert "[000-twice](000-twice/README.md) | Is twice a number larger? | Yes. |" in overview


def test_an_interrupted_experiment_goes_on_and_repeats_nothing(twice, tmp_path):
    folder, kind = twice
    kind.fails = 3
    with pytest.raises(KeyboardInterrupt):
        run_experiment(folder, tmp_path, silent)
    assert kind.executed == [1, 2, 3] and not (folder / "result.json").exists()
    kind.fails = None
    run_experiment(folder, tmp_path, silent)
    run_experiment(folder, tmp_path, silent)
    assert kind.executed == [1, 2, 3, 3]


def test_a_changed_setting_repeats_only_what_it_changes(twice, tmp_path):
    folder, kind = twice
    run_experiment(folder, tmp_path, silent)
    (folder / "config.toml").write_text(CONFIG.replace("[1, 2, 3]", "[1, 2, 4]"), encoding="utf-8")
    assert run_experiment(folder, tmp_path, silent)["figures"] == {"sum": 14}
    assert kind.executed == [1, 2, 3, 4]


def test_two_processes_share_the_runs(twice, tmp_path):
    folder, kind = twice
    said = []
    assert run_experiment(folder, tmp_path, said.append, (1, 2)) is None
    assert kind.executed == [1, 3] and "run the other parts too" in said[-1]
    assert run_experiment(folder, tmp_path, silent, (2, 2))["figures"] == {"sum": 12}
    assert kind.executed == [1, 3, 2]


def test_words_do_not_change_the_hash_and_settings_do():
    config = {"kind": "twice", "settings": {"numbers": [1]}, "question": "a"}
    assert config_hash(config) == config_hash(config | {"question": "b"})
    assert config_hash(config) != config_hash(config | {"settings": {"numbers": [2]}})


@pytest.mark.parametrize(
    ("text", "said"),
    [("question = ", "no TOML"), ("question = 'a'", "no other keys"), (None, "does not exist")],
)
def test_a_faulty_config_is_one_line(tmp_path, text, said):
    if text:
        (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    with pytest.raises(PhotostyleError, match=said) as error:
        read_config(tmp_path)
    assert "\n" not in str(error.value)


def test_the_script_ends_with_2_and_one_line(tmp_path):
    script = [sys.executable, str(ROOT / "scripts/experiment.py"), str(tmp_path)]
    ended = subprocess.run(script, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        f"experiment: {tmp_path}/config.toml does not exist; give the folder of an experiment"
    ]


# The recorded ones


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_result_is_older_than_its_settings(folder):
    assert read_result(folder)["config"] == config_hash(read_config(folder)), "run the experiment again"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_readme_is_what_config_and_result_say(folder):
    assert (folder / "README.md").read_text(encoding="utf-8") == readme(folder), (
        "scripts/experiment.py --write"
    )


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_command_is_the_experiment_s_own(folder):
    config = read_config(folder)
    assert f"experiments/{folder.name}" in config["command"] and config["answer"] != "open"


def test_the_index_is_up_to_date():
    text = (ROOT / "experiments/README.md").read_text(encoding="utf-8")
    assert f"{INDEX_BEGIN}\n{index(ROOT / 'experiments')}\n{INDEX_END}" in text


def test_every_experiment_that_is_mentioned_exists():
    names = {folder.name for folder in FOLDERS}
    numbers = {name[:3] for name in names}
    for path in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("*/*.py")]:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"experiments/(\d{3}-\w+)", text)) <= names | {"000-twice"}, path
        assert set(re.findall(r"[Ee]xperiment (\d{3})", text)) <= numbers, path


# Kind: masks


def regions(labels: np.ndarray, names: tuple[str, ...]) -> MaskSet:
    one_hot = torch.stack([torch.from_numpy(labels == k).float() for k in range(len(names))])
    return MaskSet(one_hot, names, ((0, 0, 0),) * len(names), True, "", ())


def test_agreement_does_not_care_for_names_but_for_correspondence():
    truth = np.repeat(np.arange(2), 8).reshape(4, 4)
    painted = (regions(truth, ("sky", "land")), regions(truth.T, ("sky", "land")))
    same = (regions(1 - truth, ("x", "y")), regions(1 - truth.T, ("x", "y")))
    assert masks.agreement(same, painted) == {"rand": 1.0, "iou": 1.0}
    # Each picture is cut as painted, but what is sky in one is land in the other: no assignment fits both.
    crossed = (regions(1 - truth, ("x", "y")), regions(truth.T, ("x", "y")))
    assert masks.agreement(crossed, painted) == {"rand": 1.0, "iou": 0.5}


def test_agreement_with_one_region_and_with_a_missing_one():
    truth = np.repeat(np.arange(2), 8).reshape(4, 4)
    whole = (regions(np.zeros((4, 4), int), ("x",)),) * 2
    painted = (regions(truth, ("sky", "land")),) * 2
    # The one region covers half of one label's union: IoU 0.5 for one of two labels, 0 for the other.
    assert masks.agreement(whole, painted) == {"rand": 0.0, "iou": 0.25}
    assert masks.agreement(whole, whole)["rand"] is None


def test_the_summary_is_the_ratio_of_mean_gains():
    settings = {"pairs": [1, 2], "masks": ["painted", "none"]}
    records = {
        f"{pair} {kind}": {
            "parameters": {"pair": pair, "masks": kind},
            "figures": {"scores": dict.fromkeys(masks.SCORES, style)},
        }
        for pair, kind, style in (
            (1, "painted", 0.2),
            (2, "painted", 0.4),
            (1, "none", 0.5),
            (2, "none", 0.8),
        )
    }
    figures = masks.summarise(settings, records)
    assert figures["means"]["none"]["of painted"] == pytest.approx(0.7 / 1.4)
    assert figures["means"]["painted"]["interval"] == [1.0, 1.0]
    low, high = figures["means"]["none"]["interval"]
    # Two pairs: a resample is one of them twice, or both.
    assert low == pytest.approx(0.2 / 0.6) and high == pytest.approx(0.5 / 0.8)
    assert "| painted |" in masks.tables(figures)


# Kind: artefact_pictures


def test_every_detector_answers_its_own_artefact_most_and_more_of_it_more():
    """The regression pictures: what was measured, and measured again on one of them."""
    figures = read_result(ROOT / "experiments/009-artefacts")["figures"]
    for artefact, strengths in figures["strengths"].items():
        own = [figures["means"][artefact][step][artefact] for step in range(len(strengths))]
        assert figures["means"]["none"][0][artefact] < own[0] < own[1] < own[2], artefact
        for step in range(len(strengths)):
            answers = artefact_pictures.relative(figures, artefact, step)
            assert max(answers, key=lambda name: answers[name]) == artefact, (artefact, step)


def test_the_recorded_answers_are_today_s():
    folder = ROOT / "experiments/009-artefacts"
    settings, figures = read_config(folder)["settings"], read_result(folder)["figures"]
    for artefact, strengths in settings["strengths"].items():
        found = [
            artefact_pictures.execute(parameters, Path("unused"), Path("unused"))[artefact]
            for parameters in artefact_pictures.runs(settings, Path("unused")).values()
            if (parameters["artefact"], parameters["strength"]) == (artefact, strengths[-1])
        ]
        assert np.mean(found) == pytest.approx(figures["means"][artefact][-1][artefact], rel=1e-3)
