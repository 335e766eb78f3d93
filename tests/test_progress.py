"""How far a run is: work counted in pixels, a handful of lines, one number for each term."""

import sys

import pytest
import torch

from photostyle.cli import progress
from photostyle.cli.progress import LINES_PER_STAGE, Progress, by_term, describe
from photostyle.optimisers import Step
from photostyle.scene import Stage

STAGES = (Stage(0, 32, 24, 32, 10, True), Stage(1, 64, 48, 64, 10, True))


def step(stage: Stage, iteration: int, seconds: float = 0.0, **losses: float) -> Step:
    return Step(stage, iteration, losses, torch.zeros(3, stage.height, stage.width), seconds, dict)


def test_layers_of_one_term_are_shown_as_their_sum():
    losses = {"gram relu1_1": 1.0, "gram relu2_1": 2.5, "content": 0.25}
    assert describe(step(STAGES[1], 3, **losses), 2) == "stage 2/2 64x48  3/10  gram 3.5  content 0.25"


def test_without_a_terminal_there_are_a_few_lines_for_each_stage():
    said: list[str] = []
    watch = Progress(STAGES, said.append, bar=False)
    for stage in STAGES:
        for iteration in range(1, 11):
            watch(step(stage, iteration, patches=1.0))
    watch.close()
    assert len(said) == 2 * LINES_PER_STAGE
    assert [line.split()[3] for line in said] == 2 * ["2/10", "4/10", "6/10", "8/10", "10/10"]


def test_the_time_left_counts_the_pixels_that_are_left(monkeypatch: pytest.MonkeyPatch):
    """The second stage has four times the pixels of the first: after the first a fifth of the work is done."""
    clock, said = 100.0, list[str]()
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock)
    watch = Progress(STAGES, said.append, bar=False)
    for iteration in range(1, 11):
        watch(step(STAGES[0], iteration, seconds=1.0, patches=1.0))
        clock += 1
    # Begun a second before the first step was seen, at 100; the tenth was seen at 109.
    assert said[-1].endswith("  40 s left")


def test_on_a_terminal_the_bar_is_full_at_the_end(capsys: pytest.CaptureFixture[str]):
    watch = Progress(STAGES, lambda line: pytest.fail(line), bar=True)
    watch.enter("solve")
    for stage in STAGES:
        for iteration in range(1, 11):
            watch(step(stage, iteration, patches=1.0))
    watch.finish()
    watch.close()
    shown = capsys.readouterr().err
    assert "stage 2/2 64x48  10/10  patches 1" in shown
    assert shown.split("\r")[-1].startswith("100%") and "done" in shown


def test_the_bar_counts_what_comes_before_and_after_the_solve(capsys: pytest.CaptureFixture[str]):
    solve = sum(stage.height * stage.width * stage.iterations for stage in STAGES)
    watch = Progress(
        STAGES, lambda line: pytest.fail(line), bar=True, others={"masks": 2 * solve, "scores": solve}
    )
    shares = list[float]()

    def share() -> None:
        shares.append(watch.bar.n / watch.bar.total)

    watch.enter("masks")
    share()
    watch.enter("solve")
    share()
    for iteration in range(1, 11):
        watch(step(STAGES[0], iteration, patches=1.0))
    share()
    watch.enter("scores")
    share()
    watch.close()  # before it is finished: the line ends where it stands
    # The first stage has a fifth of the solve's work.
    assert shares == pytest.approx([0, 0.5, 0.55, 0.75])
    shown = capsys.readouterr().err
    assert "masks" in shown and " 75%" in shown and "100%" not in shown


def test_what_is_said_meanwhile_stands_above_the_bar(capsys: pytest.CaptureFixture[str]):
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        sys.stderr.write(f"{line}\n")

    watch = Progress(STAGES, say, bar=True, others={"masks": 1.0})
    watch.enter("masks")
    watch.aside("note: two regions")
    watch.close()
    assert said == ["note: two regions"]
    assert "\rnote: two regions\n" in capsys.readouterr().err  # the bar was wiped from the line


def test_without_a_terminal_the_masks_are_announced_and_nothing_else():
    said: list[str] = []
    watch = Progress((), said.append, bar=False, others={"masks": 1.0, "render": 1.0, "scores": 1.0})
    for part in ("masks", "solve", "render", "scores"):
        watch.enter(part)
    watch.finish()
    watch.close()
    assert said == ["making masks"]


def test_nothing_is_shown_before_anything_begins(capsys: pytest.CaptureFixture[str]):
    Progress(STAGES, print, bar=True).close()
    assert capsys.readouterr() == ("", "")


def test_a_term_of_somebody_else_keeps_its_whole_name():
    losses = {"edge sharpness": 1.0, "edge blur": 2.0, "grammar": 3.0}
    assert by_term(losses) == losses
