"""A solve that survives its process: checkpoints of it in a file, and how to go on from them."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from photostyle.errors import ComputationError, PhotostyleError
from photostyle.files.checkpoints import (
    Checkpoint,
    load_checkpoint,
    previous_path,
    refuse_other,
    save_checkpoint,
)
from photostyle.optimisers import Step

# Seconds from one checkpoint to the next, at least: what a person does not mind to compute again.
INTERVAL = 5.0
# And so many times what the last one took, so that all of them take less than a fiftieth of the time.
RARITY = 50
TRIES = "or start anew without --resume"


class Checkpoints:
    """Where a solve is kept while it runs.

    path: of the file, see `files.checkpoints`. found: what the solve is to go on from, None to begin. say: takes notes.
    company: plain values that are kept beside the state of the solve, for whoever goes on. willing: whether to begin,
    and say so, where what was found is of another solve. writes: whether new ones are written. identity: set before the
    solve begins; by name everything that decides the bytes of its result.
    """

    def __init__(
        self,
        path: Path,
        found: Checkpoint | None = None,
        say: Callable[[str], None] = lambda note: None,
        company: Mapping[str, Any] | None = None,
        willing: bool = False,
        writes: bool = True,
    ) -> None:
        self.path, self.found, self.say, self.willing = path, found, say, willing
        self.company = dict(company or {})
        self.identity: Mapping[str, Any] = {}
        self._next, self._writes = 0.0, writes

    @classmethod
    def resumed_or_begun(cls, path: Path, say: Callable[[str], None], writes: bool = True) -> "Checkpoints":
        """Those of a solve that goes on where it can, and begins where it cannot."""
        try:
            found = load_checkpoint(path, say)
        except PhotostyleError as error:
            say(f"{error}; the solve begins")
            found = None
        return cls(path, found, say, company_of(found), willing=True, writes=writes)

    @classmethod
    def resumed(cls, path: Path, say: Callable[[str], None], writes: bool = True) -> "Checkpoints":
        """Those of a solve that goes on from what is in the file, or begins, as say is told, where there is none.

        Raises PhotostyleError where the file is damaged, and the one before it too.
        """
        found = load_checkpoint(path, say)
        if found is None:
            say(f"there is no {path} to resume from: the solve begins")
        return cls(path, found, say, company_of(found), writes=writes)

    def begin(self, device: torch.device) -> tuple[Mapping[str, Any] | None, list[dict[str, Any]]]:
        """The solve begins. Returns the state that `solve` goes on from, on the device, and the trace until then.

        Raises PhotostyleError where what was found is of another solve: it names the first difference.
        """
        self.identity = {**self.identity, "device": device.type}
        self._next = time.perf_counter() + INTERVAL
        if self.found is None:
            return None, []
        try:
            refuse_other(self.found, self.identity, TRIES)
        except PhotostyleError as error:
            if not self.willing:
                raise
            self.say(f"{error}; the solve begins")
            return None, []
        try:
            state: Any = _placed(self.found.state["solve"], device)
            trace: Any = self.found.state["trace"]
            self.say(f"resumed at stage {state['stage'] + 1} after evaluation {state['iteration']}")
        except (KeyError, TypeError) as error:
            raise PhotostyleError(
                f"{self.found.path} is a checkpoint of something else; delete it, {TRIES}"
            ) from error
        return state, list(trace)

    def after(self, step: Step, trace: Sequence[Mapping[str, Any]]) -> None:
        """A step is done: it is kept where it is time to. A disk that fails costs no more than a note, once."""
        began = time.perf_counter()
        if began < self._next or not self._writes:
            return
        try:
            self._keep(step, trace)
        except ComputationError as error:
            self._writes = False
            self.say(f"no more checkpoints: {error}")
        ended = time.perf_counter()
        self._next = ended + max(INTERVAL, RARITY * (ended - began))

    def remove(self) -> None:
        """What is finished needs no checkpoint."""
        for path in (self.path, previous_path(self.path)):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _keep(self, step: Step, trace: Sequence[Mapping[str, Any]]) -> None:
        state = {"settings": dict(self.identity), "company": self.company, "solve": step.state()}
        save_checkpoint(self.path, state | {"trace": list(trace)})


def company_of(found: Checkpoint | None) -> dict[str, Any]:
    """What was kept beside the state of a solve."""
    company = None if found is None else found.state.get("company")
    return dict(company) if isinstance(company, Mapping) else {}


def _placed(state: Any, device: torch.device) -> Any:
    """A nested state with its tensors on a device."""
    if isinstance(state, Tensor):
        return state.to(device)
    if isinstance(state, Mapping):
        return {name: _placed(each, device) for name, each in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_placed(each, device) for each in state)
    return state
