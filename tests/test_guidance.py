"""Every content region gets a style region, whatever the masks share, and is carried as features are."""

import hashlib
from dataclasses import replace
from itertools import cycle, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.linalg import sqrtm
from scipy.ndimage import uniform_filter
from skimage.color import rgb2lab
from skimage.transform import downscale_local_mean
from torch import Tensor

from photostyle.files.legends import hex_name
from photostyle.files.masks import MaskSet, whole_picture
from photostyle.regions import guidance
from photostyle.regions.guidance import (
    REACH,
    TRACE,
    WHOLE,
    carry_masks,
    pair_regions,
    pair_with_references,
)

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)

# What the two pictures show under each label: four photographs' worth of colours that nobody would confuse.
SKY, SEA, SAND, ROCK = (0.6, 0.75, 0.95), (0.1, 0.3, 0.4), (0.9, 0.8, 0.6), (0.35, 0.3, 0.3)

# Layers of VGG-19 down to relu5_1 (Simonyan & Zisserman 2015, configuration E).
PLAN = [
    step
    for block, depth in enumerate((2, 2, 4, 4), start=1)
    for step in [
        *(("conv", f"relu{block}_{n}") for n in range(1, depth + 1)),
        ("pool", f"pool{block}"),
    ]
] + [("conv", "relu5_1")]


def mask_set(masks: Tensor, colours, names=None, exact=True) -> MaskSet:
    names = names or tuple(hex_name(colour) for colour in colours)
    digest = hashlib.sha256(masks.numpy().tobytes()).hexdigest()
    return MaskSet(
        masks=masks, names=tuple(names), colours=tuple(colours), exact=exact, sha256=digest, notes=()
    )


def picture(*parts, height=40, width=50, exact=True, names=None) -> tuple[Tensor, MaskSet]:
    """Upright stripes of the picture: (label colour, colour shown, share); noise makes statistics."""
    widths = [round(share * height * width) for _, _, share in parts]
    labels = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor(widths)).view(width, height).T
    noise = 0.02 * torch.randn(3, height, width, generator=torch.Generator().manual_seed(0))
    image = torch.tensor([shown for _, shown, _ in parts])[labels].permute(2, 0, 1) + noise
    masks = torch.nn.functional.one_hot(labels, len(parts)).permute(2, 0, 1).float()
    return image.clamp(0, 1), mask_set(masks, [colour for colour, _, _ in parts], names, exact)


def partners(result) -> dict[str, str]:
    return {pair.name: pair.partner for pair in result.pairs}


def test_labels_pair_by_name_and_need_no_note():
    content = picture((RED, SKY, 0.4), (GREEN, SEA, 0.6))
    style = picture((GREEN, SKY, 0.3), (RED, SEA, 0.7), height=20, width=30)
    result = pair_regions(*content, *style)
    assert result.names == ("#ff0000", "#00ff00") and result.colours == (RED, GREEN)
    assert torch.equal(result.content, content[1].masks)
    assert torch.equal(result.style, style[1].masks[[1, 0]])
    assert result.notes == () and not any(pair.orphan for pair in result.pairs)
    assert result.pairs[0].content_share == pytest.approx(0.4)
    assert result.pairs[0].style_share == pytest.approx(0.7)


def test_an_orphan_takes_the_style_region_nearest_in_colour_statistics():
    content = picture((RED, SKY, 0.5), (BLUE, SAND, 0.5))
    style = picture((RED, SKY, 0.4), (GREEN, SAND, 0.3), (GREY, ROCK, 0.3))
    result = pair_regions(*content, *style)
    assert partners(result) == {"#ff0000": "#ff0000", "#0000ff": "#00ff00"}
    assert [pair.orphan for pair in result.pairs] == [False, True]
    assert torch.equal(result.style, style[1].masks[[0, 1]])
    assert any("#0000ff takes its style from #00ff00: not in the style's mask" in x for x in result.notes)
    assert "regions of the style that no region takes: #808080" in result.notes


def test_equal_means_are_told_apart_by_their_spread():
    flat, busy = picture((RED, GREY, 1.0)), torch.full((3, 40, 50), 0.5)
    busy[:, ::2] += 0.3
    busy[:, 1::2] -= 0.3
    style = torch.cat((torch.full((3, 40, 50), 0.5), busy), dim=2)
    halves = torch.zeros(2, 40, 100)
    halves[0, :, :50], halves[1, :, 50:] = 1, 1
    result = pair_regions(busy, flat[1], style, mask_set(halves, [GREEN, BLUE]))
    assert partners(result) == {"#ff0000": "#0000ff"}


def test_a_content_label_too_small_for_statistics_joins_the_nearest_content_region():
    content = picture((RED, SKY, 0.498), (GREEN, SAND, 0.5), (BLUE, SAND, 0.002))
    style = picture((RED, SKY, 0.3), (GREEN, SAND, 0.3), (BLUE, SEA, 0.4))
    result = pair_regions(*content, *style)
    assert result.names == ("#ff0000", "#00ff00")
    assert torch.equal(result.content[1], content[1].masks[1] + content[1].masks[2])
    assert result.pairs[2].orphan and partners(result)["#0000ff"] == "#00ff00"
    assert result.pairs[2].content_share == pytest.approx(0.002)
    assert any("only 0.20% of the content, joins #00ff00" in note for note in result.notes)


def test_a_label_too_small_in_the_style_is_an_orphan():
    content = picture((RED, SKY, 0.5), (BLUE, SEA, 0.5))
    style = picture((RED, SKY, 0.5), (GREEN, SEA, 0.498), (BLUE, SAND, 0.002))
    result = pair_regions(*content, *style)
    assert partners(result)["#0000ff"] == "#00ff00" and result.pairs[1].orphan
    assert any("its own is only 0.20% of the style" in note for note in result.notes)


def test_the_floor_itself_is_enough():
    share = 6 / 2000
    assert share == TRACE
    content = picture((RED, SKY, 1 - share), (BLUE, SEA, share))
    style = picture((RED, SKY, 1 - share), (BLUE, SAND, share))
    assert partners(pair_regions(*content, *style)) == {"#ff0000": "#ff0000", "#0000ff": "#0000ff"}


def test_without_a_common_label_all_pair_by_colour_and_it_is_said():
    content = picture((RED, SKY, 0.5), (BLUE, SAND, 0.5))
    style = picture((GREEN, SAND, 0.5), (GREY, SKY, 0.5))
    result = pair_regions(*content, *style)
    assert partners(result) == {"#ff0000": "#808080", "#0000ff": "#00ff00"}
    assert "no label is in both masks: all regions pair by colour statistics" in result.notes


def test_without_a_style_mask_every_region_takes_the_whole_style():
    content = picture((RED, SKY, 0.4), (GREEN, SEA, 0.6))
    result = pair_regions(*content, picture((RED, SAND, 1.0))[0], whole_picture(40, 50))
    assert result.names == ("#ff0000", "#00ff00") and torch.equal(result.style, torch.ones(2, 40, 50))
    assert result.notes == ("the style has no mask: every region takes its style from the whole of it",)
    assert not any(pair.orphan for pair in result.pairs)


def test_without_a_content_mask_the_style_s_regions_are_taken_together():
    image, masks = picture((RED, SKY, 0.4), (GREEN, SEA, 0.6))
    masks = replace(masks, masks=masks.masks * 0.5)
    result = pair_regions(image, whole_picture(40, 50), image, masks)
    assert torch.equal(result.content, torch.ones(1, 40, 50))
    assert torch.equal(result.style, torch.full((1, 40, 50), 0.5))  # uncovered parts stay uncovered
    assert result.notes == (
        "the content has no mask: it takes its style from all regions of the style together",
    )


def test_without_masks_there_is_one_region_and_nothing_to_say():
    image = picture((RED, SKY, 1.0))[0]
    result = pair_regions(image, whole_picture(40, 50), image, whole_picture(40, 50))
    assert result.names == WHOLE and result.notes == ()
    assert [pair.orphan for pair in result.pairs] == [False]


def test_pixels_outside_every_region_stay_outside():
    image, masks = picture((RED, SKY, 0.498), (BLUE, SAND, 0.5), (GREEN, SKY, 0.002))
    soft = replace(masks, masks=masks.masks * torch.linspace(0, 1, 50))
    result = pair_regions(image, soft, image, masks)
    torch.testing.assert_close(result.content.sum(0), soft.masks.sum(0))


def test_regions_that_are_all_small_leave_the_largest_to_stand_for_them():
    image, masks = picture((RED, SKY, 0.4), (BLUE, SAND, 0.6))
    faint = replace(masks, masks=masks.masks * 0.004)  # shares 0.0016 and 0.0024
    result = pair_regions(image, faint, image, masks)
    assert result.names == ("#0000ff",)
    torch.testing.assert_close(result.content.sum(0), faint.masks.sum(0))


def test_the_order_of_the_labels_changes_the_order_of_the_rows_and_nothing_else():
    image, masks = picture((RED, SKY, 0.4), (GREEN, SEA, 0.398), (BLUE, SAND, 0.2), (GREY, SKY, 0.002))
    style_image, style_masks = picture((RED, SEA, 0.4), (GREY, SKY, 0.3), ((0, 0, 0), SAND, 0.3))
    expected = pair_regions(image, masks, style_image, style_masks)
    for ours, theirs in zip(permutations(range(4)), cycle(permutations(range(3))), strict=False):
        result = pair_regions(image, reordered(masks, ours), style_image, reordered(style_masks, theirs))
        assert partners(result) == partners(expected) and set(result.notes) == set(expected.notes)
        back = [expected.names.index(name) for name in result.names]
        assert sorted(back) == [0, 1, 2]
        assert torch.equal(result.content, expected.content[back])
        assert torch.equal(result.style, expected.style[back])


def reordered(masks: MaskSet, order) -> MaskSet:
    order = list(order)
    return replace(
        masks,
        masks=masks.masks[order],
        names=tuple(masks.names[k] for k in order),
        colours=tuple(masks.colours[k] for k in order),
    )


def test_compressed_masks_pair_by_the_nearest_colour_within_reach():
    content = picture((RED, SKY, 0.5), ((0, 250, 4), SEA, 0.5), exact=False)
    style = picture(((2, 255, 0), SKY, 0.5), ((250, 3, 1), SEA, 0.5))
    result = pair_regions(*content, *style)
    assert partners(result) == {"#ff0000": "#fa0301", "#00fa04": "#02ff00"}
    assert not any(pair.orphan for pair in result.pairs)
    assert any("#00fa04 takes its style from #02ff00: nearest label colour" in x for x in result.notes)


def test_exact_masks_do_not_pair_by_nearly_equal_colours():
    content = picture(((1, 1, 1), SKY, 0.5), ((2, 2, 2), SEA, 0.5))  # a label map saved as grey levels
    style = picture(((1, 1, 1), SKY, 0.5), ((3, 3, 3), SEA, 0.5))
    assert [pair.orphan for pair in pair_regions(*content, *style).pairs] == [False, True]


def test_compressed_colours_beyond_reach_or_claimed_by_a_nearer_one_are_orphans():
    near, far = (255, 0, 10), (255, 0, round(REACH) + 1)
    content = picture((RED, SKY, 0.5), (near, SEA, 0.5), exact=False)
    style = picture((RED, SKY, 0.5), (BLUE, SEA, 0.5), exact=False)
    assert [pair.orphan for pair in pair_regions(*content, *style).pairs] == [False, True]
    content = picture((far, SKY, 0.5), (GREEN, SEA, 0.5), exact=False)
    assert [pair.orphan for pair in pair_regions(*content, *style).pairs] == [True, True]


def test_colour_statistics_are_the_weighted_mean_and_covariance():
    generator = np.random.default_rng(0)
    image, masks = generator.random((3, 5, 10)), generator.random((2, 5, 10))
    found = guidance.colour_statistics(torch.from_numpy(image), torch.from_numpy(masks))
    lab = rgb2lab(image, channel_axis=0).reshape(3, -1)
    for (mean, covariance), mask in zip(found, masks, strict=True):
        np.testing.assert_allclose(mean, np.average(lab, axis=1, weights=mask.ravel()))
        np.testing.assert_allclose(covariance, np.cov(lab, aweights=mask.ravel(), ddof=0))


def random_gaussian(seed: int):
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(3, 3))
    return generator.normal(size=3), root @ root.T


@pytest.mark.parametrize("seed", range(5))
def test_the_colour_distance_is_the_wasserstein_distance_of_gaussians(seed):
    (mean, covariance), (other_mean, other) = random_gaussian(seed), random_gaussian(seed + 100)
    root = sqrtm(covariance)
    cross = np.real(np.trace(sqrtm(root @ other @ root)))
    squared = ((mean - other_mean) ** 2).sum() + np.trace(covariance) + np.trace(other) - 2 * cross
    distance = guidance.wasserstein((mean, covariance), (other_mean, other))
    assert distance == pytest.approx(np.sqrt(squared), rel=1e-6)
    assert guidance.wasserstein((other_mean, other), (mean, covariance)) == pytest.approx(distance)


def test_the_colour_distance_of_stretched_axes_is_the_difference_of_their_deviations():
    one, other = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0, 7.0])
    distance = guidance.wasserstein((np.zeros(3), np.diag(one**2)), (np.zeros(3), np.diag(other**2)))
    assert distance == pytest.approx(np.linalg.norm(one - other))


def blurred(mask: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
        mask = uniform_filter(mask, size=3, mode="constant")
    return mask


def test_masks_are_blurred_once_per_convolution_and_halved_once_per_pool():
    mask = np.random.default_rng(3).random((64, 48))
    carried = carry_masks(torch.from_numpy(mask)[None], PLAN)
    expected = mask
    # Blurred 1 time at relu1_1, then 3, 5, 9 and 13 at relu5_1: the released code's counts.
    for layer, more in (("relu1_1", 1), ("relu2_1", 2), ("relu3_1", 2), ("relu4_1", 4), ("relu5_1", 4)):
        if layer == "relu1_1":
            expected = blurred(expected, more)
        else:
            expected = blurred(downscale_local_mean(blurred(expected, more - 1), (2, 2)), 1)
        np.testing.assert_allclose(carried[layer][0], expected, atol=1e-12)
    assert sum(step == "conv" for step, _ in PLAN) == 1 + 2 + 2 + 4 + 4 == 13


def test_a_mask_reaches_as_far_as_the_features_do():
    mask = torch.zeros(1, 33, 33)
    mask[0, 16, 16] = 1
    spread = carry_masks(mask, [("conv", f"relu1_{n}") for n in (1, 2, 3)])
    for n in (1, 2, 3):
        rows = spread[f"relu1_{n}"][0].sum(1).nonzero().flatten()
        assert (rows.min(), rows.max()) == (16 - n, 16 + n)


def test_a_mask_of_ones_darkens_at_the_border_only():
    first = carry_masks(torch.ones(1, 6, 6), PLAN[:1])["relu1_1"][0]
    assert torch.equal(first[1:-1, 1:-1], torch.ones(4, 4))
    assert first[0, 3] == pytest.approx(6 / 9) and first[0, 0] == pytest.approx(4 / 9)


def test_a_convolution_has_the_mask_of_its_relu():
    carried = carry_masks(torch.rand(2, 32, 32), PLAN)
    assert carried["conv4_2"] is carried["relu4_2"]
    assert set(carried) == {name for _, name in PLAN} | {
        name.replace("relu", "conv") for step, name in PLAN if step == "conv"
    }


@given(
    height=st.integers(1, 40), width=st.integers(1, 40), regions=st.integers(1, 4), seed=st.integers(0, 99)
)
@settings(max_examples=40, deadline=None)
def test_regions_stay_regions_on_their_way_down(height, width, regions, seed):
    masks = torch.rand(regions, height, width, generator=torch.Generator().manual_seed(seed))
    masks = masks / masks.sum(0)
    for layer, carried in carry_masks(masks, PLAN).items():
        halvings = int(layer.removeprefix("conv").removeprefix("relu").removeprefix("pool")[0]) - 1
        halvings += layer.startswith("pool")
        assert carried.shape == (regions, -(-height // 2**halvings), -(-width // 2**halvings))
        # Each of 13 blurs and 4 averages rounds by at most a few units of 6e-8.
        assert carried.min() >= 0 and carried.sum(0).max() <= 1 + 1e-5


NINE = {
    "blue": (0, 0, 255),
    "green": (0, 255, 0),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
    "grey": (128, 128, 128),
    "lightblue": (0, 255, 255),
    "purple": (255, 0, 255),
}


def released_masks(path, size) -> MaskSet:
    """The released code's reading: within 0.1 of one of nine colours, other pixels nowhere."""
    painted = np.asarray(Image.open(path).convert("RGB").resize(size, Image.Resampling.NEAREST)) / 255
    near = {name: np.abs(painted - np.array(colour) / 255) <= 0.1 for name, colour in NINE.items()}
    found = {name: mask.all(-1) for name, mask in near.items()}
    found = {name: mask for name, mask in found.items() if mask.any()}
    masks = torch.from_numpy(np.stack(list(found.values()))).float()
    return mask_set(masks, [NINE[name] for name in found], names=found)


@pytest.mark.parametrize("number", [8, 33])
def test_published_pairs_with_orphans_find_a_partner_for_every_region(shared, number):
    sides = []
    for folder, prefix in (("input", "in"), ("style", "tar")):
        photo = Image.open(shared / "dpst" / folder / f"{prefix}{number}.png").convert("RGB")
        image = torch.from_numpy(np.asarray(photo) / 255).permute(2, 0, 1).float()
        sides += [
            image,
            released_masks(shared / "dpst" / "segmentation" / f"{prefix}{number}.png", photo.size),
        ]
    content, content_masks, style, style_masks = sides
    orphans = set(content_masks.names) - set(style_masks.names)
    assert orphans, "the published pair has labels that its style lacks"
    result = pair_regions(content, content_masks, style, style_masks)
    assert {pair.name for pair in result.pairs if pair.orphan} >= orphans
    assert {"black": "black", "white": "white"}.items() <= partners(result).items()
    assert set(result.names) == {"black", "white"}  # every orphan of these pairs is under the floor
    assert torch.equal(result.content.sum(0), content_masks.masks.sum(0))
    assert (result.style.mean((1, 2)) > TRACE).all()
    assert len(result.notes) >= len(orphans)


# Several references


def pair_with(content, *references, weights=None):
    return pair_with_references(*content, references, weights or [1.0] * len(references))


def test_a_label_of_several_references_is_their_mixture_and_one_of_one_is_its_own():
    content = picture((RED, SKY, 0.4), (GREEN, SEA, 0.6))
    one = picture((RED, SAND, 0.5), (GREEN, ROCK, 0.5), height=20, width=30)
    other = picture((BLUE, ROCK, 0.3), (RED, SEA, 0.7))
    result = pair_with(content, one, other, weights=[3.0, 1.0])
    torch.testing.assert_close(result.weights.float(), torch.tensor([[0.75, 1.0], [0.25, 0.0]]))
    assert torch.equal(result.styles[0], one[1].masks)
    assert torch.equal(result.styles[1], torch.stack((other[1].masks[1], torch.zeros(40, 50))))
    assert partners(result) == {"#ff0000": "#ff0000", "#00ff00": "#00ff00"}
    assert not any(pair.orphan for pair in result.pairs)
    assert result.pairs[0].style_share == pytest.approx(0.75 * 0.5 + 0.25 * 0.7)
    assert result.notes == (
        "regions of reference 2 that no region takes: #0000ff",
        "#00ff00 takes its style from #00ff00: same label, only in reference 1",
    )


def test_different_references_for_different_regions_need_only_what_each_gives():
    content = picture((RED, SKY, 0.4), (GREEN, SEA, 0.6))
    result = pair_with(content, picture((RED, ROCK, 1.0)), picture((GREEN, SAND, 1.0)))
    assert torch.equal(result.weights.float(), torch.eye(2))
    assert partners(result) == {"#ff0000": "#ff0000", "#00ff00": "#00ff00"}


def test_an_orphan_of_all_takes_the_label_whose_mixture_is_nearest():
    content = picture((RED, SKY, 0.4), (BLUE, SAND, 0.6))
    one = picture((RED, SKY, 0.5), (GREEN, SAND, 0.5))
    other = picture((GREEN, SAND, 0.5), (GREY, ROCK, 0.5))
    result = pair_with(content, one, other)
    assert partners(result) == {"#ff0000": "#ff0000", "#0000ff": "#00ff00"}
    assert result.weights[:, 1].tolist() == [0.5, 0.5]
    assert "#0000ff takes its style from #00ff00: not in the style's mask, nearest in colour statistics" in (
        result.notes
    )


def test_a_trace_of_a_label_in_one_reference_leaves_it_to_the_other():
    content = picture((RED, SKY, 0.4), (BLUE, SEA, 0.6))
    one = picture((RED, SKY, 0.5), (BLUE, SEA, 0.5))
    other = picture((RED, SKY, 0.998), (BLUE, SAND, 0.002))
    assert torch.equal(pair_with(content, one, other).weights.float(), torch.tensor([[0.5, 1.0], [0.5, 0.0]]))


def test_a_reference_without_a_mask_gives_all_of_it_to_every_region():
    content = picture((RED, SKY, 0.4), (GREEN, SEA, 0.6))
    bare = (picture((RED, SAND, 1.0))[0], whole_picture(40, 50))
    result = pair_with(content, bare, picture((RED, ROCK, 1.0)))
    assert torch.equal(result.weights.float(), torch.tensor([[0.5, 1.0], [0.5, 0.0]]))
    assert torch.equal(result.styles[0], torch.ones(2, 40, 50))
    assert "reference 1 has no mask: every region takes its style from the whole of it" in result.notes


def test_without_a_content_mask_all_regions_of_all_references_are_taken_together():
    image = picture((RED, SKY, 1.0))[0]
    masked = picture((RED, SKY, 0.5), (BLUE, SEA, 0.5))
    result = pair_with((image, whole_picture(40, 50)), masked, masked, weights=[1.0, 4.0])
    assert torch.equal(result.weights.float(), torch.tensor([[0.2], [0.8]]))
    assert all(torch.equal(each, torch.ones(1, 40, 50)) for each in result.styles)
    assert len(result.notes) == 2


def test_one_reference_is_the_same_by_either_name():
    content = picture((RED, SKY, 0.5), (BLUE, SAND, 0.5))
    style = picture((RED, SKY, 0.4), (GREEN, SAND, 0.3), (GREY, ROCK, 0.3))
    one, other = pair_regions(*content, *style), pair_with(content, style, weights=[7.0])
    assert one.pairs == other.pairs and one.notes == other.notes
    assert torch.equal(one.style, other.style) and torch.equal(other.weights.float(), torch.ones(1, 2))
