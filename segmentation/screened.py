"""Screened solves with the matting Laplacian, by which masks are refined.

For every column b of targets, x minimises x^T L x + sum_i w_i (x_i - b_i)^2, with L the closed-form Laplacian:
(L + diag(w)) x = diag(w) b, the system of Levin, Lischinski & Weiss (TPAMI 2008) with a weight for each pixel. A pixel
of infinite weight is known and is eliminated. A large finite weight would ruin every iterative method: at a relative
residual of 1e-6 the values are off by up to 0.5.
"""

from typing import Any

import numpy as np
import pyamg
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import cg, splu

from photostyle.errors import ComputationError, PhotostyleError

Array = NDArray[np.float64]

# Where no weight is smaller, plain conjugate gradients are fastest: 175 thousand unknowns and three columns take 2.4 s,
# with multigrid 5.5 s, by factorisation 5.3 s. At 1e-3 they take 10.0 s, the others 7.7 s and 5.1 s.
LARGE_WEIGHT = 1e-2
# Unknowns up to which the matrix is factorised. In bands around borders 47 thousand took 0.2 s and 0.07 GB, 145
# thousand 1.1 s and 0.3 GB, 239 thousand 5 s and 0.9 GB, 789 thousand 63 s and 4.4 GB (multigrid 19 s and 18 per
# column).
FACTORISED = 250_000
# Root mean square error allowed to iterative solvers: a sixteenth of an 8-bit level. The largest error of a pixel was
# then 8 to 12 times the root mean square, so below a level.
ERROR = 1 / (16 * 255)
# A weight of 0 bounds no eigenvalue from below. With the published ridge of 1e-7 the smallest found was 3e-8, where a
# white corner pixel in a black picture pays the ridge only. Bands around borders have 1e-3.
SMALLEST_EIGENVALUE = 1e-8
ROUNDING = 1e-13  # the residual of a factorisation relative to |A| |x|: 1e-16 to 5e-16 was measured
ITERATIONS = 500  # plain gradients took 70 at the weight from which they are used, multigrid up to 50


def solve_screened(laplacian: csr_array, photo: NDArray[Any], weight: Array, target: Array) -> Array:
    """Minimise x^T L x + sum_i weight_i (x_i - target_i)^2 for every column. (n, K) targets -> (n, K), float64.

    laplacian: (n, n) of `matting_laplacian`; photo: (H, W, 3) it was made of, n = H W.
    weight: (n,), 0 where nothing is known (the target is then only where the search starts), infinite where the target
    is kept exactly; not 0 everywhere. Columns are independent: targets that sum to 1 in every pixel give solutions that
    do. Every answer has been checked. Raises PhotostyleError for other weights, ComputationError where the solver fails
    or runs out of memory.
    """
    if not (weight >= 0).all() or not weight.any():
        raise PhotostyleError(
            "a weight is negative or no number, or all are 0: expected 0 or more and one above 0"
        )
    known = np.isinf(weight)
    unknown = np.flatnonzero(~known)
    solution = np.array(target, np.float64)
    if not len(unknown):
        return solution
    rows = laplacian[unknown]
    matrix = csr_array(rows[:, unknown] + diags_array(weight[unknown]))
    right = weight[unknown, None] * solution[unknown] - rows[:, np.flatnonzero(known)] @ solution[known]
    smallest = float(weight[unknown].min())
    start = solution[unknown]
    # |e| <= |r| / lambda_min, and L adds to the smallest weight: this residual keeps the error below ERROR.
    tolerance = ERROR * max(smallest, SMALLEST_EIGENVALUE) * np.sqrt(len(unknown))
    if smallest >= LARGE_WEIGHT:
        found = _conjugate_gradients(matrix, right, start, tolerance, None)
    elif len(unknown) <= FACTORISED:
        found = _factorised(matrix, right)
    else:
        hierarchy = _hierarchy(matrix, photo.reshape(-1, 3)[unknown])
        found = _conjugate_gradients(matrix, right, start, tolerance, hierarchy)
    residual = np.linalg.norm(right - matrix @ found, axis=0)
    rounding = ROUNDING * np.linalg.norm(abs(matrix) @ abs(found), axis=0)
    if not (residual <= 10 * tolerance + rounding).all():  # also where one is not a number
        raise ComputationError(
            f"the matting system was not solved: residual {residual.max():.1e}, expected {tolerance:.1e}"
        )
    solution[unknown] = found
    return solution


def _factorised(matrix: csr_array, right: Array) -> Array:
    # Minimum degree on the symmetric pattern, and no pivoting, because the matrix is positive definite. SciPy's default
    # ordering is for unsymmetric matrices and takes five times as long.
    try:
        factors = splu(
            matrix.tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0,
            options={"SymmetricMode": True},
        )
        found: Array = factors.solve(right)
    except (RuntimeError, MemoryError) as error:
        raise ComputationError(f"the matting system was not factorised: {error}") from None
    return found


def _hierarchy(matrix: csr_array, colours: NDArray[Any]) -> Any:
    """Smoothed aggregation as a preconditioner, whose coarse grids hold what L hardly sees: 1 and the photo's colours.

    With 1 alone it is slower than no preconditioner at all.
    """
    near_null = np.column_stack((np.ones(len(colours)), colours))
    try:
        # Energy smoothing draws no random numbers. The others of pyamg do, from the global generator of NumPy.
        solver = pyamg.smoothed_aggregation_solver(matrix, B=near_null, smooth="energy")
    except (ValueError, MemoryError, np.linalg.LinAlgError) as error:
        raise ComputationError(f"multigrid was not built for the matting system: {error}") from None
    return solver.aspreconditioner()


def _conjugate_gradients(
    matrix: csr_array, right: Array, start: Array, tolerance: float, preconditioner: Any
) -> Array:
    found = np.empty_like(right)
    for k in range(right.shape[1]):
        found[:, k], failed = cg(
            matrix, right[:, k], start[:, k], rtol=0, atol=tolerance, maxiter=ITERATIONS, M=preconditioner
        )
        if failed:
            raise ComputationError(f"the matting system did not converge in {ITERATIONS} iterations")
    return found
