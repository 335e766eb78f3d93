import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import eigsh
from torch import Tensor

from photostyle.imaging.filters import resize
from photostyle.imaging.matting import EPSILON, MattingOperator, matting_laplacian


def textbook_laplacian(image: np.ndarray, epsilon: float) -> np.ndarray:
    """Levin et al. 2008, eq. 12, as it is printed: windows in the outer loop, pairs of pixels in the inner."""
    height, width = image.shape[:2]
    laplacian = np.zeros((height * width, height * width))
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            rows = [(y + dy) * width + x + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            colours = image.reshape(-1, 3)[rows]
            mean = colours.mean(0)
            covariance = (colours - mean).T @ (colours - mean) / 9
            inverse = np.linalg.inv(covariance + epsilon / 9 * np.eye(3))
            for i in range(9):
                for j in range(9):
                    affinity = (1 + (colours[i] - mean) @ inverse @ (colours[j] - mean)) / 9
                    laplacian[rows[i], rows[j]] += (i == j) - affinity
    return laplacian


def crop(photo: Tensor, side: int = 20) -> np.ndarray:
    return photo[:, 100 : 100 + side, 200 : 200 + side].permute(1, 2, 0).double().numpy()


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).random((9, 11, 3))


def test_it_equals_the_textbook_double_loop_on_noise(noise: np.ndarray) -> None:
    np.testing.assert_allclose(
        matting_laplacian(noise).toarray(), textbook_laplacian(noise, EPSILON), rtol=0, atol=1e-9
    )


def test_it_equals_the_textbook_double_loop_on_a_photo(coffee: Tensor) -> None:
    # Nearly singular covariances (condition 1e5 and more) cost both sides digits: 1e-5, not 1e-9.
    image = crop(coffee)
    np.testing.assert_allclose(
        matting_laplacian(image).toarray(), textbook_laplacian(image, EPSILON), rtol=0, atol=1e-5
    )


def test_it_equals_an_independent_library(coffee: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its import compiles all it has, in a minute where no cache is; as plain Python this picture takes a second.
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    pymatting = pytest.importorskip("pymatting")
    image = crop(coffee, 40)
    theirs = pymatting.cf_laplacian(image, epsilon=1e-5, radius=1)
    difference = matting_laplacian(image, 1e-5) - theirs
    assert abs(difference).max() < 1e-6  # the library's own figure for its two implementations


@pytest.mark.parametrize(("height", "width"), [(3, 3), (3, 8), (9, 11), (20, 20)])
def test_the_number_of_entries_is_known(height: int, width: int) -> None:
    image = np.random.default_rng(1).random((height, width, 3))
    assert matting_laplacian(image).nnz == (5 * height - 6) * (5 * width - 6)


def test_rows_sum_to_zero_and_the_matrix_is_symmetric(coffee: Tensor) -> None:
    laplacian = matting_laplacian(crop(coffee, 40))
    # Entries are up to 9 in size and 25 a row: float64 rounding of a sum with condition ~1e4 stays below 1e-9.
    assert np.abs(laplacian.sum(1)).max() < 1e-9
    assert abs(laplacian - laplacian.T).max() < 1e-9


def test_it_is_positive_semi_definite(coffee: Tensor) -> None:
    laplacian = matting_laplacian(crop(coffee, 24)).toarray()
    assert np.linalg.eigvalsh((laplacian + laplacian.T) / 2).min() > -1e-9


@given(slope=st.lists(st.floats(-2, 2), min_size=3, max_size=3), offset=st.floats(-1, 1))
@settings(max_examples=20, deadline=None)
def test_recolouring_the_photo_costs_at_most_the_ridge(slope: list[float], offset: float) -> None:
    image = np.random.default_rng(2).random((12, 14, 3))
    channel = image.reshape(-1, 3) @ np.array(slope) + offset
    windows = 10 * 12
    energy = channel @ matting_laplacian(image) @ channel
    # The bound is Levin's: each window pays at most epsilon |a|^2. Rounding of terms of size |x|^2 is the rest.
    assert -1e-10 <= energy <= windows * EPSILON * np.dot(slope, slope) + 1e-10


def test_the_ridge_is_paid_in_full_by_a_known_slope() -> None:
    # A ridge scaled wrongly by the window's 9 pixels fails here: noise has large covariances, so a fit at a = slope
    # costs windows * epsilon * |a|^2 almost exactly.
    image = np.random.default_rng(3).random((12, 14, 3))
    slope = np.array([1.0, -0.5, 0.7])
    channel = image.reshape(-1, 3) @ slope
    energy = channel @ matting_laplacian(image, 1e-5) @ channel
    assert energy == pytest.approx(120 * 1e-5 * slope @ slope, rel=0.01)


@pytest.mark.parametrize("target", ["noise", "photo"])
def test_the_float32_operator_keeps_the_matrix(coffee: Tensor, chelsea: Tensor, target: str) -> None:
    photo = resize(coffee, 96, 128)
    laplacian = matting_laplacian(photo.permute(1, 2, 0).numpy())
    operator = MattingOperator(laplacian, 96, 128)
    image = torch.rand(3, 96, 128) if target == "noise" else resize(chelsea, 96, 128)
    exact = (laplacian @ image.reshape(3, -1).double().numpy().T).T.reshape(image.shape)
    error = np.linalg.norm(operator(image).numpy() - exact) / np.linalg.norm(exact)
    assert error < 2e-3


def test_the_float32_operator_has_no_negative_mode(coffee: Tensor) -> None:
    photo = resize(coffee, 48, 64)
    matrix = matting_laplacian(photo.permute(1, 2, 0).numpy()).astype(np.float32).astype(np.float64)
    smallest = eigsh((matrix + matrix.T) / 2, k=1, sigma=-1e-3, return_eigenvectors=False)[0]
    assert smallest > -1e-5


def test_a_naive_float32_construction_would_have_one(coffee: Tensor) -> None:
    # The trap: E[II] - mu mu in float32 loses a ridge of 1e-8. It is what the float64 construction is for.
    patches = resize(coffee, 48, 64).unfold(1, 3, 1).unfold(2, 3, 1).flatten(3)
    mean = patches.mean(-1)
    naive = torch.einsum("ihwn,jhwn->hwij", patches, patches) / 9 - torch.einsum("ihw,jhw->hwij", mean, mean)
    smallest = torch.linalg.eigvalsh((naive + EPSILON / 9 * torch.eye(3)).double())[..., 0]
    assert (smallest < 0).any()


def test_the_energy_and_its_gradient_are_the_matrix_product(chelsea: Tensor, coffee: Tensor) -> None:
    photo = resize(coffee, 40, 60)
    laplacian = matting_laplacian(photo.permute(1, 2, 0).numpy())
    image = resize(chelsea, 40, 60).requires_grad_()
    energy = MattingOperator(laplacian, 40, 60).energy(image)
    energy.backward()
    flat = image.detach().reshape(3, -1).double().numpy()
    product = (laplacian @ flat.T).T
    assert energy.item() == pytest.approx((flat * product).sum(), rel=2e-3)
    assert image.grad is not None
    error = np.linalg.norm(image.grad.reshape(3, -1).numpy() - 2 * product) / np.linalg.norm(2 * product)
    assert error < 2e-3


def test_the_energy_passes_gradcheck() -> None:
    photo = torch.rand(3, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    laplacian = matting_laplacian(photo.permute(1, 2, 0).numpy(), 1e-3)
    operator = MattingOperator(laplacian, 6, 7, dtype=torch.float64)
    image = torch.rand(3, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(operator.energy, image)


def test_the_published_result_has_the_recorded_energy(shared) -> None:  # type: ignore[no-untyped-def]
    from photostyle.files.images import read_image

    photo = read_image(shared / "dpst/input/in1.png").pixels
    best = read_image(shared / "dpst/final_results/best1_t_1000.png").pixels
    assert MattingOperator.of(photo).energy(best).item() == pytest.approx(41.7, abs=0.05)
