"""The closed-form matting Laplacian of a photograph: what "photorealistic" means here.

The energy x^T L x of one colour channel x is the least-squares error of explaining x, in every 3x3 window, by an
affine function of the photograph's colours in that window (Levin, Lischinski & Weiss, "A Closed-Form Solution to
Natural Image Matting", TPAMI 2008, eq. 12). A picture of energy zero is a locally affine recolouring of the photo.
"""

import warnings
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

EPSILON = 1e-7  # gen_laplacian.m of Luan et al.: getLaplacian1(I, 0, 1e-7, 1)
WINDOW = 9  # pixels of a 3x3 window: win_size 1 in the same call


def matting_laplacian(image: np.ndarray, epsilon: float = EPSILON) -> csr_array:
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


def _stencil_to_csr(stencil: np.ndarray) -> csr_array:
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
    """The same Laplacian on a torch device, in float32, built from the float64 matrix.

    CSR with int32 indices, the layout that has a fast product both on the CPU (MKL) and on CUDA (cuSPARSE).
    """

    def __init__(
        self, laplacian: csr_array, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self.pixels = laplacian.shape[0]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
            # Of torch 2.11, though the call says that they are off; scipy has made the indices.
            warnings.filterwarnings("ignore", "Sparse invariant checks are implicitly disabled", UserWarning)
            self.matrix = torch.sparse_csr_tensor(
                torch.from_numpy(laplacian.indptr),
                torch.from_numpy(laplacian.indices),
                torch.from_numpy(laplacian.data).to(dtype),
                size=laplacian.shape,
                device=device,
                check_invariants=False,
            )

    @classmethod
    def of(cls, photo: Tensor, epsilon: float = EPSILON) -> "MattingOperator":
        """Of a photo (3, H, W), sRGB in [0, 1], on its device."""
        return cls(matting_laplacian(photo.permute(1, 2, 0).cpu().numpy(), epsilon), photo.device)

    def __call__(self, image: Tensor) -> Tensor:
        """L x for every channel. (C, H, W) -> (C, H, W)."""
        flat = image.reshape(len(image), -1).T.contiguous()
        return (self.matrix @ flat).T.reshape(image.shape)

    def energy(self, image: Tensor) -> Tensor:
        """sum_c x_c^T L x_c, differentiable. (C, H, W) -> scalar, in squared image units."""
        return _Energy.apply(image, self)  # type: ignore[no-any-return]


class _Energy(torch.autograd.Function):
    """x^T L x with one sparse product forward and none backward: L is symmetric, so the gradient is 2 L x.

    Autograd would differentiate the sparse product by transposing the matrix at every step, at 25 times the cost.
    """

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
