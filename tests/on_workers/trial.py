"""A trial that may be killed: a search's own, but that the first one to begin waits for it."""

from collections.abc import Mapping
from typing import Any

from on_workers import noted
from photostyle.search import Attempt, try_settings
from photostyle.trials import Problem


def watched(problem: Problem, settings: Mapping[str, Any]) -> Attempt:
    """Leaves a file trial-* in the folder of the configuration's output, and the first of all victim-* too."""
    folder = problem.config.output.parent
    noted(folder, "trial")
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        return try_settings(problem, settings)
    return waiting(folder)


def waiting(folder: Any) -> Attempt:
    """Until it is killed."""
    import time

    noted(folder, "victim")
    time.sleep(600)
    raise AssertionError("nobody killed it")
