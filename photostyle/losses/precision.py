"""What a network computes in: float32, or bfloat16 where the processor is made for it.

bfloat16 keeps 8 of float32's 24 binary digits. The value of the Gram and content terms moves by less than 0.3 %. Their
gradient is off by 8 to 23 % of its length at the start of a run and by up to 43 % at its end, where little of it is
left: about as much as the drawn filters of the patches move the whole gradient from step to step. An optimisation
reaches the same value (Gram and content at 128x96, 60 steps of Adam: 0.00356 against 0.00353 with a quarter-width
VGG-19, 0.00148 against 0.00149 with a full one of random weights). float32 is the default all the same: the picture is
not to depend on the processor unasked.
"""

import time
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Precision = Literal["float32", "bfloat16"]
DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# How many times faster bfloat16 has to be. With the instructions for it (AMX) it is 5, without 0.4.
GAIN = 1.5
# VGG's second convolution on a picture of 64 px: 0.3 G operations, two milliseconds of one core in float32.
CHANNELS, SIDE = 64, 64
ROUNDS = 3  # the fastest is taken: another process may hold up any of them


def resolved(wanted: Literal["float32", "bfloat16", "auto"], device: torch.device | str) -> Precision:
    """The precision itself; for "auto" bfloat16 where a trial on the device finds it GAIN times faster.

    float32 where torch has to be deterministic, since a trial is not, and on CUDA, whose convolutions are TF32 already.
    """
    if wanted != "auto":
        return wanted
    if torch.are_deterministic_algorithms_enabled() or torch.device(device).type != "cpu":
        return "float32"
    return "bfloat16" if gain() >= GAIN else "float32"


@cache
def gain() -> float:
    """How many times faster a convolution is in bfloat16 than in float32, on this processor, by a trial of 10 ms."""
    return _seconds(torch.float32) / _seconds(torch.bfloat16)


def _seconds(dtype: torch.dtype) -> float:
    """The fastest of a few convolutions after a first, which prepares the ones that follow."""
    image, kernel = (
        torch.ones(shape, dtype=dtype).to(memory_format=torch.channels_last)
        for shape in ((1, CHANNELS, SIDE, SIDE), (CHANNELS, CHANNELS, 3, 3))
    )
    _once(image, kernel)
    return min(_once(image, kernel) for _ in range(ROUNDS))


def _once(image: Tensor, kernel: Tensor) -> float:
    began = time.perf_counter()
    functional.conv2d(image, kernel, padding=1)
    return time.perf_counter() - began
