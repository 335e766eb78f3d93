"""The matting Laplacian as it comes out in single precision: a well-known defect, kept to be compared with.

In float32 the covariances of calm windows lose their sign, the matrix is indefinite, and an optimiser can gain by
noise. `matting` has the exact one.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from photostyle.imaging.filters import size_of
from photostyle.imaging.matting import EPSILON, WINDOW, MattingOperator

if TYPE_CHECKING:  # imported where it is used: only the defect needs it
    from scipy.sparse import csr_array


def naive_operator(photo: Tensor, epsilon: float = EPSILON) -> MattingOperator:
    """`MattingOperator.of` from the naive matrix. photo: (3, H, W), sRGB in [0, 1]."""
    matrix = naive_laplacian(photo.permute(1, 2, 0).cpu().numpy(), epsilon)
    return MattingOperator(matrix, *size_of(photo), photo.device, photo.dtype)


def naive_laplacian(image: np.ndarray, epsilon: float = EPSILON) -> "csr_array":
    """Levin et al. 2008, eq. 12, all in float32 and with covariances as E[II] − μμ. (H, W, 3) -> (HW, HW).

    The difference has an error of 1e-7, ten times the ridge epsilon/9, so covariances lose their sign.
    """
    from scipy.sparse import coo_array, csr_array, dia_array

    colours = image.astype(np.float32).reshape(-1, 3)
    pixels = np.arange(len(colours), dtype=np.int32).reshape(image.shape[:2])
    windows = sliding_window_view(pixels, (3, 3)).reshape(-1, WINDOW)
    members = colours[windows]
    covariance = naive_covariances(members)
    inverse = np.linalg.inv(covariance + np.float32(epsilon / WINDOW) * np.eye(3, dtype=np.float32))
    centred = members - members.mean(1, keepdims=True)
    affinities = (1 + centred @ inverse @ centred.transpose(0, 2, 1)) / np.float32(WINDOW)
    rows, columns = np.repeat(windows, WINDOW, axis=1), np.tile(windows, (1, WINDOW))
    size = (len(colours), len(colours))
    matrix = coo_array((affinities.ravel(), (rows.ravel(), columns.ravel())), shape=size).tocsr()
    return csr_array(dia_array((matrix.sum(1)[None], [0]), shape=size).tocsr() - matrix)


def naive_covariances(members: np.ndarray) -> np.ndarray:
    """E[II] − μμ of every window's colours in their own precision. (M, 9, 3) -> (M, 3, 3)."""
    mean = members.mean(1)
    squares: np.ndarray = members.transpose(0, 2, 1) @ members / members.dtype.type(WINDOW)
    covariances: np.ndarray = squares - mean[:, :, None] * mean[:, None]
    return covariances
