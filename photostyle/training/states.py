"""The state of a training: of its parts and of all random numbers, as `files.checkpoints` keeps it."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.files.checkpoints import Checkpoint, State, mapping_of


class Stateful(Protocol):
    """What has a state of its own: a module, an optimiser, a scheduler, a gradient scaler."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> object: ...


def states_of(parts: Mapping[str, Stateful]) -> dict[str, State]:
    """The state of each part by name (model, optimiser, scheduler, scaler …) and of the random numbers."""
    return {**{name: part.state_dict() for name, part in parts.items()}, "random": random_states()}


def restore(parts: Mapping[str, Stateful], checkpoint: Checkpoint) -> None:
    """Put each part, and the random numbers, where `states_of` found them.

    Raises PhotostyleError where the checkpoint is of something else.
    """
    try:
        for name, part in parts.items():
            part.load_state_dict(dict(mapping_of(checkpoint.state[name])))
        restore_random_states(mapping_of(checkpoint.state["random"]))
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        gist = str(error).splitlines()[0]
        raise PhotostyleError(
            f"{checkpoint.path} is a checkpoint of another training ({gist}): give it another folder"
        ) from error


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """All generators at the same place for the same seed, for the time of a block; then put back as they were."""
    before = random_states()
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        restore_random_states(before)


def random_states() -> dict[str, State]:
    """The states of all generators that a training may draw from: torch's of the CPU and GPUs, Python's, NumPy's."""
    version, words, after = random.getstate()
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global generator is what others draw from
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {
        "torch": torch.get_rng_state(),
        "cuda": cuda,
        "python": [version, list(words), after],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
    }


def restore_random_states(states: Mapping[str, State]) -> None:
    """Put all generators where `random_states` found them; GPUs as far as there are as many now."""
    version, words, after = _list(states["python"])
    name, keys, *rest = _list(states["numpy"])
    torch.set_rng_state(_tensor(states["torch"]))
    for device, state in zip(range(torch.cuda.device_count()), _list(states["cuda"]), strict=False):
        torch.cuda.set_rng_state(_tensor(state), device)
    random.setstate((version, tuple(_list(words)), after))
    np.random.set_state((name, _tensor(keys).numpy().astype(np.uint32), *rest))  # type: ignore[arg-type]  # noqa: NPY002


def _list(value: State) -> list[State]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, found {type(value).__name__}")
    return value


def _tensor(value: State) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"expected a tensor, found {type(value).__name__}")
    return value
