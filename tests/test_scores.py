"""The scores, each against an independent computation or a property that fixes its value."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.stats import wasserstein_distance
from skimage.color import rgb2lab
from torch import Tensor
from vgg import narrow_vgg

from photostyle.errors import PhotostyleError
from photostyle.evaluation import scores as metrics
from photostyle.evaluation import sides
from photostyle.evaluation.comparison import Comparison, comparison_within, directions, region_weights
from photostyle.imaging.filters import area_average, halve, luma, resize
from photostyle.imaging.matting import matting_laplacian
from photostyle.losses.encoders import Encoder
from photostyle.losses.patches import unit_filters

NAMES = ["style", "colour", "edge", "grey", "matting", "drift4", "drift16"]


@pytest.fixture(scope="module")
def photo(coffee: Tensor) -> Tensor:
    return area_average(coffee, 80, 120)


@pytest.fixture(scope="module")
def style(chelsea: Tensor) -> Tensor:
    return area_average(chelsea, 80, 120)


@pytest.fixture(scope="module")
def result(photo: Tensor, style: Tensor) -> Tensor:
    """A poor transfer: half-way between the two pictures' mean colours, with grain."""
    shift = (style.mean((1, 2)) - photo.mean((1, 2))) / 2
    grain = torch.randn(photo.shape, generator=torch.Generator().manual_seed(3)) * 0.02
    return (photo + shift[:, None, None] + grain).clamp(0, 1)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(narrow_vgg(), layers=(*metrics.STYLE_LAYERS, "relu4_2"))


def stripes(height: int, width: int, *ends: int) -> Tensor:
    """Regions side by side, each up to a column."""
    masks, start = torch.zeros(len(ends), height, width), 0
    for mask, end in zip(masks, ends, strict=True):
        mask[:, start:end] = 1
        start = end
    return masks


@pytest.fixture(scope="module")
def masks() -> Tensor:
    return stripes(80, 120, 30, 70, 120)


def beside(result: Tensor, content: Tensor) -> Comparison:
    """For the scores that look at these two alone."""
    whole = torch.ones(1, *content.shape[1:])
    return Comparison(result, content, content, whole, whole)


def blotch(photo: Tensor, strength: float) -> Tensor:
    """The photo with a coloured stain: red against blue in waves 60 pixels long, wide beside a 3x3 window."""
    wave = torch.sin(torch.arange(photo.shape[2]) * (2 * torch.pi / 60)) * strength
    return (photo + wave * torch.tensor([1.0, 0.0, -1.0])[:, None, None]).clamp(0, 1)


# The whole


def test_the_untouched_photo_is_the_unit_of_every_ratio(photo, style, masks, encoder):
    for features in (None, encoder):
        scores = metrics.score(Comparison(photo, photo, style, masks, masks), features)
        assert (scores.style, scores.colour, scores.edge, scores.grey) == pytest.approx(
            (1, 1, 1, 1), abs=1e-12
        )


def test_the_style_picture_itself_has_distance_zero(photo, style, masks, encoder):
    for features in (None, encoder):
        scores = metrics.score(Comparison(style, photo, style, masks, masks), features)
        assert (scores.style, scores.colour) == (0, 0)


def test_it_is_said_what_style_was_measured_in(result, photo, style, masks, encoder):
    compared = Comparison(result, photo, style, masks, masks)
    assert metrics.score(compared).style_features == "patches 7x7"
    assert metrics.score(compared, encoder).style_features == "Gram relu1_1-relu5_1"


def test_each_score_is_better_the_way_that_is_said(result, photo, style, masks):
    spoilt, untouched, reached = (
        metrics.score(Comparison(each, photo, style, masks, masks)).as_dict()
        for each in (result, photo, style)
    )
    # Of style and colour the style picture itself is the best result there is, of all others the photo.
    best = untouched | {name: reached[name] for name in ("style", "colour")}
    better = {name: "↓" if best[name] < spoilt[name] else "↑" for name in NAMES}
    assert directions(metrics.Scores) == better


def test_the_order_of_the_regions_changes_nothing(result, photo, style, masks, encoder):
    theirs = stripes(80, 120, 20, 60, 120)
    order = [2, 0, 1]
    for features in (None, encoder):
        ours = metrics.score(Comparison(result, photo, style, masks, theirs), features).as_dict()
        permuted = metrics.score(
            Comparison(result, photo, style, masks[order], theirs[order]), features
        ).as_dict()
        assert permuted == pytest.approx(ours, rel=1e-6)  # float32 sums in another order


def test_which_style_region_belongs_to_which_matters(photo, style, masks):
    crossed = metrics.score(Comparison(style, photo, style, masks, masks.flip(0)))
    assert crossed.colour > 0.1 and crossed.style > 0.1  # straight, both are 0


def test_scoring_twice_gives_the_same_bits_whatever_the_global_seed(result, photo, style, masks):
    torch.manual_seed(1)
    once = metrics.score(Comparison(result, photo, style, masks, masks))
    torch.manual_seed(2)
    assert metrics.score(Comparison(result, photo, style, masks, masks)) == once


@pytest.mark.parametrize("flat", ["result", "content", "style", "all"])
def test_a_picture_of_one_colour_scores_finitely(flat, photo, style, masks, encoder):
    grey = torch.full_like(photo, 0.5)
    pictures = {"result": photo, "content": photo, "style": style}
    pictures = {name: grey if flat in (name, "all") else picture for name, picture in pictures.items()}
    for features in (None, encoder):
        scores = metrics.score(Comparison(**pictures, content_masks=masks, style_masks=masks), features)
        assert np.isfinite(list(scores.as_dict().values())).all()


def test_a_content_that_already_has_the_style_scores_finitely(result, photo, masks, encoder):
    for features in (None, encoder):
        scores = metrics.score(Comparison(result, photo, photo, masks, masks), features)
        assert np.isfinite(list(scores.as_dict().values())).all()
        assert scores.colour > 1 and scores.style > 1  # it went away from the style


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"result": torch.zeros(3, 80, 121)}, "result is 121x80 but the content 120x80"),
        ({"content_masks": torch.ones(3, 40, 60)}, "content masks are 60x40"),
        ({"style_masks": torch.ones(3, 40, 60)}, "style masks are 60x40"),
        ({"style_masks": torch.ones(2, 80, 120)}, "3 content regions but 2 style regions"),
        ({"style_masks": torch.zeros(3, 80, 120)}, "none of the 3 regions"),
    ],
)
def test_pictures_that_do_not_fit_together_are_refused(change, words, photo, style, masks):
    inputs = {"result": photo, "content": photo, "style": style, "content_masks": masks, "style_masks": masks}
    with pytest.raises(PhotostyleError, match=words) as refused:
        Comparison(**(inputs | change))
    assert "\n" not in str(refused.value)


def test_an_encoder_without_a_style_layer_is_refused_by_name(result, photo, style, masks, encoder):
    def shallow(image: Tensor) -> Mapping[str, Tensor]:
        return {name: value for name, value in encoder(image).items() if name != "relu5_1"}

    shallow.plan = encoder.plan
    with pytest.raises(PhotostyleError, match="lacks relu5_1"):
        metrics.gram_ratio(Comparison(result, photo, style, masks, masks), shallow)


# Regions


def test_regions_weigh_by_their_share_of_the_content():
    content, style = stripes(10, 100, 20, 100), stripes(10, 100, 70, 100)
    np.testing.assert_allclose(region_weights(content, style), [0.2, 0.8], rtol=1e-6)


@pytest.mark.parametrize("picture", ["content", "style"])
def test_a_region_under_one_per_cent_of_either_picture_does_not_count(picture):
    large, small = stripes(10, 1000, 500, 1000), stripes(10, 1000, 9, 1000)
    ours, theirs = (small, large) if picture == "content" else (large, small)
    np.testing.assert_array_equal(region_weights(ours, theirs), [0, 1])


def test_where_all_regions_are_small_all_of_them_count():
    masks = stripes(10, 1000, 2, 8)
    np.testing.assert_allclose(region_weights(masks, masks), [0.25, 0.75], rtol=1e-6)


def test_what_lies_outside_the_counted_regions_does_not_move_the_colour_score(result, photo, style):
    masks = stripes(80, 120, 60, 61)  # the second under 1 %, the rest in no region
    painted = result.clone()
    painted[:, :, 60:] = 0.3
    score = metrics.colour_ratio(Comparison(result, photo, style, masks, masks))
    assert metrics.colour_ratio(Comparison(painted, photo, style, masks, masks)) == score


def test_a_soft_mask_counts_by_proportion(result, photo, style, masks, encoder):
    hard = metrics.score(Comparison(result, photo, style, masks, masks), encoder)
    soft = metrics.score(Comparison(result, photo, style, masks * 0.25, masks * 0.25), encoder)
    assert soft.as_dict() == pytest.approx(hard.as_dict(), rel=1e-5)  # float32 Gram matrices
    patches = metrics.patch_ratio(Comparison(result, photo, style, masks * 0.25, masks * 0.25))
    assert patches == pytest.approx(
        metrics.patch_ratio(Comparison(result, photo, style, masks, masks)), rel=1e-6
    )


def test_a_pixel_of_double_weight_counts_like_two_pixels(photo, style):
    # The left third of the content twice as heavy is the same distribution as the left third repeated.
    third = photo[:, :, :40]
    repeated, weighted = torch.cat((third, photo), 2), torch.full((1, 80, 120), 0.5)
    weighted[:, :, :40] = 1
    whole = torch.ones(1, 80, 120)
    # The colours move both ways by a known amount, so that the ratio is not 1.
    ours = metrics.colour_ratio(Comparison(photo * 0.8, photo, style, weighted, whole))
    theirs = metrics.colour_ratio(Comparison(repeated * 0.8, repeated, style, torch.ones(1, 80, 160), whole))
    assert ours == pytest.approx(theirs, rel=1e-6)


# Style and colour


def test_the_gram_score_is_its_formula(result, photo, style, masks):
    class Bare:
        """Layers that are powers of the picture: features an oracle can have too."""

        plan = tuple(("conv", name) for name in metrics.STYLE_LAYERS)

        def __call__(self, image: Tensor) -> dict[str, Tensor]:
            return {name: (image + 0.1) ** (k + 1) for k, name in enumerate(metrics.STYLE_LAYERS)}

    theirs = stripes(80, 120, 20, 60, 120)
    pictures = {"O": (result, masks), "C": (photo, masks), "S": (style, theirs)}
    ratios, carried = [], {name: each.double().numpy() for name, (_, each) in pictures.items()}
    for power in range(1, 6):
        grams = {}
        for name, (picture, _) in pictures.items():
            carried[name] = np.stack([uniform_filter(each, 3, mode="constant") for each in carried[name]])
            f = (picture.double().numpy() + 0.1) ** power
            grams[name] = [np.einsum("hw,chw,dhw->cd", m, f, f) / m.sum() for m in carried[name]]
        distance = {
            name: sum(
                share * np.linalg.norm(a - b) / np.linalg.norm(b)
                for share, a, b in zip((30 / 120, 40 / 120, 50 / 120), grams[name], grams["S"], strict=True)
            )
            for name in "OC"
        }
        ratios.append(distance["O"] / distance["C"])
    expected = np.exp(np.mean(np.log(ratios)))
    score = metrics.gram_ratio(Comparison(result, photo, style, masks, theirs), Bare())
    assert score == pytest.approx(expected, rel=1e-4)  # sums of 4000 float32 numbers
    first = metrics.gram_ratio(
        Comparison(result, photo, style, masks, theirs), Bare(), ("relu1_1", "relu4_1")
    )
    assert first == pytest.approx(math.sqrt(ratios[0] * ratios[3]), rel=1e-4)


def test_the_colour_score_is_a_ratio_of_sliced_wasserstein_distances(result, photo, style, masks):
    directions = np.random.default_rng(metrics.COLOUR_SEED).normal(size=(metrics.DIRECTIONS, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)

    def distance(picture: Tensor) -> float:
        total = 0.0
        for mask in masks.numpy() > 0:
            ours = rgb2lab(picture.permute(1, 2, 0).double().numpy())[mask] @ directions.T
            theirs = rgb2lab(style.permute(1, 2, 0).double().numpy())[mask] @ directions.T
            slices = [wasserstein_distance(a, b) for a, b in zip(ours.T, theirs.T, strict=True)]
            total += mask.mean() * np.mean(slices)
        return total

    # 200 quantiles leave out the outer per cent of the exact distance; in a ratio most of that cancels.
    expected = distance(result) / distance(photo)
    assert metrics.colour_ratio(Comparison(result, photo, style, masks, masks)) == pytest.approx(
        expected, rel=0.01
    )


def test_the_patch_score_is_the_mean_ratio_over_a_pyramid_of_patch_distributions(photo, style, masks):
    filters = unit_filters(metrics.DIRECTIONS, 7, torch.Generator().manual_seed(metrics.PATCH_SEED))

    def halved(stack: np.ndarray) -> np.ndarray:
        return (stack[:, ::2, ::2] + stack[:, 1::2, ::2] + stack[:, ::2, 1::2] + stack[:, 1::2, 1::2]) / 4

    def projected(picture: np.ndarray) -> np.ndarray:
        padded = np.pad(picture, ((0, 0), (3, 3), (3, 3)), mode="edge")
        patches = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), axis=(1, 2))
        return np.einsum("chwij,pcij->phw", patches, filters.numpy()).reshape(len(filters), -1)

    def distance(ours: np.ndarray, theirs: np.ndarray, regions: np.ndarray) -> float:
        total = 0.0
        for share, region in zip((30 / 120, 40 / 120, 50 / 120), regions.reshape(3, -1) > 0, strict=True):
            a, b = (np.quantile(each[:, region], metrics.QUANTILES, axis=1) for each in (ours, theirs))
            total += share * np.abs(a - b).mean()
        return total

    # A checkerboard is there at the fine level and gone at the next: the levels disagree, so each has to count.
    checkerboard = (-1.0) ** (torch.arange(80)[:, None] + torch.arange(120))
    result = (photo + style) / 2 + 0.3 * checkerboard
    ratios, pyramid = [], [each.double().numpy() for each in (result, photo, style, masks)]
    for _ in range(2):  # 80x120 and 40x60; 20x30 is below the least side
        ours, own, theirs = (projected(picture) for picture in pyramid[:3])
        ratios.append(distance(ours, theirs, pyramid[3]) / distance(own, theirs, pyramid[3]))
        pyramid = [halved(each) for each in pyramid]
    score = metrics.patch_ratio(Comparison(result, photo, style, masks, masks))
    assert ratios[0] > 1.5 * ratios[1]
    assert score == pytest.approx(np.sqrt(ratios[0] * ratios[1]), rel=2e-3)  # bins of the histogram


def test_the_patch_score_falls_as_the_style_comes_in(photo, style, masks):
    halfway = [(1 - t) * photo + t * style for t in (0.25, 0.5, 0.75)]
    scores = [metrics.patch_ratio(Comparison(each, photo, style, masks, masks)) for each in halfway]
    assert 1 > scores[0] > scores[1] > scores[2] > 0


def test_the_patch_score_sees_texture_that_has_no_colour_of_its_own(photo, style):
    whole = torch.ones(1, 80, 120)
    order = torch.randperm(80 * 120, generator=torch.Generator().manual_seed(0))
    shuffled = style.flatten(1)[:, order].view_as(
        style
    )  # the style's colours exactly, its patches not at all
    assert metrics.colour_ratio(Comparison(shuffled, photo, style, whole, whole)) == pytest.approx(
        0, abs=1e-12
    )
    assert metrics.patch_ratio(Comparison(shuffled, photo, style, whole, whole)) > 0.1


def test_a_picture_too_small_for_a_pyramid_still_has_a_patch_score(photo, style):
    small, whole = area_average(photo, 32, 40), torch.ones(1, 32, 40)
    score = metrics.patch_ratio(Comparison(small * 0.9, small, style, whole, torch.ones(1, 80, 120)))
    assert 0 < score < 10


@pytest.mark.parametrize("size", [(21, 32), (31, 31), (9, 300)])
def test_a_picture_below_every_level_of_a_pyramid_has_all_scores(photo, style, size):
    small, whole = area_average(photo, *size), torch.ones(1, *size)
    compared = Comparison(small * 0.9, small, style, whole, torch.ones(1, 80, 120))
    assert 0 < metrics.patch_ratio(compared) < 10
    assert all(
        math.isfinite(value)
        for value in vars(metrics.score(compared, None)).values()
        if isinstance(value, float)
    )


def test_a_large_picture_is_scored_in_features_at_a_reduced_size(
    result, photo, style, masks, encoder, monkeypatch
):
    monkeypatch.setattr(metrics, "FEATURE_PIXELS", 80 * 120 - 1)
    monkeypatch.setattr(metrics, "FEATURE_SIDE", 60)
    small = Comparison(*(area_average(each, 40, 60) for each in (result, photo, style, masks, masks)))
    large = Comparison(result, photo, style, masks, masks)
    assert metrics.gram_ratio(large, encoder) == metrics.gram_ratio(small, encoder)
    assert metrics.patch_ratio(large) == metrics.patch_ratio(small)


def test_a_large_picture_is_thinned_for_its_colours_and_not_blurred(result, photo, style, masks, monkeypatch):
    monkeypatch.setattr(sides, "MOST_PIXELS", 80 * 120)
    twice = [each.repeat_interleave(2, 1).repeat_interleave(2, 2) for each in (result, photo)]
    theirs = stripes(160, 240, 60, 140, 240)
    for each in twice:
        each[:, 1::2] = 0  # between the rows that count
    score = metrics.colour_ratio(Comparison(*twice, style, theirs, masks))
    assert score == metrics.colour_ratio(Comparison(result, photo, style, masks, masks))


def test_a_style_region_that_excites_no_feature_scores_finitely(result, photo, style, masks, encoder):
    def deaf(image: Tensor) -> Mapping[str, Tensor]:
        return {name: value * (image is not style) for name, value in encoder(image).items()}

    deaf.plan = encoder.plan
    assert np.isfinite(metrics.gram_ratio(Comparison(result, photo, style, masks, masks), deaf))


# Structure


def test_edges_are_the_gradient_in_units_of_its_99_per_cent_quantile():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 41), torch.linspace(-1, 1, 41), indexing="ij")
    grey = (x.square() + 0.5 * y * y) / 4 + 0.3  # Sobel's central differences are exact on a quadratic
    gradient = torch.hypot(x / 2, y / 4)[1:-1, 1:-1].numpy()
    edges = metrics.edges(grey)[1:-1, 1:-1]
    uncut = edges < 1
    assert (edges <= 1).all() and uncut.mean() > 0.9
    np.testing.assert_allclose(
        edges[uncut] / edges[20, 0], gradient[uncut] / gradient[20, 0], rtol=1e-5, atol=1e-5
    )
    assert (~uncut).mean() == pytest.approx(0.01, abs=0.01)


def test_contrast_and_brightness_do_not_move_an_edge(photo):
    assert metrics.edge_similarity(beside(photo * 0.5 + 0.2, photo)) == pytest.approx(
        1, abs=1e-4
    )  # float32 pixels
    assert metrics.grey_similarity(beside(photo * 0.5 + 0.2, photo)) < 0.95


def test_edges_that_move_cost(photo):
    moved = photo.roll(3, 2)
    assert metrics.edge_similarity(beside(moved, photo)) < 0.8
    assert metrics.grey_similarity(beside(moved, photo)) < 0.8


def test_grey_similarity_of_flat_pictures_is_the_luminance_term_of_ssim(photo):
    a, b, c1 = 0.25, 0.75, 0.01**2  # Wang et al. 2004, eq. 6, with K1 = 0.01 and a range of 1
    flat = [torch.full_like(photo, level) for level in (a, b)]
    assert metrics.grey_similarity(beside(*flat)) == pytest.approx(
        (2 * a * b + c1) / (a * a + b * b + c1), rel=1e-6
    )


def test_grey_similarity_is_ssim_in_gaussian_windows(result, photo):
    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, 1.5, truncate=3.5)  # 11x11, as Wang et al. 2004 have it

    a, b, c1, c2 = luma(result).double().numpy(), luma(photo).double().numpy(), 0.01**2, 0.03**2
    variance_a, variance_b = mean(a * a) - mean(a) ** 2, mean(b * b) - mean(b) ** 2
    covariance = mean(a * b) - mean(a) * mean(b)
    ssim = (2 * mean(a) * mean(b) + c1) * (2 * covariance + c2)
    ssim /= (mean(a) ** 2 + mean(b) ** 2 + c1) * (variance_a + variance_b + c2)
    assert metrics.grey_similarity(beside(result, photo)) == pytest.approx(ssim[5:-5, 5:-5].mean(), rel=1e-9)


def test_grey_similarity_sees_luma_only(photo):
    weights = torch.tensor([0.2126, 0.7152, 0.0722])  # Rec. 709
    same_luma = luma(photo).expand(3, -1, -1)
    torch.testing.assert_close(torch.einsum("c,chw->hw", weights, same_luma), luma(photo))
    assert metrics.grey_similarity(beside(same_luma, photo)) == pytest.approx(1, abs=1e-6)


# Photorealism


def test_the_matting_score_is_the_laplacians_quadratic_form(result, photo, monkeypatch):
    monkeypatch.setattr(metrics, "STRIP", 13)  # several strips, the last one shorter
    laplacian = matting_laplacian(photo.permute(1, 2, 0).double().numpy(), 1e-7)
    channels = result.double().flatten(1).numpy()
    energy = sum(v @ laplacian @ v for v in channels)
    variance = sum(((v - v.mean()) ** 2).sum() for v in channels)
    assert metrics.matting_score(beside(result, photo)) == pytest.approx(1e3 * energy / variance, rel=1e-9)


@pytest.mark.parametrize("saturation", [1.0, 0.0])
def test_recolouring_the_photo_costs_at_most_the_ridge(photo, saturation):
    # A grey photo makes every window's covariance singular, the worst case for the solver.
    photo = (luma(photo) + saturation * (photo - luma(photo))).double()
    slopes = torch.tensor([[0.5, 0.2, 0.0], [-0.1, 0.6, 0.1], [0.0, 0.3, 0.4]], dtype=torch.float64)
    recoloured = torch.einsum("ij,jhw->ihw", slopes, photo) + 0.1
    windows = (photo.shape[1] - 2) * (photo.shape[2] - 2)
    variance = recoloured.var((1, 2), correction=0).sum() * recoloured[0].numel()
    bound = 1e3 * windows * 1e-7 * slopes.square().sum() / variance
    assert 0 <= metrics.matting_score(beside(recoloured, photo)) <= bound


@pytest.mark.parametrize(("pair", "energy"), [(3, 554.2), (13, 247.4), (20, 80.7)])
def test_the_published_results_have_their_published_energy(pair, energy, shared: Path):
    """Energies of the released Laplacian (gen_laplacian.m) at 700 px, to the four digits noted."""

    def read(name: str) -> Tensor:
        pixels = np.array(Image.open(shared / "dpst" / name).convert("RGB"))
        return torch.from_numpy(pixels).permute(2, 0, 1).double() / 255

    content, result = read(f"input/in{pair}.png"), read(f"final_results/best{pair}_t_1000.png")
    variance = float(result.var((1, 2), correction=0).sum()) * result[0].numel()
    assert metrics.matting_score(beside(result, content)) * variance / 1e3 == pytest.approx(energy, abs=0.051)


@pytest.mark.parametrize(("radius", "ridge"), [(1, 1e-8), (2, 1e-4), (9, 1e-2)])
def test_the_affine_residual_is_a_ridge_regression_in_every_window(radius, ridge):
    random = np.random.default_rng(5)
    guide, target = random.random((3, 9, 11)), random.random((2, 9, 11))
    expected = np.empty((9, 11))
    for y, x in np.ndindex(9, 11):
        window = np.s_[:, max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        g, t = guide[window].reshape(3, -1).T, target[window].reshape(2, -1).T
        # The ridge as three more observations: slope times sqrt(n ridge) should be 0.
        design = np.column_stack((g, np.ones(len(g))))
        design = np.vstack((design, np.eye(3, 4) * np.sqrt(len(g) * ridge)))
        observed = np.vstack((t, np.zeros((3, 2))))
        fit = np.linalg.lstsq(design, observed, rcond=None)[0]
        expected[y, x] = ((design @ fit - observed) ** 2).sum() / len(g)
    residual = metrics.affine_residual(torch.from_numpy(guide), torch.from_numpy(target), radius, ridge)
    # A corner window of radius 1 has four pixels and four unknowns: only the ridge is left, at 1e-8.
    np.testing.assert_allclose(residual, expected, rtol=1e-6, atol=1e-13)


def test_drift_is_the_residual_of_lab_chroma_over_its_variance(photo):
    stained = blotch(photo, 0.1)
    chroma = rgb2lab(stained.permute(1, 2, 0).double().numpy())[..., 1:].transpose(2, 0, 1)
    residual = metrics.affine_residual(photo.double(), torch.from_numpy(chroma.copy()), 4, 1e-4)
    expected = float(residual.mean()) / chroma.var((1, 2)).sum()
    # a, b are rounded to float32, 6e-8 of each, for the compiled regression.
    assert metrics.drift(beside(stained, photo), 4) == pytest.approx(expected, rel=1e-7)


def test_drift_is_measured_at_256_pixels_whatever_the_size(coffee):
    reduced = area_average(coffee, 171, 256)
    stained = area_average(blotch(coffee, 0.1), 171, 256)
    score = metrics.drift(beside(blotch(coffee, 0.1), coffee), 16)
    assert score == pytest.approx(metrics.drift(beside(stained, reduced), 16), rel=1e-5)  # float32 pixels


def test_a_slow_stain_raises_drift_and_hardly_the_matting_energy(photo):
    grain = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0)) * 0.02
    whole = torch.ones(1, 80, 120)
    pictures = (photo * 0.8, blotch(photo * 0.8, 0.15), (photo * 0.8 + grain).clamp(0, 1))
    clean, stained, grainy = (
        metrics.score(Comparison(each, photo, photo, whole, whole)) for each in pictures
    )
    assert stained.drift16 > 10 * clean.drift16
    assert stained.drift16 > 2 * stained.drift4
    assert stained.matting < 0.5 * grainy.matting


def test_a_result_without_chroma_does_not_drift(photo):
    assert metrics.drift(beside(luma(photo).expand(3, -1, -1), photo), 4) == pytest.approx(0, abs=1e-3)


def test_large_pictures_of_a_command_are_scored_reduced_and_others_as_they_are(coffee: Tensor) -> None:
    small, large = resize(coffee, 40, 60), resize(coffee, 80, 120)
    one = torch.ones(1, 1, 1)
    compared = comparison_within(large, large, small, one.expand(1, 80, 120), one.expand(1, 40, 60), side=60)
    assert compared.content.shape == compared.style.shape == (3, 40, 60)
    assert compared.content_masks.shape == (1, 40, 60)
    torch.testing.assert_close(compared.content, halve(large))
    assert torch.equal(compared.style, small)
