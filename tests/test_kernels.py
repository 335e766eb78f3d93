"""Every compiled loop against its equal in torch and in float64."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.imaging import matting
from photostyle.imaging.filters import add_doubled, halve
from photostyle.imaging.matting import MattingOperator, matting_laplacian
from photostyle.kernels import compiler
from photostyle.losses.patches import filter_bank, responses
from photostyle.losses.structure import full_sums, structure_loss, window_sums
from photostyle.losses.texture import moduli, zero_mean_filters

pytest.importorskip("numba")

# Odd and even sides, and ones just large enough.
SIZES = [(40, 61), (33, 48), (7, 9)]


def noise(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value_and_gradient(function, image: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Of the function's result times weights, summed."""
    leaf = image.clone().requires_grad_()
    value = function(leaf)
    (value if weights is None else value * weights.to(value)).sum().backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def compare(monkeypatch: pytest.MonkeyPatch, function, image: Tensor, error: float) -> None:
    """A kernel in float32, torch in float32 and torch in float64: the first two are as far from the third."""
    with torch.no_grad():
        weights = noise(function(image).numel(), seed=9).view(function(image).shape)
    exact = value_and_gradient(function, image, weights)
    compiled = value_and_gradient(function, image.float(), weights)
    with monkeypatch.context() as context:
        context.setattr(compiler, "available", lambda: False)
        plain = value_and_gradient(function, image.float(), weights)
    for ours, torchs, true in zip(compiled, plain, exact, strict=True):
        assert ours.dtype == torch.float32 and ours.shape == true.shape
        scale = true.abs().max().item()
        torch.testing.assert_close(ours.double(), true, rtol=0, atol=error * scale)
        torch.testing.assert_close(torchs.double(), true, rtol=0, atol=error * scale)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("threads", [1, 3])
def test_responses_of_patches(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], threads: int):
    filters = filter_bank(12, 5, torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    # 75 products of size one: sqrt(75) roundings of 6e-8.
    compare(monkeypatch, lambda image: responses(image, filters.to(image)), noise(3, *size), 2e-6)
    torch.set_num_threads(before)


def test_responses_to_filters_in_any_order(monkeypatch: pytest.MonkeyPatch):
    """A filter that is all zero but for its centre may stand behind others, and one of zeros anywhere."""
    filters = filter_bank(8, 5, torch.Generator().manual_seed(0))[torch.tensor([0, 7, 1, 5])]
    filters[1] = 0
    compare(monkeypatch, lambda image: responses(image, filters.to(image)), noise(3, 20, 30), 2e-6)


@pytest.mark.parametrize("side", [2, 3, 7])
def test_filters_of_other_sides_are_torch_s(side: int):
    filters = filter_bank(4, side, torch.Generator().manual_seed(0))
    image = noise(3, 20, 30).float()
    expected = F.conv2d(image[None], filters)[0].flatten(1)
    torch.testing.assert_close(responses(image, filters), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_moduli(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]):
    filters = zero_mean_filters(torch.Generator().manual_seed(0))
    # A modulus near 0 turns within BEND, a hundredth: rounding of the response counts a hundredfold in the gradient.
    compare(monkeypatch, lambda image: moduli(image, filters.to(image)), noise(3, *size), 2e-5)


@pytest.mark.parametrize("size", SIZES)
def test_halving(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]):
    compare(monkeypatch, halve, noise(3, *size), 3e-7)
    compare(monkeypatch, halve, noise(1, *size), 3e-7)


def test_doubling_is_the_transpose_of_halving():
    image, small = noise(2, 9, 12), noise(2, 4, 6, seed=1)
    for dtype in (torch.float32, torch.float64):
        total = torch.zeros(2, 9, 12, dtype=dtype)
        add_doubled(small.to(dtype), total)
        forth, back = (halve(image.to(dtype)) * small.to(dtype)).sum(), (image.to(dtype) * total).sum()
        assert forth.item() == pytest.approx(back.item(), rel=1e-6)
    # Into a part of a larger picture, whose rows are not one after the other.
    wide = torch.zeros(2, 9, 20)
    add_doubled(small.float(), wide[:, :, :12])
    torch.testing.assert_close(wide[:, :, :12].double(), total, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [3, 7])
def test_window_sums_and_their_transpose(monkeypatch: pytest.MonkeyPatch, side: int):
    image = noise(2, 17, 24)
    exact = image.unfold(1, side, 1).unfold(2, side, 1).sum((-1, -2))
    torch.testing.assert_close(window_sums(image, side), exact)
    torch.testing.assert_close(window_sums(image.float(), side).double(), exact, rtol=1e-5, atol=0)
    values = noise(17 - side + 1, 24 - side + 1, seed=1)
    for dtype in (torch.float32, torch.float64):
        spread = full_sums(values.to(dtype), side)
        forth, back = (
            (window_sums(image.to(dtype), side)[0] * values.to(dtype)).sum(),
            (image[0] * spread).sum(),
        )
        assert forth.item() == pytest.approx(back.item(), rel=1e-5)


@pytest.mark.parametrize("size", [(40, 61), (7, 9)])
def test_structure(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]):
    theirs = noise(*size, seed=4)
    # A variance is a difference of squares: 1e-7 over the 0.08 that noise has, and less where windows are calmer.
    compare(monkeypatch, lambda image: structure_loss(image, theirs.to(image), 7), noise(3, *size), 2e-5)


@pytest.mark.parametrize("size", [(3, 3), (3, 4), (4, 3), (9, 11), (40, 61)])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_matting_product(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], threads: int):
    photo, image = noise(3, *size), noise(3, *size, seed=1)
    matrix = matting_laplacian(photo.permute(1, 2, 0).numpy(), 1e-5)
    exact = torch.from_numpy((matrix @ image.flatten(1).numpy().T).T).view(image.shape)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    # Of the photo in float32, whose rounding the inverse of a covariance of 0.08 hardly enlarges.
    compiled = MattingOperator.of(photo.float(), 1e-5)
    atol = 2e-5 * exact.abs().max().item()
    torch.testing.assert_close(compiled(image.float()).double(), exact, rtol=0, atol=atol)
    torch.set_num_threads(before)
    torch.testing.assert_close(MattingOperator.of(photo, 1e-5)(image), exact, rtol=0, atol=1e-9)
    of_matrix = MattingOperator(matrix, *size, dtype=torch.float64)
    torch.testing.assert_close(of_matrix(image), exact, rtol=0, atol=1e-9)
    torch.testing.assert_close(of_matrix.diagonal.flatten(), torch.from_numpy(matrix.diagonal()))
    monkeypatch.setattr(compiler, "available", lambda: False)
    plain = MattingOperator.of(photo.float(), 1e-5)
    torch.testing.assert_close(plain(image.float()).double(), exact, rtol=0, atol=atol)
    torch.testing.assert_close(plain.stencil, compiled.stencil, rtol=0, atol=2e-5)


def test_the_product_is_added_with_a_scale_for_each_channel():
    photo, image, total = (noise(3, 9, 11, seed=seed).float() for seed in range(3))
    operator = MattingOperator.of(photo, 1e-4)
    scales = torch.tensor((0.5, 2.0, 0.0))
    expected = total + scales[:, None, None] * operator(image)
    operator.add(image, scales, total)
    torch.testing.assert_close(total, expected)


def test_later_neighbours_are_half_of_the_window():
    assert len(set(matting.LATER)) == 13
    both = set(matting.LATER) | {(-dy, -dx) for dy, dx in matting.LATER}
    assert both == {(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)}


# --- on CUDA ----------------------------------------------------------------------------------------------------

TRITON = """
import torch
import torch.nn.functional as F
from photostyle.imaging.matting import MattingOperator
from photostyle.kernels import triton_matting

for size in ((3, 3), (9, 11), (17, 33)):  # the last is of three programs
    photo, image = torch.rand(3, *size), torch.rand(3, *size)
    operator, total = MattingOperator.of(photo, 1e-4), torch.ones(3, *size)
    scales = torch.tensor((1.0, 2.0, 0.0))
    triton_matting.add_product(operator.stencil, F.pad(image, (2, 2, 2, 2)), scales, total)
    expected = 1 + scales[:, None, None] * operator(image)
    torch.testing.assert_close(total, expected, rtol=0, atol=2e-5)
"""


@pytest.mark.slow
def test_the_product_in_triton_interpreted() -> None:
    """Without a card: Triton's own interpreter runs the kernel on the CPU, in a process where it is asked for."""
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    ran = subprocess.run([sys.executable, "-c", TRITON], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
def test_the_product_in_triton_compiles_for_a_card() -> None:
    """Down to the machine code of an H100, for which no card is needed."""
    pytest.importorskip("triton")
    code = (
        "import triton\n"
        "from triton.backends.compiler import GPUTarget\n"
        "from triton.compiler import ASTSource\n"
        "from photostyle.kernels import triton_matting\n"
        "pointers = dict.fromkeys(('stencil', 'padded', 'scales', 'total'), '*fp32')\n"
        "signature = pointers | {'height': 'i32', 'width': 'i32', 'block': 'constexpr'}\n"
        "source = ASTSource(triton_matting._kernel(), signature, {'block': triton_matting.BLOCK})\n"
        "assert triton.compile(source, target=GPUTarget('cuda', 90, 32)).asm['cubin']\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
