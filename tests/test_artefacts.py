"""The artefact detectors: silent where there is none, louder the more there is, each for its own."""

import tracemalloc

import numpy as np
import pytest
import torch
from skimage.color import deltaE_cie76, rgb2lab
from torch import Tensor

from photostyle.evaluation import artefacts
from photostyle.evaluation.comparison import Comparison
from photostyle.imaging.filters import area_average, resize

NAMES = ["banding", "halo", "spill", "noise", "clipped", "haze", "foreign"]
# What a clean recolouring may have after the thresholds, below the least injection of these tests; of foreign colours
# the half per cent of the style that does not count.
CLEAN = {
    "banding": 0.005,
    "halo": 0.02,
    "spill": 0.02,
    "noise": 0.1,
    "clipped": 0.002,
    "haze": 0.05,
    "foreign": 0.005,
}


@pytest.fixture(scope="module")
def photo(coffee: Tensor) -> Tensor:
    return area_average(coffee, 117, 175)


@pytest.fixture(scope="module")
def style(chelsea: Tensor) -> Tensor:
    return area_average(chelsea, 117, 175)


def rounded(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * 255).round() / 255


def whole(image: Tensor) -> Tensor:
    return torch.ones(1, *image.shape[1:])


def matrix(*rows: tuple[float, float, float]):
    return lambda image: torch.einsum("ij,jhw->ihw", torch.tensor(rows), image) + 0.05


def scene(width: int = 350) -> Tensor:
    """A bright sky over a dark warm ground, each with a slope: (3, H, width), its edge in the middle."""
    height = round(width * 0.7)
    down = torch.linspace(0, 1, height)[:, None].expand(height, width)
    along = torch.linspace(0, 0.05, width)[None].expand(height, width)
    sky = torch.stack((0.45 + 0.1 * down, 0.55 + 0.1 * down, 0.75 + along))
    ground = torch.stack((0.35 - 0.1 * down + along, 0.22 - 0.05 * down, 0.12 + 0 * down))
    return torch.where(down < 0.5, sky, ground)


def beside(result: Tensor, content: Tensor, style: Tensor) -> Comparison:
    """Both pictures as one region."""
    return Comparison(result, content, style, whole(content), whole(style))


def everything(result: Tensor, content: Tensor, style: Tensor) -> dict[str, float]:
    return artefacts.find_artefacts(beside(result, content, style)).as_dict()


def own(name: str, result: Tensor, content: Tensor) -> float:
    """One of the numbers of `everything`, in a part of its time; the photo is the style."""
    return getattr(artefacts, name)(beside(result, content, content))


RECOLOURINGS = {
    "nothing": lambda image: image,
    "dimmed": lambda image: 0.6 * image,
    "paler": lambda image: 0.7 * image + 0.2,
    "warmer": matrix((0.8, 0.1, 0.0), (0.05, 0.75, 0.05), (0.0, 0.05, 0.7)),
    "channels mixed": matrix((0.3, 0.5, 0.0), (0.4, 0.3, 0.1), (0.1, 0.3, 0.4)),
    "darker curve": lambda image: image**1.25,
    "brighter curve": lambda image: image**0.8,
    "s-curve": lambda image: 0.5 * image + 0.5 * (3 * image**2 - 2 * image**3),
}


# Silence


@pytest.mark.parametrize("name", RECOLOURINGS)
def test_a_smooth_recolouring_has_no_artefact(name, photo):
    # In 8 bits, towards a style that has these colours; clipping is the recolouring's own where it clips.
    result = rounded(RECOLOURINGS[name](photo))
    found = everything(result, photo, result)
    assert all(found[each] <= CLEAN[each] for each in NAMES), found


def test_a_recolouring_of_each_region_has_no_artefact(style):
    content = rounded(scene())
    sky = torch.arange(content.shape[1])[:, None].expand(content.shape[1:]) < content.shape[1] / 2
    result = rounded(torch.where(sky, 0.7 * content + 0.1, 1.3 * content.flip(0)))
    found = everything(result, content, result)
    assert all(found[each] <= CLEAN[each] for each in NAMES), found


def test_what_the_photo_has_itself_is_no_artefact(photo, style):
    worn = rounded(photo + torch.randn(photo.shape, generator=torch.Generator().manual_seed(1)) * 0.04)
    worn = torch.where(worn > 0.6, 1.0, (worn * 12).round() / 12)  # noise, burnt lights, bands
    assert everything(worn, worn, style) == dict.fromkeys(NAMES, 0.0)


@pytest.mark.parametrize("flat", ["result", "content", "style", "all"])
def test_a_picture_of_one_colour_is_no_trouble(flat, photo, style):
    grey = torch.full_like(photo, 0.5)
    pictures = {"result": photo, "content": photo, "style": style}
    pictures = {name: grey if flat in (name, "all") else picture for name, picture in pictures.items()}
    found = everything(**pictures)
    assert np.isfinite(list(found.values())).all() and min(found.values()) >= 0


# Each its own


def steps(image: Tensor, height: float) -> Tensor:
    return (image / height).round() * height


def fringe(image: Tensor, amount: float) -> Tensor:
    """A lighter band of 1.5 % of the long side above the scene's edge."""
    spoilt, middle = image.clone(), image.shape[1] // 2
    spoilt[:, middle - round(0.015 * image.shape[2]) : middle] += amount
    return spoilt


def bleed(image: Tensor, amount: float) -> Tensor:
    """The ground's chroma in a band of 1.5 % of the long side above the scene's edge; the luma stays."""
    spoilt, middle = image.clone(), image.shape[1] // 2
    band = slice(middle - round(0.015 * image.shape[2]), middle)
    warm = torch.tensor([1.0, -0.2, -1.0])[:, None, None]
    spoilt[:, band] += amount * warm
    return spoilt


def grain(image: Tensor, deviation: float) -> Tensor:
    return image + torch.randn(image.shape, generator=torch.Generator().manual_seed(2)) * deviation


def stain(image: Tensor, share: float) -> Tensor:
    """A vivid green in that share of the rows, beginning at the top."""
    spoilt = image.clone()
    spoilt[:, : round(share * image.shape[1])] = torch.tensor([0.1, 0.8, 0.2])[:, None, None]
    return spoilt


INJECTIONS = {
    "banding": steps,
    "halo": fringe,
    "spill": bleed,
    "noise": grain,
    "clipped": lambda image, gain: image * gain,
    "haze": lambda image, veil: image * (1 - veil) + 0.7 * veil,
    "foreign": stain,
}
STRENGTHS = {
    "banding": (0.012, 0.02, 0.03),
    "halo": (0.06, 0.1, 0.15),
    "spill": (0.08, 0.12, 0.18),
    "noise": (0.01, 0.02, 0.04),
    "clipped": (1.4, 1.6, 1.8),
    "haze": (0.15, 0.3, 0.45),
    "foreign": (0.05, 0.1, 0.2),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "haze" else name for name in NAMES]
)
def test_more_of_an_artefact_is_a_larger_number(name):
    content = rounded(scene())
    found = [own(name, rounded(INJECTIONS[name](content, strength)), content) for strength in STRENGTHS[name]]
    assert 2 * CLEAN[name] < found[0] < found[1] < found[2]


@pytest.mark.parametrize(
    "name",
    [name if name in ("spill", "clipped") else pytest.param(name, marks=pytest.mark.slow) for name in NAMES],
)
def test_half_the_size_is_nearly_the_same_number(name):
    large, small = (rounded(scene(width)) for width in (700, 350))
    strength = STRENGTHS[name][1]
    found = [own(name, rounded(INJECTIONS[name](content, strength)), content) for content in (large, small)]
    # Bands of a few pixels more or less, and a window of 3 % in whole pixels.
    assert found[1] == pytest.approx(found[0], rel=0.3)


@pytest.mark.slow
def test_a_large_picture_is_measured_at_700_pixels(photo, style):
    strip = photo[:, 50:75]
    content, result = resize(strip, 200, 1400), resize(INJECTIONS["noise"](strip, 0.03), 200, 1400)
    for function in (artefacts.banding, artefacts.halo, artefacts.spill, artefacts.noise):
        reduced = [area_average(each, 100, 700) for each in (result, content)]
        assert function(beside(result, content, content)) == function(beside(*reduced, strip)) > 0


@pytest.mark.slow
def test_twelve_megapixels_take_no_more_memory_than_their_own(photo, style):
    content = resize(photo, 3000, 4000)
    tracemalloc.start()  # of NumPy; what torch holds is the pictures and one reduction
    everything(content, content, style)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < content.numel() * 8  # one copy in float64


# Against independent computations


def test_a_ramp_has_no_step_whatever_its_slope():
    ramp = np.broadcast_to(np.linspace(0, 90, 40)[None, None], (3, 12, 40)).copy()
    assert artefacts.step_heights(ramp, 2, 7)[:, 8:-8] == pytest.approx(0, abs=1e-6)


def test_a_step_has_its_height_at_the_four_places_around_it():
    step = np.zeros((3, 12, 40))
    step[0, :, 20:], step[1, :, 20:] = 3, 4
    heights = artefacts.step_heights(step, 2, 7)
    assert heights[:, 18:22] == pytest.approx(5, abs=1e-6)
    assert heights[:, :18] == pytest.approx(0, abs=1e-6) and heights[:, 22:] == pytest.approx(0, abs=1e-6)


def test_banding_is_the_excess_of_the_steps_on_a_walk_of_a_hundredth():
    # A flat grey photo of 700 x 70; in the result one step down the middle, of known ΔE.
    content, result = torch.full((3, 70, 700), 0.5), torch.full((3, 70, 700), 0.5)
    result[:, :, 350:] = 0.55
    lab = rgb2lab(result[:, :1].permute(1, 2, 0).double().numpy())
    height = float(deltaE_cie76(lab[:, 0], lab[:, -1])[0])
    # One walk along the rows in 700 px meets it, no walk along the columns does: half of a hundredth of it.
    expected = (height - artefacts.STEP) / 700 / 2 * 7
    # A variance of ΔE² is rounded to about 1e-15 of it: 3e-8 of the step under the root, times the ramp of 7 flanks.
    assert own("banding", result, content) == pytest.approx(expected, rel=1e-5)


def test_noise_is_the_standard_deviation_of_white_noise_in_lab():
    content = torch.full((3, 200, 200), 0.5)
    result = grain(content, 0.02)
    lab = rgb2lab(result.permute(1, 2, 0).double().numpy())
    deviation = np.sqrt(lab.var((0, 1)).sum())
    # The worse of two octaves in each window of 289 pixels is a little above their mean.
    assert own("noise", result, content) == pytest.approx(deviation, rel=0.08)
    for mask in artefacts.NOISE_MASKS:
        rough = artefacts.roughness(lab.transpose(2, 0, 1), mask)
        assert np.sqrt(rough.var((1, 2)).sum()) == pytest.approx(deviation, rel=0.05)


def test_amplified_grain_is_noise_where_structure_is_not_amplified_alike(photo):
    # A steep map along a direction that holds only grain: affine, and speckle to the eye.
    grey = (photo.mean(0, keepdim=True) * 0.5 + 0.2).expand(3, -1, -1)
    content = rounded(grain(grey, 0.004))
    steep = content + 8 * (content - content.mean(0, keepdim=True))
    assert own("noise", rounded(steep), content) > 5
    # The same grain under the gain that everything has is the photo's.
    assert own("noise", rounded(1.3 * content - 0.1), content) < CLEAN["noise"]


def test_rounding_to_eight_bits_is_at_most_the_rounding_taken_off():
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 52)] * 3, indexing="ij"), -1).reshape(1, -1, 3)
    slopes = []
    for channel in range(3):
        half = np.zeros(3)
        half[channel] = 1 / 510
        change = rgb2lab(np.clip(grid + half, 0, 1)) - rgb2lab(np.clip(grid - half, 0, 1))
        slopes.append((change**2).sum(-1))
    # A rounding error is uniform over a level: variance 1/12.
    assert np.sqrt(sum(slopes) / 12).max() == pytest.approx(artefacts.ROUNDING, abs=0.005)
    assert (
        np.sqrt(np.max(slopes)) == pytest.approx(artefacts.STEP, abs=0.05)
        and np.sqrt(np.max(slopes)) < artefacts.STEP
    )


def test_clipped_counts_lights_by_lightness_and_channels_by_luma(style):
    content = torch.full((3, 40, 50), 0.5)
    result = content.clone()
    result[:, :10] = 1  # a quarter burnt white, L* 100
    assert artefacts.clipped(beside(result, content, content)) == pytest.approx(0.25)
    red = content.clone()
    red[0, :10] = 1
    lightness = rgb2lab(np.array([[[1, 0.5, 0.5]]]))[0, 0, 0] / 100
    expected = 0.25 * 0.2126 * lightness
    assert artefacts.clipped(beside(red, content, content)) == pytest.approx(expected, rel=1e-6)
    # A style with as many burnt lights has them taken off.
    assert artefacts.clipped(beside(result, content, result)) == 0
    # And lamps that the photo burnt itself.
    assert artefacts.clipped(beside(result, result, content)) == 0


def test_a_veil_that_the_style_has_is_no_haze(photo):
    veiled = rounded(INJECTIONS["haze"](photo, 0.4))
    assert artefacts.haze(beside(veiled, photo, photo)) > 5
    assert artefacts.haze(beside(veiled, photo, veiled)) < CLEAN["haze"]
    # Brighter with its contrast kept is no veil either, whatever the style.
    assert artefacts.haze(beside(0.8 * photo + 0.2, 0.8 * photo, photo)) < 0.5


def test_foreign_is_the_share_far_from_every_colour_of_both(style):
    random = np.random.default_rng(4)
    result, content, reference = (
        torch.from_numpy(random.random((3, 12, 15))) * high for high in (1.0, 0.4, 0.6)
    )
    lab = [
        rgb2lab(each.permute(1, 2, 0).numpy()).reshape(-1, 3) / (2, 1, 1)
        for each in (result, content, reference)
    ]
    known = np.concatenate(lab[1:])
    distance = np.sqrt(((lab[0][:, None] - known[None]) ** 2).sum(-1)).min(1)
    found = artefacts.foreign(beside(result, content, reference))
    # Cells of 2 ΔE move a colour by up to half their diagonal, of both ends.
    slack = artefacts.COLOUR_CELL * np.sqrt(3)
    assert (distance > 10 + slack).mean() <= found <= (distance > 10 - slack).mean() and found > 0.2


def test_a_colour_of_another_region_is_foreign():
    content = torch.full((3, 40, 60), 0.5)
    style = content.clone()
    style[:, :, :30] = torch.tensor([0.8, 0.2, 0.1])[:, None, None]
    masks = torch.zeros(2, 40, 60)
    masks[0, :, :30] = masks[1, :, 30:] = 1
    matched, swapped = style, style.flip(2)
    assert artefacts.foreign(Comparison(matched, content, style, masks, masks)) == 0
    # Grey is the photo's everywhere; the red half is the style's only on the left.
    assert artefacts.foreign(Comparison(swapped, content, style, masks, masks)) == pytest.approx(0.5)
    # A sliver of the neighbour under the mask does not bring its colours in.
    style[:, 0, 30] = style[:, 0, 0]
    assert artefacts.foreign(Comparison(swapped, content, style, masks, masks)) == pytest.approx(0.5)


@pytest.mark.parametrize("side", ["sky", "ground"])
def test_a_fringe_is_a_halo_and_a_bleed_is_spill(side):
    content = rounded(scene())
    if side == "ground":
        content = content.flip(1)
    light, chroma = rounded(fringe(content, 0.1)), rounded(bleed(content, 0.15 if side == "sky" else -0.15))
    assert own("halo", light, content) > 5 * own("spill", light, content)
    assert own("spill", chroma, content) > 1.5 * own("halo", chroma, content)


# On published results: what is seen in the pictures (docs/method.md names the functions)


def test_the_published_results_are_ordered_as_they_look(shared):
    from photostyle.files.images import read_image

    def read(name: str) -> Tensor:
        return read_image(shared / "dpst" / name).pixels

    def pair(number: int) -> tuple[Tensor, Tensor]:
        return read(f"final_results/best{number}_t_1000.png"), read(f"input/in{number}.png")

    # Posterised clouds in 13; a glow around the tap of 33; neither in the autumn wood of 57, the skyline of 3.
    assert own("banding", *pair(13)) > 10 * max(own("banding", *pair(3)), own("banding", *pair(57)))
    assert own("halo", *pair(33)) > 5 * max(own("halo", *pair(3)), own("halo", *pair(57)))
    # The first stage, without smoothing, of the tap: grain all over the backdrop.
    stage = own("noise", read("tmp_results/out33_t_1000.png"), read("input/in33.png"))
    assert stage > 10 * own("noise", *pair(33))
