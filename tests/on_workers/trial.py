"""Trials that may be killed, a search's own but that the first one to begin waits for it; and parts of a study."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from on_workers import noted
from photostyle.config import Config
from photostyle.search.study import Outcome, Study, try_settings
from photostyle.search.trials import Problem, prepare


def watched(problem: Problem, settings: Mapping[str, Any]) -> Outcome:
    """Leaves a file trial-* in the folder of the configuration's output, and the first of all victim-* too."""
    folder = problem.config.output.parent
    noted(folder, "trial")
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        return try_settings(problem, settings)
    return waiting(folder)


def part_of_a_study(config: Config, folder: Path, me: int, count: int) -> list[int]:
    """The numbers of the trials that this process has done, of so many in all, beside one other."""
    problem = prepare(config)
    (folder / f"{me}.ready").touch()
    while len(list(folder.glob("*.ready"))) < 2:
        time.sleep(0.01)
    return [trial.number for trial in Study(problem, folder).run(count)]


def waiting(folder: Any) -> Outcome:
    """Until it is killed."""
    noted(folder, "victim")
    time.sleep(600)
    raise AssertionError("nobody killed it")
