"""A study whose journal cannot be read any more, made again from the records of its trials."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from photostyle.search.storage import DamagedJournal, Direction, open_study

if TYPE_CHECKING:  # imported where it is used: only a search needs it
    import optuna
    from optuna.distributions import BaseDistribution


def recovered(
    name: str,
    journal: Path,
    directions: Mapping[str, Direction],
    distributions: "Mapping[str, BaseDistribution]",
    error: DamagedJournal,
) -> "tuple[optuna.Study, str]":
    """The study from trials/NNNN.json beside the journal, which is kept under another name; and what there is to say.

    directions: of the objectives by their names in the records. A trial without a sound record counts for nothing, as
    an interrupted one. Raises the error where there are no records.
    """
    trials = _recorded(journal.with_name("trials"), list(directions), distributions)
    if not trials:
        raise error
    stamp = time.time_ns()
    made, aside = (
        journal.with_name(f"{journal.name}.{stamp}.new"),
        journal.with_name(f"{journal.name}.{stamp}"),
    )
    study = open_study(name, made, None, [*directions.values()])
    study.add_trials(trials)
    # The new one is whole before it has the name.
    journal.replace(aside)
    made.replace(journal)
    complete = sum(trial.values is not None for trial in trials)
    said = (
        f"{error}; it is kept as {aside.name}, and the study goes on from the records in trials/ "
        f"({complete} complete trials)"
    )
    return open_study(name, journal, None, [*directions.values()]), said


def _recorded(
    folder: Path, objectives: Sequence[str], distributions: "Mapping[str, BaseDistribution]"
) -> "list[optuna.trial.FrozenTrial]":
    """The trials by number, from 0 to the last that has a record."""
    from optuna.trial import TrialState, create_trial

    numbers = [int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal()]
    return [
        _trial(folder / f"{number:04d}.json", objectives, distributions)
        or create_trial(state=TrialState.FAIL)
        for number in range(max(numbers, default=-1) + 1)
    ]


def _trial(
    path: Path, objectives: Sequence[str], distributions: "Mapping[str, BaseDistribution]"
) -> "optuna.trial.FrozenTrial | None":
    """A trial as its record has it; None where there is no sound one. Failed without a failure it was interrupted."""
    from optuna.trial import TrialState, create_trial

    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        complete = record["state"] == "complete"
        attributes: dict[str, Any] = {"seconds": float(record["seconds"])}
        if complete:
            attributes["drift16"] = float(record["scores"]["drift16"])
        elif record["state"] == "failed":
            attributes["failure"] = str(record["failure"])
        params = record["values"]
        return create_trial(
            state=TrialState.COMPLETE if complete else TrialState.FAIL,
            values=[float(record["scores"][each]) for each in objectives] if complete else None,
            params=params,
            distributions={each: distributions[each] for each in params},
            user_attrs=attributes,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
