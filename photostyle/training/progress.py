"""How far a training has come: steps, how many a second, time left. It prints nothing: who runs it passes `say`."""

import time
from collections.abc import Callable

SECONDS = 10.0  # between two lines where there is no terminal: a log that can be read, and seen to move


class Progress:
    """Watches steps. say: takes a line that stays; show: one that replaces the one before, where there is a terminal.

    total: of all steps; done: those of an earlier run, which say nothing about this one's rate.
    """

    def __init__(
        self,
        total: int,
        say: Callable[[str], None],
        show: Callable[[str], None] | None = None,
        *,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.say, self.show, self.clock = total, say, show, clock
        self.first, self.began = done, clock()
        self.said = self.began

    def __call__(self, done: int, text: str = "") -> None:
        """So many steps are done. On a terminal each call is shown, elsewhere one every SECONDS."""
        line = f"{done}/{self.total}  {self.pace(done)}  {text}".rstrip()
        if self.show is not None:
            self.show(line)
        elif self.clock() - self.said >= SECONDS:
            self.said = self.clock()
            self.say(line)

    def pace(self, done: int) -> str:
        """Steps a second and the time left, as far as both are known: "12.5 steps/s, 1:02 left"."""
        rate = self.rate(done)
        if not rate:
            return "starting"
        speed = f"{rate:.3g} steps/s" if rate >= 1 else f"{1 / rate:.3g} s a step"
        return f"{speed}, {clock_text((self.total - done) / rate)} left"

    def rate(self, done: int) -> float:
        """Steps a second of this run; 0.0 before the first."""
        seconds = self.clock() - self.began
        return (done - self.first) / seconds if seconds > 0 else 0.0


def clock_text(seconds: float) -> str:
    """Seconds as people read them: "0:07", "12:30", "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
