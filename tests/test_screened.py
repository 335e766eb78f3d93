"""The screened matting system: against dense algebra, between the solvers, and where a solver fails."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from scipy.sparse import csr_array
from torch import Tensor

from photostyle.errors import ComputationError, PhotostyleError
from photostyle.imaging.filters import resize
from photostyle.imaging.matting import matting_laplacian
from segmentation import screened as multigrid
from segmentation.screened import ERROR, solve_screened

HEIGHT, WIDTH = 12, 15
PIXELS = HEIGHT * WIDTH


def array(photo: Tensor) -> np.ndarray:
    return photo.permute(1, 2, 0).double().numpy()


@pytest.fixture(scope="module")
def photo(coffee: Tensor) -> np.ndarray:
    return array(coffee[:, 100 : 100 + HEIGHT, 200 : 200 + WIDTH])


@pytest.fixture(scope="module")
def laplacian(photo: np.ndarray) -> csr_array:
    return matting_laplacian(photo, 1e-5)


@pytest.fixture(scope="module")
def scene(coffee: Tensor) -> tuple[np.ndarray, csr_array, np.ndarray]:
    """A photo of 48x72, its Laplacian and three soft regions that sum to 1."""
    image = array(resize(coffee, 48, 72))
    targets = np.random.default_rng(5).dirichlet((0.3, 0.3, 0.3), 48 * 72)
    return image, matting_laplacian(image, 1e-5), targets


def mixed_weight(pixels: int, seed: int = 0) -> np.ndarray:
    """A third known, a third nothing known, a third in between."""
    generator = np.random.default_rng(seed)
    kind = generator.permutation(np.arange(pixels) % 3)
    return np.choose(kind, (np.full(pixels, np.inf), np.zeros(pixels), generator.random(pixels)))


def constrained_minimum(laplacian: np.ndarray, weight: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The same minimum with Lagrange multipliers for the known pixels, in dense algebra."""
    pixels, known = len(weight), np.flatnonzero(np.isinf(weight))
    finite = np.where(np.isinf(weight), 0, weight)
    selection = np.eye(pixels)[known]
    system = np.block(
        [[laplacian + np.diag(finite), selection.T], [selection, np.zeros((len(known), len(known)))]]
    )
    return np.linalg.solve(system, np.vstack((finite[:, None] * target, target[known])))[:pixels]


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def used(*_: object, **__: object) -> None:
        raise AssertionError("a solver was used that this test is not about")

    for name in names:
        monkeypatch.setattr(multigrid, name, used)


def use_multigrid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multigrid, "FACTORISED", 0)
    monkeypatch.setattr(multigrid, "LARGE_WEIGHT", np.inf)
    forbid(monkeypatch, "_factorised")


def use_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multigrid, "LARGE_WEIGHT", 0)
    forbid(monkeypatch, "_factorised", "_hierarchy")


def use_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multigrid, "LARGE_WEIGHT", np.inf)
    forbid(monkeypatch, "_conjugate_gradients")


SOLVERS = [use_factors, use_multigrid, use_gradients]


@pytest.mark.parametrize("seed", range(3))
def test_it_equals_the_constrained_minimum_in_dense_algebra(
    photo: np.ndarray, laplacian: csr_array, seed: int
) -> None:
    weight = mixed_weight(PIXELS, seed)
    target = np.random.default_rng(seed).normal(size=(PIXELS, 4))
    expected = constrained_minimum(laplacian.toarray(), weight, target)
    # The condition of the dense system is about 1e6: ten digits are left of sixteen.
    np.testing.assert_allclose(solve_screened(laplacian, photo, weight, target), expected, atol=1e-8)


def test_known_pixels_keep_their_targets_exactly(photo: np.ndarray, laplacian: csr_array) -> None:
    weight, target = mixed_weight(PIXELS), np.random.default_rng(1).random((PIXELS, 2))
    found = solve_screened(laplacian, photo, weight, target)
    assert np.array_equal(found[np.isinf(weight)], target[np.isinf(weight)])
    everywhere = np.full(PIXELS, np.inf)
    assert np.array_equal(solve_screened(laplacian, photo, everywhere, target), target)


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan])
def test_weights_that_determine_nothing_are_refused(
    photo: np.ndarray, laplacian: csr_array, weight: float
) -> None:
    with pytest.raises(PhotostyleError, match="expected 0 or more and one above 0"):
        solve_screened(laplacian, photo, np.full(PIXELS, weight), np.ones((PIXELS, 1)))


def test_elimination_is_the_limit_of_large_weights(photo: np.ndarray, laplacian: csr_array) -> None:
    weight, target = mixed_weight(PIXELS), np.random.default_rng(1).random((PIXELS, 2))
    limit = solve_screened(laplacian, photo, weight, target)
    errors = []
    for large in (1e3, 1e5, 1e7):
        finite = np.where(np.isinf(weight), large, weight)
        errors.append(np.abs(solve_screened(laplacian, photo, finite, target) - limit).max())
    # The difference is L(..) / w to first order: a hundredth for a weight a hundred times as large.
    np.testing.assert_allclose(np.array(errors[:-1]) / errors[1:], 100, rtol=0.1)


def test_what_stands_where_nothing_is_known_does_not_matter(photo: np.ndarray, laplacian: csr_array) -> None:
    weight, target = mixed_weight(PIXELS), np.random.default_rng(1).random((PIXELS, 2))
    other = np.where(weight[:, None] == 0, 7.0, target)
    one, two = (solve_screened(laplacian, photo, weight, values) for values in (target, other))
    np.testing.assert_allclose(one, two, atol=1e-10)


@pytest.fixture(scope="module")
def expected(scene: tuple[np.ndarray, csr_array, np.ndarray]) -> Callable[[float], np.ndarray]:
    """The solution by a dense matrix, once for each weight."""
    _, laplacian, targets = scene
    dense, unit = laplacian.toarray(), np.eye(len(targets))
    return cache(lambda weight: np.linalg.solve(dense + weight * unit, weight * targets))


@pytest.mark.parametrize(
    "weight", [*(pytest.param(each, marks=pytest.mark.slow) for each in (1.0, 1e-2)), 1e-3]
)
@pytest.mark.parametrize("use", [use_multigrid, use_gradients])
def test_iterative_solvers_keep_the_error_they_promise(
    scene: tuple[np.ndarray, csr_array, np.ndarray],
    expected: Callable[[float], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    use: Callable[[pytest.MonkeyPatch], None],
    weight: float,
) -> None:
    image, laplacian, targets = scene
    use(monkeypatch)
    error = solve_screened(laplacian, image, np.full(len(targets), weight), targets) - expected(weight)
    # The bound |e| <= |r| / smallest weight makes ERROR a guarantee for the root mean square of a column.
    assert np.sqrt((error**2).mean(0)).max() <= ERROR
    assert np.abs(error).max() < 1 / 255


@pytest.mark.parametrize("known", [np.inf, 1.0])
@pytest.mark.parametrize("kind", ["photo", "grey", "flat halves"])
def test_multigrid_copes_with_what_is_hardly_known(
    scene: tuple[np.ndarray, csr_array, np.ndarray], monkeypatch: pytest.MonkeyPatch, kind: str, known: float
) -> None:
    # Grey and flat pictures leave fewer than four different near-null vectors; a weight of 0 bounds nothing.
    image = scene[0]
    if kind == "grey":
        image = np.repeat(image.mean(2, keepdims=True), 3, 2)
    if kind == "flat halves":
        image = np.where(np.arange(72)[:, None] < 36, 0.2, 0.7) * np.ones((48, 72, 3))
    laplacian, targets = matting_laplacian(image, 1e-5), scene[2]
    weight = np.where(np.random.default_rng(0).random(len(targets)) < 0.02, known, 0)
    expected = solve_screened(laplacian, image, weight, targets)
    use_multigrid(monkeypatch)
    assert np.abs(solve_screened(laplacian, image, weight, targets) - expected).max() < ERROR


def test_the_solver_is_chosen_by_weight_and_size(
    scene: tuple[np.ndarray, csr_array, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, laplacian, targets = scene
    with monkeypatch.context() as patch:
        forbid(patch, "_factorised", "_hierarchy")
        solve_screened(laplacian, image, np.full(len(targets), multigrid.LARGE_WEIGHT), targets)
    with monkeypatch.context() as patch:
        forbid(patch, "_conjugate_gradients")
        solve_screened(laplacian, image, np.full(len(targets), 0.9 * multigrid.LARGE_WEIGHT), targets)
    with monkeypatch.context() as patch:
        forbid(patch, "_factorised")
        patch.setattr(multigrid, "FACTORISED", len(targets) - 1)
        solve_screened(laplacian, image, np.full(len(targets), 1e-3), targets)
    with monkeypatch.context() as patch:
        forbid(patch, "_conjugate_gradients")
        patch.setattr(multigrid, "FACTORISED", len(targets))
        solve_screened(laplacian, image, np.full(len(targets), 1e-3), targets)


def test_a_pixel_held_by_the_ridge_alone_is_still_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    # A corner of its own colour in a flat picture: an eigenvalue of 1e-7 / 3, and the search starts at 0, not near it.
    image = np.full((6, 6, 3), 0.0)
    image[0, 0] = 1
    laplacian = matting_laplacian(image, 1e-7)
    assert 0 < laplacian[0, 0] < 1e-7
    weight, target = np.full(36, np.inf), np.full((36, 1), 0.5)
    weight[0] = target[0] = 0
    use_multigrid(monkeypatch)
    assert solve_screened(laplacian, image, weight, target)[0, 0] == pytest.approx(0.5, abs=ERROR)


def test_multigrid_knows_what_the_laplacian_hardly_sees(
    scene: tuple[np.ndarray, csr_array, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Measured: 20 iterations; 35 and 59 with other or no smoothing of the aggregates, 108 with 1 for near-null space.
    image, laplacian, targets = scene
    use_multigrid(monkeypatch)
    monkeypatch.setattr(multigrid, "ITERATIONS", 28)
    solve_screened(laplacian, image, np.full(len(targets), 1e-4), targets)


@pytest.mark.parametrize("use", SOLVERS)
def test_constants_are_kept_and_shares_go_on_summing_to_one(
    scene: tuple[np.ndarray, csr_array, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    use: Callable[[pytest.MonkeyPatch], None],
) -> None:
    # L 1 = 0. Without a maximum principle this, and not values in [0, 1], is what a solution has.
    image, laplacian, targets = scene
    weight = np.where(np.arange(len(targets)) % 5 == 0, np.inf, 0.02)
    use(monkeypatch)
    targets = np.column_stack((targets, np.full(len(targets), 0.7)))
    found = solve_screened(laplacian, image, weight, targets)
    assert np.abs(found[:, :3].sum(1) - 1).max() < 4 * ERROR
    np.testing.assert_allclose(found[:, 3], 0.7, atol=ERROR)


@pytest.mark.parametrize("use", SOLVERS)
def test_the_order_of_the_regions_is_the_order_of_the_results(
    scene: tuple[np.ndarray, csr_array, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    use: Callable[[pytest.MonkeyPatch], None],
) -> None:
    image, laplacian, targets = scene
    weight = np.full(len(targets), 0.02)
    use(monkeypatch)
    one = solve_screened(laplacian, image, weight, targets)
    two = solve_screened(laplacian, image, weight, targets[:, [2, 0, 1]])
    np.testing.assert_allclose(two, one[:, [2, 0, 1]], atol=1e-12)


def test_multigrid_gives_the_same_bytes_and_leaves_the_random_state_alone(
    scene: tuple[np.ndarray, csr_array, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, laplacian, targets = scene
    use_multigrid(monkeypatch)
    results = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002 - the generator that pyamg draws from
        results.append(solve_screened(laplacian, image, np.full(len(targets), 1e-3), targets))
        after = np.random.random()  # noqa: NPY002
        assert after == np.random.RandomState(seed).random_sample()
    assert results[0].tobytes() == results[1].tobytes()


def test_a_search_that_does_not_converge_is_an_error(
    scene: tuple[np.ndarray, csr_array, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, laplacian, targets = scene
    use_gradients(monkeypatch)
    monkeypatch.setattr(multigrid, "ITERATIONS", 3)
    with pytest.raises(ComputationError, match="did not converge in 3 iterations"):
        solve_screened(laplacian, image, np.full(len(targets), 1e-3), targets)


@pytest.mark.parametrize("error", [MemoryError("no memory"), RuntimeError("Factor is exactly singular")])
def test_a_failed_factorisation_is_an_error(
    photo: np.ndarray, laplacian: csr_array, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(multigrid, "splu", fail)
    with pytest.raises(ComputationError, match=f"not factorised: {error}"):
        solve_screened(laplacian, photo, np.full(PIXELS, 1e-3), np.ones((PIXELS, 1)))


def test_a_failed_hierarchy_is_an_error(
    photo: np.ndarray, laplacian: csr_array, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("array must not contain infs or NaNs")

    use_multigrid(monkeypatch)
    monkeypatch.setattr(multigrid.pyamg, "smoothed_aggregation_solver", fail)
    with pytest.raises(ComputationError, match="multigrid was not built"):
        solve_screened(laplacian, photo, np.full(PIXELS, 1e-3), np.ones((PIXELS, 1)))


@pytest.mark.parametrize("wrong", [0.99, np.nan])
def test_a_wrong_answer_in_one_region_is_noticed(
    photo: np.ndarray, laplacian: csr_array, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    solve = multigrid._factorised
    monkeypatch.setattr(multigrid, "_factorised", lambda *system: solve(*system) * [1, wrong])
    with pytest.raises(ComputationError, match="was not solved"):
        solve_screened(laplacian, photo, np.full(PIXELS, 1e-3), np.ones((PIXELS, 2)))
