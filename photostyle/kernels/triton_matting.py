"""The product with the matting stencil on CUDA, in one launch; see `kernels.matting`, which has it for the CPU.

Moving whole pictures takes fifty launches a product, and there are thousands of products in a run. Triton comes with
torch where it is for CUDA; elsewhere the moves are taken.
"""

import functools
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

BLOCK = 256  # pixels of a program: eight warps' lanes


@functools.cache
def available() -> bool:
    """Whether Triton is installed."""
    return find_spec("triton") is not None


def usable(*tensors: Tensor) -> bool:
    """Whether it can work on these tensors: float32 on CUDA, with Triton at hand."""
    return all(each.is_cuda and each.dtype == torch.float32 for each in tensors) and available()


def add_product(stencil: Tensor, padded: Tensor, scales: Tensor, total: Tensor) -> None:
    """Adds scales[c] L x to total (C, H, W), contiguous, as `kernels.matting.product` does."""
    channels, height, width = total.shape
    grid = (-(-height * width // BLOCK), channels)
    _kernel()[grid](stencil, padded, scales, total, height, width, BLOCK)


@functools.cache
def _kernel() -> Any:
    """Compiled when it is first launched: importing Triton takes a second."""
    import triton
    import triton.language as tl

    @triton.jit
    def product(stencil, padded, scales, total, height, width, block: tl.constexpr):  # type: ignore[no-untyped-def]
        pixel = tl.program_id(0) * block + tl.arange(0, block)
        channel = tl.program_id(1)
        inside = pixel < height * width
        wide = width + 4
        plane = (height + 4) * wide
        # Of the pixel in the padded picture.
        here = (pixel // width + 2) * wide + pixel % width + 2
        picture = padded + channel * plane
        found = tl.load(stencil + here, inside, 0.0) * tl.load(picture + here, inside, 0.0)
        for k in tl.static_range(1, 13):
            # The steps of imaging.matting.LATER, which no array in memory has to hold.
            down = 0 if k < 3 else (k - 3) // 5 + 1
            across = k if k < 3 else (k - 3) % 5 - 2
            step = down * wide + across
            entries = stencil + k * plane
            found += tl.load(entries + here, inside, 0.0) * tl.load(picture + here + step, inside, 0.0)
            found += tl.load(entries + here - step, inside, 0.0) * tl.load(picture + here - step, inside, 0.0)
        place = total + channel * height * width + pixel
        scale = tl.load(scales + channel)
        tl.store(place, tl.load(place, inside, 0.0) + scale * found, inside)

    return product
