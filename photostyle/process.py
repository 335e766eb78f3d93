"""The state of a process: its device, and the threads, determinism and environment that commands and workers set.

The library itself sets none of it: who calls it from Python keeps their own, or takes `prepared`. This module imports
torch only when it is asked to set it up, since one of its settings is read when torch is imported.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from photostyle.errors import PhotostyleError

if TYPE_CHECKING:
    import torch

# What the threads of OpenMP do while they wait. Spinning, its default, makes two busy processes on the same cores ten
# times slower: the tests of this project took 541 CPU seconds beside another process, and 80 with sleeping threads.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
# cuBLAS reads it when it first starts; without it torch refuses deterministic products on CUDA.
WORKSPACE = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


def let_threads_sleep() -> None:
    """Let OpenMP's threads sleep while they wait, where the user has not said otherwise; before torch is imported."""
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables that are not set, for the time of a block and the processes started in it."""
    absent = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in absent})
    try:
        yield
    finally:
        for name in absent:
            os.environ.pop(name, None)


@contextmanager
def prepared(threads: int = 0, deterministic: bool = False) -> Iterator[None]:
    """Torch with so many CPU threads (0: as it is) and, if asked, deterministic on CUDA; put back after the block."""
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    with environment(WORKSPACE if deterministic else {}):
        try:
            _set(threads or before[0], deterministic)
            torch.backends.cudnn.benchmark = False
            yield
        finally:
            _set(*before)
            torch.backends.cudnn.benchmark = benchmark


def _set(threads: int, deterministic: bool) -> None:
    import torch

    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    # Asked first, because setting it imports torch's compiler: 1.5 s of a run that may take 0.3.
    if deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(deterministic)


def device_named(name: str) -> "torch.device":
    """The device to compute on: "cpu", "cuda", or "auto", which takes CUDA where there is one.

    Raises PhotostyleError where CUDA is asked for and absent.
    """
    import torch

    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise PhotostyleError("--device cuda: torch finds no CUDA device here; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and found else "cpu")
