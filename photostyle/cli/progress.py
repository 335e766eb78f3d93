"""How far a run has come: on a terminal a bar with part, stage, terms and time left, elsewhere plain lines."""

import sys
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
    """Watches a run from the masks to the scores. say: takes the plain lines; bar: whether there is a terminal for one.

    Work is counted in pixels times evaluations, so that the time left is right across stages of different sizes.
    others: what the parts beside the solve cost, in the same unit, by their names, in their order.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        say: Callable[[str], None],
        bar: bool,
        others: Mapping[str, float] | None = None,
    ) -> None:
        self.say, self.wants_bar = say, bar
        self.others = dict(others or {})
        self.bar: Any = None
        self.plan(stages)

    def plan(self, stages: Sequence[Stage]) -> None:
        """The work begins, or begins anew, with these stages."""
        self.close()
        self.stages = stages
        self.solve = sum(stage.height * stage.width * stage.iterations for stage in stages)
        self.done, self.before, self.began = 0, 0, 0.0
        self.behind = 0.0  # the work of the parts that are over
        self.part: str | None = None

    def enter(self, part: str) -> None:
        """A part of the work begins, and the one before it is over."""
        self._leave()
        self.part = part
        if self.wants_bar:
            self._show(part)
        elif part == "masks":  # the one that may take longer than the solve, and says nothing meanwhile
            self.say("making masks")

    def __call__(self, step: Step) -> None:
        """An evaluation of the solve is done."""
        pixels = step.stage.height * step.stage.width
        if not self.done and (step.stage.number or step.iteration > 1):
            # A solve that goes on after a break: what was done before says nothing of the pace.
            self.before = self._done_before(step)
            self.done, self.began = self.before, time.perf_counter()
        elif not self.done:
            self.began = time.perf_counter() - step.seconds
        self.done += pixels
        text = describe(step, len(self.stages))
        if self.wants_bar:
            self._show(text, self.done)
        elif step.iteration % max(1, step.stage.iterations // LINES_PER_STAGE) == 0:
            pace = (time.perf_counter() - self.began) / (self.done - self.before)
            left = pace * (self.solve - self.done)
            self.say(f"{text}  {left:.0f} s left")

    def aside(self, text: str) -> None:
        """Say a line that is no progress, above the bar where there is one."""
        if self.bar is None:
            self.say(text)
        else:
            self.bar.clear()
            self.say(text)
            self.bar.refresh()

    def finish(self) -> None:
        """All is done, and the bar full."""
        self._leave()
        if self.bar is not None:
            self.bar.set_description_str("done", refresh=False)
            self.bar.update(self.bar.total - self.bar.n)

    def close(self) -> None:
        """End the bar's line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _done_before(self, step: Step) -> int:
        """The work of all evaluations before one."""
        earlier = [each for each in self.stages if each.number < step.stage.number]
        whole = sum(each.height * each.width * each.iterations for each in earlier)
        return whole + step.stage.height * step.stage.width * (step.iteration - 1)

    def _leave(self) -> None:
        self.behind += self.solve if self.part == "solve" else self.others.get(self.part or "", 0.0)
        self.part = None

    def _show(self, text: str, done: float = 0.0) -> None:
        if self.bar is None:
            # nrows, because tqdm shows nothing on a terminal that gives its height as 0 (docker, script).
            total = self.solve + sum(self.others.values())
            self.bar = tqdm(total=max(total, 1), bar_format=BAR, nrows=2, file=sys.stderr)
        self.bar.set_description_str(text, refresh=False)
        self.bar.update(self.behind + done - self.bar.n)
        self.bar.refresh()


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
