"""The record of a training, like a transfer's: with what, on which data, how it went, what came out."""

from collections.abc import Mapping, Sequence
from typing import Any

from photostyle.evaluation.records import environment, made_by


def training_record(
    command: str,
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    outcome: Mapping[str, Any],
    *,
    seconds: float,
    device: str,
    threads: int,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything about a training, as JSON types; `evaluation.records.write_record` writes it.

    command: "finetune", "multistyle", "style-classes": so that no record is taken for another's. data: where the
    pictures are, how many, their SHA-256. outcome: figures, and the files written with their SHA-256. seconds: of all
    runs together, where it was interrupted.
    """
    return {
        "photostyle": made_by(command),
        "settings": dict(settings),
        "environment": environment(device, threads),
        "data": dict(data),
        "notes": list(notes),
        "seconds": seconds,
        "history": [dict(entry) for entry in history],
        "outcome": dict(outcome),
    }
