"""How kernels are compiled, when they are used, and how their work is parted."""

import numpy as np
import pytest
import torch

from photostyle.kernels import compiler
from photostyle.kernels.compiler import Kernel, in_parts, usable


def test_kernels_work_on_float32_on_the_cpu_alone() -> None:
    pytest.importorskip("numba")
    assert usable(torch.zeros(1))
    assert not usable(torch.zeros(1), torch.zeros(1, dtype=torch.float64))
    assert not usable(torch.zeros(1, device="meta"))


def test_without_numba_nothing_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "available", lambda: False)
    assert not usable(torch.zeros(1))


def double(values: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(values)):
        out[i] = 2 * values[i]


def assert_it_doubles(kernel: Kernel) -> None:
    values, out = np.arange(5, dtype=np.float32), np.zeros(5, np.float32)
    kernel(values, out)
    assert (out == 2 * values).all()


def test_a_kernel_computes_what_its_python_does() -> None:
    pytest.importorskip("numba")

    assert_it_doubles(Kernel(double))


@Kernel
def half_of(value: float) -> float:
    return value / 2


@Kernel
def halves(values: np.ndarray) -> None:
    for i in range(len(values)):
        values[i] = half_of(values[i])


def test_a_kernel_may_call_another_one() -> None:
    pytest.importorskip("numba")
    values = np.arange(5, dtype=np.float32)
    halves(values)
    assert (values == np.arange(5) / 2).all()


def test_where_nothing_can_be_kept_a_kernel_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    numba = pytest.importorskip("numba")
    njit = numba.njit

    def without_a_cache(cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba, "njit", without_a_cache)

    assert_it_doubles(Kernel(double))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 100])
def test_parts_cover_everything_once(threads: int, count: int) -> None:
    seen = np.zeros(count, int)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        in_parts(lambda first, end: seen.__setitem__(slice(first, end), seen[first:end] + 1), count)
    finally:
        torch.set_num_threads(before)
    assert (seen == 1).all()


def test_what_fails_in_a_part_is_raised() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            in_parts(lambda first, end: 1 // (1 - first), 2)
    finally:
        torch.set_num_threads(before)
