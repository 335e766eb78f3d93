"""Experiments: run once, go on where they stopped, and never older than their settings."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import on_workers.twice
import pytest
import torch
from waiting import until

from experiments import command, framework
from experiments.framework import (
    INDEX_BEGIN,
    INDEX_END,
    RESULTS_BEGIN,
    RESULTS_END,
    config_hash,
    experiments,
    headline,
    index,
    read_config,
    read_result,
    readme,
    run_experiment,
    run_task,
)
from experiments.kinds import (
    artefact_pictures,
    masks,
)
from photostyle.errors import PhotostyleError
from photostyle.evaluation import artefacts
from photostyle.files.masks import MaskSet
from photostyle.workers.pool import ThisProcess

ROOT = Path(__file__).resolve().parent.parent

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
    kind = types.ModuleType("experiments.kinds.twice")
    kind.executed = []

    def execute(parameters, data, folder):
        kind.executed.append(parameters["number"])
        if parameters["number"] == kind.fails:
            raise KeyboardInterrupt
        return {"twice": 2 * parameters["number"]}

    kind.fails = None
    kind.runs = lambda settings, data: {f"run {n}": {"number": n} for n in settings["numbers"]}
    kind.inputs = lambda parameters: []
    kind.execute = execute
    kind.summarise = lambda settings, records: {"sum": sum(r["figures"]["twice"] for r in records.values())}
    kind.tables = lambda figures: f"The sum is {figures['sum']}."
    monkeypatch.setitem(sys.modules, "experiments.kinds.twice", kind)
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


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "{}", '{"parameters": {"number": 2}}'])
def test_a_damaged_record_is_said_and_its_run_done_again(twice, tmp_path, text):
    folder, kind = twice
    run_experiment(folder, tmp_path, silent)
    (folder / "runs" / "run 2.json").write_text(text)
    said = []
    assert run_experiment(folder, tmp_path, said.append)["figures"] == {"sum": 12}
    assert kind.executed == [1, 2, 3, 2] and "run 2.json is damaged" in " ".join(said)
    (folder / "result.json").write_text(text)
    with pytest.raises(PhotostyleError, match=r"result\.json is .*remove it"):
        read_result(folder)


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


def test_the_script_ends_with_2_and_one_line(tmp_path, capsys):
    assert command.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"experiment: {tmp_path}/config.toml does not exist; give the folder of an experiment"
    ]


# In full

FULL = CONFIG + "\n[full]\nnumbers = [1, 2, 3, 4]\n"


def test_in_full_it_has_its_own_runs_and_result_and_no_readme(twice, tmp_path):
    folder, kind = twice
    (folder / "config.toml").write_text(FULL, encoding="utf-8")
    run_experiment(folder, tmp_path, silent)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    kind.sheet = lambda settings, data, folder: pytest.fail("sheet.jpg shows the other")
    result = run_experiment(folder, tmp_path, silent, full=True)
    assert result["figures"] == {"sum": 20}
    assert kind.executed == [1, 2, 3, 1, 2, 3, 4], "of other settings, so done anew"
    assert {path: path.read_bytes() for path in before} == before
    written = json.loads((folder / "result-full.json").read_text(encoding="utf-8"))
    assert written == result and written["config"] == config_hash(read_config(folder, full=True))
    assert len(list((folder / "runs-full").iterdir())) == 4
    ignored = subprocess.run(
        ["git", "-C", str(ROOT), "check-ignore", "experiments/000-twice/runs-full/x.json"]
    )
    assert ignored.returncode == 0


def test_a_full_table_leaves_the_usual_settings_as_they_are(twice):
    folder, _ = twice
    plain = read_config(folder)
    (folder / "config.toml").write_text(FULL, encoding="utf-8")
    assert (
        config_hash(read_config(folder)) == config_hash(plain) != config_hash(read_config(folder, full=True))
    )


def test_what_is_wrong_with_a_full_table_is_named(twice):
    folder, _ = twice
    with pytest.raises(PhotostyleError, match=r"config\.toml has no table \[full\]"):
        read_config(folder, full=True)
    (folder / "config.toml").write_text(CONFIG + "\n[full]\nnumber = 4\n", encoding="utf-8")
    with pytest.raises(PhotostyleError, match=r"has number in \[full\] but not in \[settings\]"):
        read_config(folder)


# On workers


@pytest.fixture
def numbered(tmp_path, monkeypatch):
    """An experiment whose runs read a file each, and the data folder; its kind can be imported by workers."""
    monkeypatch.setitem(sys.modules, "experiments.kinds.twice", on_workers.twice)
    (tmp_path / "data" / "numbers").mkdir(parents=True)
    for number in range(1, 7):
        (tmp_path / "data" / "numbers" / f"{number}.txt").write_text(f"{number}")
    (tmp_path / "began").mkdir()
    (tmp_path / "README.md").write_text(f"{INDEX_BEGIN}\n{INDEX_END}\n", encoding="utf-8")

    def experiment(**settings):
        folder = tmp_path / "000-twice"
        folder.mkdir(exist_ok=True)
        text = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
        (folder / "config.toml").write_text(CONFIG.replace("numbers = [1, 2, 3]", text), encoding="utf-8")
        return folder

    return experiment, tmp_path / "data", tmp_path / "began"


def kept(folder: Path) -> dict[str, bytes]:
    """What the runs of an experiment have left, but for what differs from run to run."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in (folder / "runs").rglob("*.bin")
    }
    for path in (folder / "runs").glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record.pop("seconds") >= 0 and record.pop("machine")["threads"] == 1
        files[path.name] = json.dumps(record).encode()
    return files


def began(folder: Path) -> list[str]:
    return sorted(path.name.split("-")[0] for path in folder.iterdir())


def test_a_run_is_a_function_of_bytes():
    run = run_task("on_workers.twice", {"number": 3}, {"numbers/3.txt": b"3"})
    assert run["figures"] == {"twice": 6, "seen": ["3.txt"]} and run["files"] == {
        "pictures 3/picture.bin": bytes(3)
    }
    assert run.keys() == {"figures", "files", "seconds", "machine"}


@pytest.mark.slow  # test_pool has tasks on processes by default
def test_workers_leave_what_one_process_leaves(numbered, workers):
    experiment, data, _ = numbered
    folder = experiment(numbers=[1, 2, 3, 4])
    here = run_experiment(folder, data, silent)
    alone = kept(folder)
    assert len(alone) == 8 and here["figures"] == {"sum": 20}
    (folder / "runs").rename(folder / "before")
    with workers() as pool:
        there = run_experiment(folder, data, silent, pool=pool)
    assert kept(folder) == alone and there["figures"] == here["figures"]
    assert there["machine"]["threads"] == 1 and "other machines" not in there


@pytest.mark.slow
def test_a_worker_killed_in_a_run_loses_and_doubles_nothing(numbered, all_workers, kill_first):
    experiment, data, watched = numbered
    folder = experiment(numbers=[1, 2, 3, 4, 5, 6], watched=str(watched), victim=3)
    said = []
    kill_first(watched, "3")
    with all_workers(say=said.append) as pool:
        assert run_experiment(folder, data, said.append, pool=pool)["figures"] == {"sum": 42}
    assert began(watched) == ["1", "2", "3", "3", "4", "5", "6"]
    assert sorted(line.split()[0] for line in said if " s" == line[-2:]) == [f"{n}/6" for n in range(1, 7)]
    assert "task run 3: its worker was lost; attempt 2 of 3" in said
    assert len(kept(folder)) == 12


DRIVER = """
import sys
from pathlib import Path
import on_workers.twice
sys.modules["experiments.kinds.twice"] = on_workers.twice
from experiments.framework import run_experiment
from photostyle.workers.pool import Processes

if __name__ == "__main__":
    folder, data = map(Path, sys.argv[1:])
    with Processes(1, gpu=False, count=1) as pool:
        run_experiment(folder, data, print, pool=pool)
"""


@pytest.mark.slow
def test_a_driver_that_is_killed_goes_on_from_its_records(numbered, tmp_path):
    """Killed when it waits for the last run; its workers end with it."""
    experiment, data, watched = numbered
    folder = experiment(numbers=[1, 2, 3, 4], watched=str(watched), victim=4)
    (tmp_path / "driver.py").write_text(DRIVER, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    driver = subprocess.Popen([sys.executable, tmp_path / "driver.py", folder, data], env=environment)
    until(
        lambda: (
            (len(list((folder / "runs").glob("*.json"))) == 3 and "4" in began(watched))
            or driver.poll() is not None
        ),
        "the last run",
    )
    assert driver.poll() is None
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert not (folder / "result.json").exists()
    said = []
    assert run_experiment(folder, data, said.append)["figures"] == {"sum": 20}
    assert said[0] == "3 of 4 runs were done before" and began(watched) == ["1", "2", "3", "4", "4"]
    waiting = int(min(watched.glob("4-*"), key=lambda path: path.name.split("-")[2]).name.split("-")[1])
    until(lambda: not Path(f"/proc/{waiting}").exists(), "the end of the worker")


def test_an_input_that_is_missing_is_said_before_anything_runs(numbered):
    experiment, data, watched = numbered
    folder = experiment(numbers=[1, 2, 9], watched=str(watched))
    with pytest.raises(PhotostyleError, match=r"numbers/9\.txt does not exist; .* --data"):
        run_experiment(folder, data, silent)
    assert began(watched) == []


def test_a_file_is_read_once_and_let_go_when_no_run_needs_it(numbered, tmp_path, monkeypatch):
    experiment, data, _ = numbered
    monkeypatch.setattr(on_workers.twice, "inputs", lambda parameters: ["numbers/1.txt"])
    monkeypatch.setattr(on_workers.twice, "execute", lambda parameters, data, folder: {"twice": 1})
    shared = []

    class Pool(ThisProcess):
        def share(self, value):
            shared.append(value)
            return value

    run_experiment(experiment(numbers=[1, 2, 3]), data, silent, pool=Pool())
    assert shared == [b"1"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--full"], "has no table [full]"),
        (["--cluster", "slurm"], '--cluster is "slurm"; give auto, local or ray://HOST:PORT'),
        (["--cluster", "local", "--cores", "0"], "--cores is 0"),
        (["--cluster", "local", "--cores", "4096"], "--cores is 4096, but this machine has"),
        (["--cores", "2"], "add --cluster"),
        (["--cluster", "local", "--threads", "2"], "on a cluster give --cores"),
        (["--part", "1-2"], "--part is 1-2; give K/N"),
        (["--part", "3/2"], "--part is 3/2; give K/N"),
        (["--part", "0/2"], "--part is 0/2; give K/N"),
    ],
)
def test_the_script_says_in_one_line_what_is_wrong_with_an_option(options, said, capsys):
    assert command.main([str(FOLDERS[0]), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("experiment: ") and said in line


def test_what_has_no_result_is_not_in_the_index_and_has_no_readme(twice, tmp_path):
    folder, _ = twice
    assert list(experiments(tmp_path)) == []
    with pytest.raises(PhotostyleError, match="run the experiment first"):
        readme(folder)


def test_a_result_says_of_which_commits_its_runs_are(twice, tmp_path, monkeypatch):
    folder, _ = twice
    monkeypatch.setattr(framework, "commit", lambda: "older")
    run_experiment(folder, tmp_path, silent, (1, 2))
    monkeypatch.setattr(framework, "commit", lambda: "newer")
    result = run_experiment(folder, tmp_path, silent)
    assert result["photostyle"] | {"version": ""} == {
        "version": "",
        "commit": "newer",
        "runs": ["newer", "older"],
    }
    assert "commit newer, runs of older" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_setting_that_a_kind_misses_is_one_line(twice, tmp_path):
    folder, _ = twice
    text = CONFIG.replace("numbers = [1, 2, 3]", "others = 1")
    (folder / "config.toml").write_text(text, encoding="utf-8")
    with pytest.raises(PhotostyleError, match=r"config.toml lacks 'numbers' in \[settings\]"):
        run_experiment(folder, tmp_path, silent)


# The recorded ones


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_result_is_older_than_its_settings(folder):
    assert read_result(folder)["config"] == config_hash(read_config(folder)), "run the experiment again"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_full_result_is_older_than_its_settings(folder):
    if (path := folder / "result-full.json").exists():
        recorded = json.loads(path.read_text(encoding="utf-8"))["config"]
        assert recorded == config_hash(read_config(folder, full=True)), "run the experiment again with --full"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_readme_is_what_config_and_result_say(folder):
    assert (folder / "README.md").read_text(encoding="utf-8") == readme(folder), (
        "scripts/experiment.py --write"
    )


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_command_is_the_experiment_s_own(folder):
    config = read_config(folder)
    assert f"experiments/{folder.name}" in config["command"] and config["answer"] != "open"


def test_the_main_readme_shows_what_was_measured():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tables = [table for folder in FOLDERS if (table := headline(folder))]
    assert len(tables) == 1, "one experiment writes the table"
    assert f"{RESULTS_BEGIN}\n{tables[0]}\n{RESULTS_END}" in text, "scripts/experiment.py --write"


def test_the_index_is_up_to_date():
    text = (ROOT / "experiments/README.md").read_text(encoding="utf-8")
    assert f"{INDEX_BEGIN}\n{index(ROOT / 'experiments')}\n{INDEX_END}" in text


def test_every_experiment_that_is_mentioned_exists():
    names = {folder.name for folder in FOLDERS}
    numbers = {name[:3] for name in names}
    for path in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("*/*.py")]:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"experiments/(\d{3}-[\w-]+)", text)) <= names | {"000-twice"}, path
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


def own_answer(parameters: dict[str, Any]) -> float:
    """What the detector of the injected artefact says; the others, most of the time, are not asked."""
    detector = getattr(artefacts, parameters["artefact"])
    compared = artefact_pictures.comparison(parameters)
    if "compared" in inspect.signature(detector).parameters:
        return detector(compared)
    return detector(compared.result, compared.content)


@pytest.mark.slow
def test_the_recorded_answers_are_today_s():
    folder = ROOT / "experiments/009-artefacts"
    settings, figures = read_config(folder)["settings"], read_result(folder)["figures"]
    for artefact, strengths in settings["strengths"].items():
        found = [
            own_answer(parameters)
            for parameters in artefact_pictures.runs(settings, Path("unused")).values()
            if (parameters["artefact"], parameters["strength"]) == (artefact, strengths[-1])
        ]
        assert len(found) == 3
        assert np.mean(found) == pytest.approx(figures["means"][artefact][-1][artefact], rel=1e-3)


def test_a_run_of_artefacts_asks_every_detector():
    parameters = {"pair": "china from rocket", "artefact": "noise", "strength": 0.04, "size": 96, "dim": 0.7}
    answers = artefact_pictures.execute(parameters, Path("unused"), Path("unused"))
    assert set(answers) == set(artefact_pictures.DETECTORS)
    assert answers["noise"] == own_answer(parameters) > 0
