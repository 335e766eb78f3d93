"""How far a run has come: on a terminal a bar with stage, terms and time left, elsewhere plain lines."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from photostyle.config import TERMS
from photostyle.optimisers import Step
from photostyle.scene import Stage

BAR = "{percentage:3.0f}%|{bar:20}| {elapsed}<{remaining} {desc}"
LINES_PER_STAGE = 5  # where there is no terminal: enough to see the terms fall, few enough for a log


class Progress:
    """Watches the steps of a run. say: takes the plain lines; bar: whether there is a terminal for a bar.

    Work is counted in pixels times evaluations, so that the time left is right across stages of different sizes.
    """

    def __init__(self, stages: Sequence[Stage], say: Callable[[str], None], bar: bool) -> None:
        self.stages, self.say, self.wants_bar = stages, say, bar
        self.total = sum(stage.height * stage.width * stage.iterations for stage in stages)
        self.done, self.began = 0, 0.0
        self.bar: Any = None

    def __call__(self, step: Step) -> None:
        if not self.done:
            self._begin(step)
        pixels = step.stage.height * step.stage.width
        self.done += pixels
        text = describe(step, len(self.stages))
        if self.bar is not None:
            self.bar.set_description_str(text, refresh=False)
            self.bar.update(pixels)
        elif step.iteration % max(1, step.stage.iterations // LINES_PER_STAGE) == 0:
            left = (time.perf_counter() - self.began) * (self.total / self.done - 1)
            self.say(f"{text}  {left:.0f} s left")

    def close(self) -> None:
        """End the bar's line."""
        if self.bar is not None:
            self.bar.close()

    def _begin(self, step: Step) -> None:
        # Not before the first step, because a download or a note would break the bar and spoil the estimate.
        self.began = time.perf_counter() - step.seconds
        if self.wants_bar:
            # nrows, because tqdm shows nothing on a terminal that gives its height as 0 (docker, script).
            self.bar = tqdm(total=self.total, bar_format=BAR, nrows=2)


def describe(step: Step, stages: int) -> str:
    """One line: the stage, its size, the evaluation and every weighted term."""
    shown = "  ".join(f"{name} {value:.3g}" for name, value in by_term(step.losses).items())
    stage = step.stage
    where = f"stage {stage.number + 1}/{stages} {stage.width}x{stage.height}"
    return f"{where}  {step.iteration}/{stage.iterations}  {shown}"


def by_term(losses: Mapping[str, float]) -> dict[str, float]:
    """The losses by term: parts that are reported apart, such as "gram relu1_1", add up under their term's name."""
    terms: dict[str, float] = {}
    for part, value in losses.items():
        name = next((term.name for term in TERMS if part.startswith(f"{term.name} ")), part)
        terms[name] = terms.get(name, 0.0) + value
    return terms
