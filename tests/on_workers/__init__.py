"""Tasks of the tests. A package, because workers import what they run, and on other machines get it sent."""

import os
import time
from pathlib import Path
from typing import Any

import torch

from photostyle.errors import ComputationError, PhotostyleError


def squared(number: int) -> dict[str, int]:
    """The square, and who computed it with how many threads."""
    return {"square": number**2, "process": os.getpid(), "threads": torch.get_num_threads()}


def noted(folder: Path, name: str) -> int:
    """Leave a file that says that this process began this; returns how often it was begun."""
    (folder / f"{name}-{os.getpid()}-{time.time_ns()}").touch()
    return len(list(folder.glob(f"{name}-*")))


def killed_once(folder: Path, number: int, victim: int) -> int:
    """The square; the victim waits to be killed the first time it is begun."""
    if noted(folder, f"{number}") == 1 and number == victim:
        time.sleep(600)
    return number**2


def waiting(folder: Path) -> None:
    """Long."""
    noted(folder, "waiting")
    time.sleep(600)


def ending(folder: Path) -> None:
    """What ends its worker."""
    noted(folder, "ending")
    os._exit(1)


def raising(folder: Path, name: str) -> None:
    """Every kind of failure."""
    noted(folder, "raising")
    raise {
        "input": PhotostyleError("a bad input"),
        "computation": ComputationError("not a number"),
        "memory": MemoryError("too much"),
        "bug": KeyError("a mistake"),
    }[name]


def size(content: bytes, *more: Any) -> int:
    """Bytes of what arrived."""
    return len(content)
