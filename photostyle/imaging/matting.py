"""The closed-form matting Laplacian of a photograph: what "photorealistic" means here.

The energy x^T L x of one colour channel x is the least-squares error of explaining x, in every 3x3 window, by an
affine function of the photograph's colours in that window (Levin, Lischinski & Weiss, "A Closed-Form Solution to
Natural Image Matting", TPAMI 2008, eq. 12). A picture of energy zero is a locally affine recolouring of the photo.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.kernels import matting as kernels
from photostyle.kernels import triton_matting
from photostyle.kernels.compiler import in_parts, usable

if TYPE_CHECKING:  # imported where it is used: a run makes the stencil without the matrix
    from scipy.sparse import csr_array

EPSILON = 1e-7  # gen_laplacian.m of Luan et al.: getLaplacian1(I, 0, 1e-7, 1)
WINDOW = 9  # pixels of a 3x3 window: win_size 1 in the same call
# A pixel and those of the 5x5 around it that come after it, row by row: (dy, dx).
LATER = ((0, 0), (0, 1), (0, 2), *((dy, dx) for dy in (1, 2) for dx in range(-2, 3)))


def matting_laplacian(image: np.ndarray, epsilon: float = EPSILON) -> "csr_array":
    """The Laplacian as a sparse matrix. Levin et al. 2008, eq. 12, colour form, 3x3 windows inside the image.

    image: (H, W, 3), sRGB values in [0, 1], H and W >= 3; pixel (y, x) is row y * W + x of the result.
    epsilon: ridge on a window's colour covariance, divided by the window's 9 pixels, in squared image units.
    Returns float64 (HW, HW), symmetric, positive semi-definite, rows summing to zero, (5H-6)(5W-6) entries.
    """
    stencil = _stencil(np.asarray(image, np.float64), epsilon)
    return _stencil_to_csr(stencil)


def _stencil(image: np.ndarray, epsilon: float) -> np.ndarray:
    """L as 25 numbers per pixel: (5, 5, H, W), entry [dy+2, dx+2, y, x] couples (y, x) with (y+dy, x+dx)."""
    height, width = image.shape[:2]
    inner = (height - 2, width - 2)
    corners = [(dy, dx) for dy in range(3) for dx in range(3)]
    window = np.stack(
        [image[dy : dy + inner[0], dx : dx + inner[1]].transpose(2, 0, 1) for dy, dx in corners]
    )
    # Centred before squaring: in E[II] - mu mu the ridge of 1e-8 is lost to rounding, and L becomes indefinite.
    window -= window.mean(0)
    covariance = np.einsum("nihw,njhw->hwij", window, window) / WINDOW
    inverse = np.linalg.inv(covariance + epsilon / WINDOW * np.eye(3))
    whitened = np.einsum("hwij,njhw->nihw", inverse, window)
    stencil = np.zeros((5, 5, height, width))
    for a, (ay, ax) in enumerate(corners):
        for b, (by, bx) in enumerate(corners[: a + 1]):
            value = -(1 + np.einsum("ihw,ihw->hw", window[a], whitened[b])) / WINDOW
            if a == b:
                stencil[2, 2, ay : ay + inner[0], ax : ax + inner[1]] += 1 + value
                continue
            stencil[2 + by - ay, 2 + bx - ax, ay : ay + inner[0], ax : ax + inner[1]] += value
            stencil[2 + ay - by, 2 + ax - bx, by : by + inner[0], bx : bx + inner[1]] += value
    return stencil


def _stencil_to_csr(stencil: np.ndarray) -> "csr_array":
    from scipy.sparse import csr_array

    height, width = stencil.shape[2:]
    size = height * width
    dy, dx = np.mgrid[-2:3, -2:3].reshape(2, 25)
    y, x = np.mgrid[:height, :width].reshape(2, size)
    ny, nx = y[:, None] + dy, x[:, None] + dx
    inside = (ny >= 0) & (ny < height) & (nx >= 0) & (nx < width)
    columns = (ny * width + nx)[inside].astype(np.int32)
    starts = np.concatenate(([0], np.cumsum(inside.sum(1)))).astype(np.int32)
    data = stencil.reshape(25, size).T[inside]
    return csr_array((data, columns, starts), shape=(size, size))


class MattingOperator:
    """The same Laplacian on a torch device, as a symmetric stencil: half of a pixel's 25 neighbours are enough.

    stencil: (13, H + 4, W + 4), entry [k, y + 2, x + 2] couples pixel (y, x) with (y, x) + LATER[k]; zero where that is
    outside. A product reads half the numbers of a sparse matrix and no indices.
    """

    def __init__(
        self,
        laplacian: "csr_array",
        height: int,
        width: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Of a symmetric matrix (HW, HW) that couples a pixel with the 5x5 around it."""
        self.stencil = torch.from_numpy(_later_half(laplacian, height, width)).to(device, dtype)

    @classmethod
    def of(cls, photo: Tensor, epsilon: float = EPSILON) -> "MattingOperator":
        """Of a photo (3, H, W), sRGB in [0, 1], on its device; in float32 built without the matrix."""
        made = cls.__new__(cls)
        pixels = photo.cpu().double().numpy()
        if usable(photo.cpu()):
            stencil = np.zeros((len(LATER), pixels.shape[1] + 4, pixels.shape[2] + 4), np.float32)
            kernels.half_stencil(pixels, epsilon, stencil)
        else:
            whole = _stencil(pixels.transpose(1, 2, 0), epsilon)
            later = np.stack([whole[2 + dy, 2 + dx] for dy, dx in LATER])
            stencil = np.pad(later, ((0, 0), (2, 2), (2, 2)))
        made.stencil = torch.from_numpy(stencil).to(photo)
        return made

    @property
    def diagonal(self) -> Tensor:
        """The matrix's diagonal, (H, W)."""
        return self.stencil[0, 2:-2, 2:-2]

    def __call__(self, image: Tensor) -> Tensor:
        """L x for every channel. (C, H, W) -> (C, H, W)."""
        result = torch.zeros_like(image, memory_format=torch.contiguous_format)
        self.add(image, torch.ones(len(image)), result)
        return result

    def add(self, image: Tensor, scales: Tensor, total: Tensor) -> None:
        """Adds scales[c] L x_c to each channel of total, in place. (C, H, W), (C,), (C, H, W)."""
        padded = F.pad(image, (2, 2, 2, 2))
        if usable(self.stencil, padded, scales, total):
            arrays = self.stencil.numpy(), padded.numpy(), scales.numpy(), total.numpy()
            in_parts(lambda first, end: kernels.product(*arrays, first, end), total.shape[1])
            return
        if triton_matting.usable(self.stencil, padded, total) and total.is_contiguous():
            triton_matting.add_product(self.stencil, padded, scales.to(total), total)
            return
        total += scales.to(total)[:, None, None] * self._product(padded)

    def energy(self, image: Tensor) -> Tensor:
        """sum_c x_c^T L x_c, differentiable. (C, H, W) -> scalar, in squared image units."""
        return _Energy.apply(image, self)  # type: ignore[no-any-return]

    def _product(self, padded: Tensor) -> Tensor:
        """L x of a padded x, by moving the whole picture. (C, H + 4, W + 4) -> (C, H, W)."""
        height, width = padded.shape[1] - 4, padded.shape[2] - 4

        def moved(stack: Tensor, dy: int, dx: int) -> Tensor:
            return stack[..., 2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width]

        product = self.diagonal * moved(padded, 0, 0)
        for entries, (dy, dx) in zip(self.stencil[1:], LATER[1:], strict=True):
            # Coupled with its later neighbour by its own number, with the earlier one by that one's.
            product += moved(entries, 0, 0) * moved(padded, dy, dx)
            product += moved(entries, -dy, -dx) * moved(padded, -dy, -dx)
        return product


def _later_half(laplacian: "csr_array", height: int, width: int) -> np.ndarray:
    """The stencil of a matrix: its diagonals, where they stay inside the picture. -> (13, H + 4, W + 4)."""
    later = np.zeros((len(LATER), height, width))
    x = np.arange(width)
    for entries, (dy, dx) in zip(later, LATER, strict=True):
        if dy >= height or (steps := dy * width + dx) >= height * width:
            continue
        diagonal = laplacian.diagonal(steps)
        entries.reshape(-1)[: len(diagonal)] = diagonal
        entries[height - dy :] = 0
        entries[:, (x + dx < 0) | (x + dx >= width)] = 0
    return np.pad(later, ((0, 0), (2, 2), (2, 2)))


class _Energy(torch.autograd.Function):
    """x^T L x with one product forward and none backward: L is symmetric, so the gradient is 2 L x."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, operator: MattingOperator) -> Tensor:
        # L 1 = 0, so the mean may be taken off before the product: float32 then cancels less.
        centred = image - image.mean((1, 2), keepdim=True)
        product = operator(centred)
        ctx.save_for_backward(product)
        return (centred * product).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (product,) = ctx.saved_tensors
        return 2 * gradients[0] * product, None
