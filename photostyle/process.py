"""The state of a process: its device, its memory, and the threads, determinism and environment that are set for it.

The library itself sets none of it: who calls it from Python keeps their own, or takes `prepared`. This module imports
torch only when it is asked to set it up, since one of its settings is read when torch is imported.
"""

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from photostyle.errors import ComputationError, PhotostyleError

if sys.platform != "win32":
    import resource
if TYPE_CHECKING:
    import torch

T = TypeVar("T")

# What the threads of OpenMP do while they wait. Spinning, its default, makes two busy processes on the same cores ten
# times slower: the tests of this project took 541 CPU seconds beside another process, and 80 with sleeping threads.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
# cuBLAS reads it when it first starts; without it torch refuses deterministic products on CUDA.
WORKSPACE = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}

# Threads that are asked for. More than a machine has cores make nothing faster, but a record of a larger machine is run
# again with its number, which its bits follow from. So many no machine of two sockets has (2 x 288 cores, Intel Xeon
# 6900E); 2048 were seen to work with torch 2.14, and 3000 to end the process with a segmentation fault.
MOST_THREADS = 1024

# Bytes that libraries take which are loaded after torch: a run of the smallest photo goes 319 MB beyond its imports
# (VmPeak), and OpenBLAS asks for 32 MB for each thread (BUFFER_SIZE) for ever, deaf to signals, where there are none.
LATE_LIBRARIES, BLAS_BUFFER = 320_000_000, 32 << 20


def let_threads_sleep() -> None:
    """Let OpenMP's threads sleep while they wait, where the user has not said otherwise; before torch is imported."""
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)


def check_limits(root: Path = Path("/")) -> None:
    """Raise ComputationError where the process's own limits leave too little for libraries that are yet to come."""
    try:
        left = min(_left_in_limits(root), default=None)
    except (OSError, ValueError):  # not Linux
        return
    if left is not None and left < LATE_LIBRARIES + BLAS_BUFFER * (os.cpu_count() or 1):
        raise ComputationError(
            f"out of memory: libraries leave {left / 1e6:.0f} MB of what ulimit allows; raise the limit"
        )


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


def import_matplotlib() -> None:
    """Import matplotlib whatever MPLBACKEND says: notebooks set it for themselves, and no file that is drawn needs it.

    A name that matplotlib does not know ends its import, and half of it stays; so it is told afterwards.
    """
    if "matplotlib" in sys.modules:
        return
    named = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        os.environ.update({} if named is None else {"MPLBACKEND": named})
    if named:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = named


@contextmanager
def default_modes() -> Iterator[None]:
    """Torch's modes as a thread has them that has set none, for the time of a block or of a function.

    Gradients are taken, what is made is float32 and nothing is cast, though the caller has no_grad, inference_mode,
    autocast or another default dtype.
    """
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
            if not torch.is_autocast_enabled("cuda"):
                yield
            else:
                with torch.autocast("cuda", enabled=False):
                    yield
    finally:
        torch.set_default_dtype(before)


def in_default_modes(steps: Iterator[T]) -> Iterator[T]:
    """What a generator yields: its own code runs in `default_modes`, its reader's in the modes that the reader has."""
    try:
        while True:
            with default_modes():
                step = next(steps, None)
            if step is None:
                return
            yield step
    finally:
        if isinstance(steps, Generator):
            steps.close()


@contextmanager
def prepared(threads: int = 0, deterministic: bool = False) -> Iterator[None]:
    """Torch with so many CPU threads (0: as it is) and, if asked, deterministic on CUDA; put back after the block.

    Raises PhotostyleError for a number of threads that cannot be.
    """
    check_threads(threads)
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


def check_threads(threads: int) -> None:
    """Raise PhotostyleError for a number of threads that cannot be."""
    if not 0 <= threads <= MOST_THREADS:
        raise PhotostyleError(
            f"--threads is {threads}; it must lie between 0 and {MOST_THREADS}: more than this machine's "
            f"{os.cpu_count()} cores make nothing faster"
        )


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


def free_memory(device: "torch.device", root: Path = Path("/")) -> int | None:
    """Bytes that this process may have at most: what it has and what is free; None where that cannot be known.

    Of a CUDA device its own memory, elsewhere the machine's, that of the control groups a container lives in, and what
    the process's own limits leave (`ulimit -v`, `-d`). root: where the system's files are.
    """
    if device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    try:
        available = _kibibytes(root / "proc/meminfo", "MemAvailable")
        own = _kibibytes(root / "proc/self/status", "VmRSS")
    except (OSError, ValueError):  # not Linux
        return None
    return own + min([available, *_left_in_groups(root), *_left_in_limits(root)])


def _kibibytes(path: Path, name: str) -> int:
    """Bytes of a line "NAME: 123 kB". Raises ValueError where there is none."""
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return 1024 * int(value.split()[0])
    raise ValueError(f"{path} has no {name}")


def _left_in_limits(root: Path) -> Iterator[int]:
    """Bytes left under the process's own limits, of its address space and of its data, where they are set."""
    if sys.platform == "win32":
        return
    for number, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit, _ = resource.getrlimit(number)
        if limit != resource.RLIM_INFINITY:
            yield max(0, limit - _kibibytes(root / "proc/self/status", used))


# Control groups of the second and of the first version: folder, limit, use, and what of the use can be given back
# (cached files), by the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
GROUPS = (
    ("sys/fs/cgroup", "", "memory.max", "memory.current", "inactive_file"),
    (
        "sys/fs/cgroup/memory",
        "memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def _left_in_groups(root: Path) -> Iterator[int]:
    """Bytes left under each limit: of the process's groups, and of those that they are in."""
    for folder, controller, limit, use, cached in GROUPS:
        for group in _groups(root, root / folder, controller):
            try:
                most, used = (int((group / name).read_text(encoding="ascii")) for name in (limit, use))
                lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
                spare = dict(line.split() for line in lines).get(cached, "0")
            except (OSError, ValueError):  # no such group, or "max"
                continue
            yield max(0, most - used + int(spare))


def _groups(root: Path, top: Path, controller: str) -> Iterator[Path]:
    """The group of this process and those above it, from /proc/self/cgroup: lines NUMBER:CONTROLLERS:PATH."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") and top.is_dir():
            group = top / path.lstrip("/")
            yield from (group, *(each for each in group.parents if each.is_relative_to(top)))
