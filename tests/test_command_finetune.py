"""python scripts/finetune.py: exit codes, one-line errors, and that nothing is lost by ending it in any way."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from waiting import until

from photostyle.cli import finetune as command
from photostyle.cli import terminal
from photostyle.cli.console import BAD_INPUT, DONE, INTERRUPTED
from photostyle.cli.finetune import FinetuneCommand, main
from photostyle.networks.network import find_network
from photostyle.recognition.finetune import tune

ROOT = Path(__file__).resolve().parent.parent
TINY = (
    "--random",
    "--network",
    "vgg11",
    "--blocks",
    "1",
    "--size",
    "8",
    "--regime",
    "all",
    "--rates",
    "1e-3",
    "1e-4",
)
ONE_THREAD = ("--threads", "1", "--device", "cpu")
# The same process with 300 of the digits, so that an epoch takes a tenth of a second.
FEW = """
import sys
import sklearn.datasets
digits = sklearn.datasets.load_digits()
digits.images, digits.target = digits.images[:300], digits.target[:300]
sklearn.datasets.load_digits = lambda: digits
from photostyle.cli.finetune import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_digits()
    digits.images, digits.target = digits.images[:300], digits.target[:300]
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: digits)
    for name in ("plot_confusion", "plot_history"):
        monkeypatch.setattr(tune, name, lambda *_: None)


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Path]:
    """The folder of a training of many epochs that SIGKILL has ended in the midst of them."""
    said = tmp_path / "said.txt"
    arguments = ["digits", *TINY, *ONE_THREAD, "--epochs", "12", "--batch", "16", "--patience", "12"]
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", FEW, *arguments, "-o", str(tmp_path / "killed")],
            stderr=stderr,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        try:
            until(lambda: b"\nepoch 1 " in said.read_bytes())
        finally:
            process.kill()
            process.wait()
    assert b"\nepoch 12 " not in said.read_bytes()
    yield tmp_path / "killed"


@pytest.mark.slow  # test_finetune stops it anywhere, in one process
def test_killed_it_goes_on_and_ends_in_the_same_bytes(
    few: None, killed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["digits", *TINY, *ONE_THREAD, "--epochs", "12", "--batch", "16", "--patience", "12"]
    assert main([*arguments, "-o", str(killed)]) == DONE
    assert re.search(r"^going on in epoch \d+, after \d+ batches of it$", capfd.readouterr().err, re.M)
    whole = killed.with_name("whole")
    assert main([*arguments, "-o", str(whole)]) == DONE
    assert (killed / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_checkpoint_and_130(
    few: None,
    as_in_a_terminal: None,
    tmp_path: Path,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(number)
    arguments = ["digits", *TINY, *ONE_THREAD, "--epochs", "4", "-o", str(tmp_path)]
    line = terminal.line
    monkeypatch.setattr(
        terminal, "line", lambda text: (line(text), "epoch 1 " in text and os.kill(os.getpid(), number))
    )
    assert main(arguments) == INTERRUPTED
    said = capfd.readouterr().err
    assert (
        "it ends with its next checkpoint" in said
        and "finetune: interrupted; the same command goes on" in said
    )
    assert "epoch 2 " not in said and signal.getsignal(number) is before
    monkeypatch.undo()
    assert (tmp_path / "checkpoint.safetensors").exists() and not (tmp_path / "record.json").exists()


def test_restart_begins_anew_and_the_summary_says_what_came_out(
    few: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["digits", *TINY, *ONE_THREAD, "--epochs", "1", "-o", str(tmp_path)]
    assert main(arguments) == DONE
    assert main([*arguments, "--seed", "1"]) == BAD_INPUT
    assert "was made with seed = 0, not 1" in capfd.readouterr().err
    assert main([*arguments, "--seed", "1", "--restart"]) == DONE
    printed = capfd.readouterr()
    record = json.loads((tmp_path / "record.json").read_text())
    assert f"test accuracy        {record['outcome']['test accuracy']:.1%}" in printed.out
    assert "going on" not in printed.err and record["settings"]["seed"] == 1
    assert find_network("vgg11", tmp_path / "weights.safetensors").classes == tuple("0123456789")
    (tmp_path / "weights.safetensors").unlink()
    assert main([*arguments, "--seed", "1"]) == BAD_INPUT
    assert "weights.safetensors, the best weights so far, cannot be read" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["nowhere"], "nowhere does not exist; expected a folder of pictures"),
        (["digits", "--blocks", "9"], "--blocks is 9; it must lie between 0 and 5"),
        (["digits", "--network", "vgg61"], "did you mean vgg"),
        (["digits", "--epoch", "3"], "unknown option --epoch; did you mean --epochs?"),
        (["digits", "--device", "cuda"], "--device cuda: torch finds no CUDA device here"),
        (["digits", "--weights", "none.pth"], "none.pth does not exist"),
        ([], "Missing from python scripts/finetune.py: DATA"),
    ],
)
def test_bad_input_is_one_line_and_2(
    tmp_path: Path,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(arguments) == BAD_INPUT
    *before, last = capfd.readouterr().err.splitlines()
    assert last.startswith("finetune: ") and said in last
    assert not before or before[0].startswith("10 classes")


def test_every_command_on_the_page_is_understood() -> None:
    text = (ROOT / "docs/finetuning.md").read_text(encoding="utf-8") + (
        ROOT / "experiments/014-fine-tuning/README.md"
    ).read_text(encoding="utf-8")
    commands = re.findall(r"^python scripts/finetune\.py ([^#\n]+)", text.replace(" \\\n    ", " "), re.M)
    assert len(commands) > 5
    for each in commands:
        options = command.parse(FinetuneCommand, shlex.split(each), "finetune")
        tune.check_settings(command.settings_in(options))


@pytest.mark.slow
def test_the_script_is_the_command(tmp_path: Path) -> None:
    """As a person runs it, with processes that read pictures."""
    from PIL import Image

    for name, value in (("dark", 20), ("light", 220)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (30, 20), value + number).save(tmp_path / "data" / name / f"{number}.jpg")
    arguments = [*TINY, *ONE_THREAD, "--epochs", "3", "--workers", "2", "-o", str(tmp_path / "out")]
    ended = subprocess.run(
        [sys.executable, str(ROOT / "scripts/finetune.py"), str(tmp_path / "data"), *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "test accuracy        100.0%" in ended.stdout, ended
