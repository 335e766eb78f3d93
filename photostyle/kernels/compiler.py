"""Compiled loops: how they are made, whether they can be had, and on how many threads they run.

A kernel is a plain loop over float32 arrays, compiled by numba when it is first called and then kept in numba's cache
on disk. Each has a slower equal in torch, which is taken without numba, on CUDA and for other types; tests compare the
two. Kernels write each element in an order that does not depend on the number of threads, so that it changes no bit.
"""

import functools
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

# Sums may be reordered and products fused, so that loops fit the processor's vectors. Infinity and NaN stay what they
# are, since a divergence has to be seen: with "nsz" beside "reassoc" LLVM takes x - x for 0, and NaN passes as finite.
FAST_MATH = {"reassoc", "contract", "arcp"}


@functools.cache
def available() -> bool:
    """Whether numba is installed."""
    return find_spec("numba") is not None


def usable(*tensors: Tensor) -> bool:
    """Whether kernels can work on these tensors: float32 on the CPU, with numba at hand."""
    return available() and all(each.device.type == "cpu" and each.dtype == torch.float32 for each in tensors)


class Kernel:
    """A function that is compiled when it is first called: importing numba takes a third of a second."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    @functools.cached_property
    def compiled(self) -> Callable[..., Any]:
        """The function in machine code."""
        from numba import njit

        options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": FAST_MATH}
        made: Callable[..., Any]
        try:
            made = njit(cache=True, **options)(self.function)
        except RuntimeError:
            # Neither the package's folder nor the user's can be written to: each process compiles for itself.
            made = njit(**options)(self.function)
        return made

    @property
    def _numba_type_(self) -> Any:
        """What numba asks of a value that compiled code names: with it a kernel may call another one.

        One of the same module, because numba's cache does not notice a change in another file.
        """
        return self.compiled._numba_type_  # type: ignore[attr-defined]

    def __call__(self, *arguments: Any) -> Any:
        return self.compiled(*arguments)


def in_parts(work: Callable[[int, int], None], count: int) -> None:
    """work(first, end) for parts of range(count), on as many threads as torch has.

    The work has to let other threads run, as kernels do, and parts may not write to the same place.
    """
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        work(0, count)
        return
    edges = [count * part // threads for part in range(threads + 1)]
    # The first part stays on this thread: a pool of one less, and no wait for it to wake.
    futures = [_pool(threads - 1).submit(work, *part) for part in itertools.pairwise(edges[1:])]
    work(edges[0], edges[1])
    for future in futures:
        future.result()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="photostyle-kernel")


# The threads of a pool stay behind in the process that was forked.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
