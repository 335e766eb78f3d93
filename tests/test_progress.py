"""What is said while a run goes on: the stage, the evaluation and the terms, each once."""

import pytest
import torch

from photostyle.cli.progress import LINES_PER_STAGE, Progress, by_term, describe
from photostyle.optimisers import Step
from photostyle.scene import Stage

STAGE = Stage(0, long_side=40, height=30, width=40, iterations=20, photorealism=True)


def step(iteration: int, **losses: float) -> Step:
    return Step(stage=STAGE, iteration=iteration, losses=losses, image=torch.zeros(3, 30, 40), seconds=0.1)


def test_the_layers_of_the_gram_term_are_one_number():
    losses = {"content": 1.0, "gram relu1_1": 0.25, "gram relu2_1": 0.5, "variation": 2.0}
    assert by_term(losses) == {"content": 1.0, "gram": 0.75, "variation": 2.0}


def test_a_term_of_somebody_else_keeps_its_whole_name():
    losses = {"edge sharpness": 1.0, "edge blur": 2.0, "grammar": 3.0}
    assert by_term(losses) == losses


def test_a_line_says_where_the_run_is():
    text = describe(step(7, content=1.5), stages=2)
    assert text == "stage 1/2 40x30  7/20  content 1.5"


def test_without_a_terminal_a_stage_is_a_few_lines():
    lines: list[str] = []
    progress = Progress([STAGE], lines.append, bar=False)
    for iteration in range(1, STAGE.iterations + 1):
        progress(step(iteration, content=1.0))
    progress.close()
    assert len(lines) == LINES_PER_STAGE
    assert lines[-1].endswith("0 s left") and all("s left" in line for line in lines)


@pytest.mark.parametrize("bar", [True, False])
def test_a_run_without_steps_says_nothing(bar, capsys):
    Progress([STAGE], print, bar).close()
    said = capsys.readouterr()
    assert said.out == said.err == ""
