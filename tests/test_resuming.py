"""A solve that is broken off anywhere goes on to the same bytes; what is not the same is refused by its name."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from vgg import narrow_vgg

from photostyle import Encoder, Recipe, Scene, recipe, resuming, solve
from photostyle.cli import main
from photostyle.cli.console import BAD_INPUT, DONE, INTERRUPTED
from photostyle.errors import ComputationError
from photostyle.files.checkpoints import load_checkpoint, previous_path, save_checkpoint
from photostyle.files.images import sha256_of
from photostyle.imaging.filters import resize
from photostyle.optimisers import Step

QUICK = {"size": 48, "coarsest": 32, "iterations": (2, 4), "patch_draws": 4, "boldness": 1.0}
LAYERS = ("relu1_1", "relu2_1")
GRAM = {"gram_weight": 1.0, "style_layers": LAYERS, "content_weight": 1.0, "content_layers": ("relu2_1",)}
RECIPES: dict[str, dict[str, Any]] = {
    "mm": {"iterations": (1, 6)},  # the sixth is the first that averages over the draws
    "mm with a term without a model": GRAM,
    "adam": {"optimiser": "adam"},
    "lbfgs": {"optimiser": "lbfgs", "history": 2},
    "averaged": {"averaging": 0.9},
    "lowest": {"keep": "lowest", "optimiser": "adam"},
    "first pass": {"first_pass": 2},
}


@pytest.fixture(scope="module")
def scene(coffee: Tensor, chelsea: Tensor) -> Scene:
    """Two regions, of a photo of 36x48 and a reference of 33x44."""
    ours, theirs = torch.zeros(2, 36, 48), torch.zeros(2, 33, 44)
    ours[0, :, :22], ours[1, :, 22:], theirs[0, :20], theirs[1, 20:] = 1, 1, 1, 1
    return Scene.of(resize(coffee, 36, 48), resize(chelsea, 33, 44), ours, theirs)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(narrow_vgg("vgg19", 4), "vgg19", layers=LAYERS)


# By default a solver that draws and one that remembers; the others are what a recipe adds to one.
DEFAULT = ("mm", "lbfgs")


@pytest.mark.parametrize(
    "name", [name if name in DEFAULT else pytest.param(name, marks=pytest.mark.slow) for name in RECIPES]
)
def test_broken_off_after_any_step_it_ends_in_the_same_bytes(
    name: str, scene: Scene, encoder: Encoder, tmp_path: Path
) -> None:
    """The same process and shapes, so the same arithmetic: bytes are equal, or a state was forgotten."""
    asked: Recipe = recipe(**QUICK | RECIPES[name])
    path, whole = tmp_path / "solve.safetensors", list[tuple[dict[str, float], Tensor]]()
    states = []
    for step in solve(scene, asked, encoder=encoder):
        whole.append((step.losses, step.image.clone()))
        save_checkpoint(path, step.state())
        found = load_checkpoint(path)
        assert found is not None
        states.append(found.state)
    assert len(whole) == sum(asked.evaluations) + asked.first_pass
    for done, state in enumerate(states, 1):
        rest = [
            (step.losses, step.image.clone()) for step in solve(scene, asked, encoder=encoder, state=state)
        ]
        assert len(rest) == len(whole) - done
        for (losses, image), (expected, wanted) in zip(rest, whole[done:], strict=True):
            assert losses == expected and torch.equal(image, wanted), f"after {done} evaluations"


# The command

RUN = "run --content photo.jpg --style sunset.jpg --device cpu --threads 1 --no-metrics".split()
SOLVE = [
    *RUN,
    *"--preset patches --size 64 --coarsest 32 --iterations 4 5 --patch-draws 4 --boldness 1".split(),
]
CHECKPOINT = Path("out-checkpoint.safetensors")


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every step."""
    monkeypatch.setattr(resuming, "INTERVAL", 0.0)
    monkeypatch.setattr(resuming, "RARITY", 0)


def stopped(monkeypatch: pytest.MonkeyPatch, evaluations: int, arguments: list[str]) -> None:
    """The run, interrupted after so many evaluations."""
    real, count = resuming.Checkpoints.after, 0

    def after(self: resuming.Checkpoints, step: Step, trace: Any) -> None:
        nonlocal count
        real(self, step, trace)
        count += 1
        if count == evaluations:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(resuming.Checkpoints, "after", after)
        assert main(arguments) == INTERRUPTED


def record(name: str = "out.json") -> dict[str, Any]:
    entries: dict[str, Any] = json.loads(Path(name).read_text())
    return entries


@pytest.mark.parametrize(
    "evaluations", [4, pytest.param(6, marks=pytest.mark.slow)]
)  # between stages, and within one
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    evaluations: int, photographs: Path, always: None, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert main([*SOLVE, "-o", "whole.png"]) == DONE
    assert not Path("whole-checkpoint.safetensors").exists()
    stopped(monkeypatch, evaluations, SOLVE)
    assert CHECKPOINT.exists() and "--resume goes on" in capsys.readouterr().err
    assert main([*SOLVE, "--resume"]) == DONE
    assert "note: resumed at stage" in capsys.readouterr().err
    assert sha256_of(Path("out.png")) == sha256_of(Path("whole.png"))
    assert [each["patches"] for each in record()["trace"]] == [
        each["patches"] for each in record("whole.json")["trace"]
    ]
    assert not CHECKPOINT.exists() and not previous_path(CHECKPOINT).exists()


@pytest.mark.slow
def test_masks_that_were_made_are_not_made_again(
    photographs: Path, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [*SOLVE, "--masks", "cluster"]
    assert main([*made, "-o", "whole.png"]) == DONE
    stopped(monkeypatch, 3, made)

    def fail(*_: Any) -> None:
        pytest.fail("made again")

    monkeypatch.setattr("segmentation.make.make_masks", fail)
    assert main([*made, "--resume"]) == DONE
    assert sha256_of(Path("out.png")) == sha256_of(Path("whole.png"))
    assert record()["segmentation"] == record("whole.json")["segmentation"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--boldness", "0.5"], "boldness = 1.0, not 0.5"),
        pytest.param([], "reference 1 = ", marks=pytest.mark.slow),
        pytest.param(["--threads", "2"], "threads = 1, not 2", marks=pytest.mark.slow),
        (["--iterations", "4", "6"], "iterations = (4, 5), not (4, 6)"),
    ],
)
def test_another_run_is_refused_by_what_differs(
    change: list[str],
    named: str,
    photographs: Path,
    always: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    stopped(monkeypatch, 2, SOLVE)
    if not change:  # another picture under the same name
        Path("sunset.jpg").write_bytes(Path("photo.jpg").read_bytes())
    before = CHECKPOINT.read_bytes()
    capsys.readouterr()
    assert main([*SOLVE, *change, "--resume"]) == BAD_INPUT
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("photostyle:")]
    assert named in said and "start anew without --resume" in said
    assert CHECKPOINT.read_bytes() == before


@pytest.mark.slow
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    photographs: Path, always: None, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert main([*SOLVE, "-o", "whole.png"]) == DONE
    stopped(monkeypatch, 5, SOLVE)
    data = bytearray(CHECKPOINT.read_bytes())
    data[-100] ^= 255
    CHECKPOINT.write_bytes(data)
    assert main([*SOLVE, "--resume"]) == DONE
    said = capsys.readouterr().err
    assert "its SHA-256 differs" in said and "going on from the one before it" in said
    assert sha256_of(Path("out.png")) == sha256_of(Path("whole.png"))


@pytest.mark.slow
def test_without_resume_it_begins_and_says_what_is_lost(
    photographs: Path, always: None, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    stopped(monkeypatch, 2, SOLVE)
    assert main(SOLVE) == DONE
    assert "--resume would go on from it" in capsys.readouterr().err and len(record()["trace"]) == 9


def test_without_checkpoints_it_resumes_and_writes_none(
    photographs: Path, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(monkeypatch, 3, SOLVE)
    monkeypatch.setattr(resuming, "save_checkpoint", lambda *_: pytest.fail("written"))
    assert main([*SOLVE, "--resume", "--no-checkpoints"]) == DONE
    assert len(record()["trace"]) == 9 and not CHECKPOINT.exists()


def test_a_first_picture_does_not_replace_a_better_one(
    photographs: Path, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(monkeypatch, 3, SOLVE)
    before = sha256_of(Path("out.png"))
    assert main([*SOLVE, "--resume", "--boldness", "0.5"]) == BAD_INPUT
    assert sha256_of(Path("out.png")) == before and len(record()["trace"]) == 3


def test_with_nothing_to_resume_it_begins_and_says_so(photographs: Path, capsys: Any) -> None:
    assert main([*SOLVE, "--resume"]) == DONE
    assert "there is no out-checkpoint.safetensors to resume from" in capsys.readouterr().err


def test_a_foreign_file_of_that_name_is_not_touched(photographs: Path, capsys: Any) -> None:
    CHECKPOINT.write_bytes(b"my own weights")
    assert main(SOLVE) == BAD_INPUT
    assert "is no photostyle checkpoint" in capsys.readouterr().err
    assert CHECKPOINT.read_bytes() == b"my own weights"


def test_a_disk_that_fails_costs_the_checkpoints_and_a_note(
    photographs: Path, always: None, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(*_: Any) -> None:
        raise ComputationError("out-checkpoint.safetensors cannot be written (No space left on device)")

    monkeypatch.setattr(resuming, "save_checkpoint", full)
    assert main(SOLVE) == DONE
    assert capsys.readouterr().err.count("no more checkpoints") == 1


def test_they_are_as_rare_as_they_are_dear(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A clock that stands still but for steps of 1 s and checkpoints of 0.4 s: every 20 s then, and so 2 %."""
    now, kept = 0.0, list[float]()

    def save(*_: Any) -> None:
        nonlocal now
        now += 0.4
        kept.append(now)

    monkeypatch.setattr(resuming, "save_checkpoint", save)
    monkeypatch.setattr(resuming.time, "perf_counter", lambda: now)
    checkpoints = resuming.Checkpoints(tmp_path / "a.safetensors")
    checkpoints.begin(torch.device("cpu"))
    step: Any = type("Step", (), {"state": dict})
    for _ in range(200):
        now += 1.0
        checkpoints.after(step, [])
    assert kept[0] == pytest.approx(resuming.INTERVAL + 0.4)
    assert 0.4 * len(kept) <= 0.02 * now + 0.4


KILLED = """
import os, signal, sys
from photostyle import resuming
from photostyle.cli import main
resuming.INTERVAL, resuming.RARITY = 0.0, 0
real, count = resuming.Checkpoints.after, 0
def after(self, step, trace):
    global count
    real(self, step, trace)
    count += 1
    if count == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
resuming.Checkpoints.after = after
main(sys.argv[2:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("evaluations", [2, 7])
def test_killed_it_goes_on_in_another_process(evaluations: int, photographs: Path) -> None:
    def in_process(arguments: list[str]) -> int:
        return subprocess.run(arguments, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False).returncode

    program = [
        sys.executable,
        "-c",
        "import sys; from photostyle.cli import main; sys.exit(main(sys.argv[1:]))",
    ]
    assert in_process([*program, *SOLVE, "-o", "whole.png"]) == DONE
    assert in_process([sys.executable, "-c", KILLED, str(evaluations), *SOLVE]) == -signal.SIGKILL
    assert in_process([*program, *SOLVE, "--resume"]) == DONE
    assert sha256_of(Path("out.png")) == sha256_of(Path("whole.png"))
