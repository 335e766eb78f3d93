"""The whole story on small real photographs, a few evaluations each."""

import math
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from skimage.color import rgb2lab
from skimage.transform import resize
from torch import Tensor
from vgg import narrow_vgg

from photostyle import pipeline, solver
from photostyle.config import Config
from photostyle.errors import ComputationError, PhotostyleError
from photostyle.files.images import Picture, write_image
from photostyle.losses.term import Terms
from photostyle.losses.weights import WeightsNotFound
from photostyle.optimisers import Step
from photostyle.pipeline import transfer
from photostyle.presets import configure
from photostyle.regions.canvas import feather, recolour
from photostyle.regions.colour import region_colour_maps
from photostyle.result import Result, stages_of

QUICK: dict[str, Any] = {
    "size": 64,
    "coarsest": 64,
    "iterations": (3,),
    "patch_draws": 8,
    "boldness": 1.0,
    "device": "cpu",
    "threads": 1,
}
COLUMN, STYLE_COLUMN = 80, 60  # where the two regions of the masks meet


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """coffee (128x96) takes rocket (120x90); masks split each in a left and a right region; a narrow random VGG."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, image, height, width in (
        ("photo", data.coffee(), 96, 128),
        ("style", data.rocket(), 90, 120),
        ("tall", data.astronaut()[:, 100:356], 128, 64),
    ):
        small = torch.from_numpy(resize(image, (height, width), anti_aliasing=True))
        write_image(folder / f"{name}.png", small.permute(2, 0, 1).float())
    for name, height, width, column in (("photo", 96, 128, COLUMN), ("style", 90, 120, STYLE_COLUMN)):
        mask = torch.zeros(3, height, width)
        mask[2, :, :column], mask[0, :, column:] = 1, 1
        write_image(folder / f"{name}-mask.png", mask)
    # The left region of the style by itself, and a picture that is all of the right region.
    style = torch.from_numpy(resize(data.rocket(), (90, 120), anti_aliasing=True)).permute(2, 0, 1).float()
    write_image(folder / "style-left.png", style[..., :STYLE_COLUMN])
    write_image(folder / "blue.png", torch.tensor([0.0, 0, 1])[:, None, None].expand(3, 90, STYLE_COLUMN))
    write_image(folder / "tall-red.png", torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 128, 64))
    torch.save(narrow_vgg(width=8, seed=0), folder / "narrow.pth")
    return folder


@pytest.fixture
def make(pictures: Path) -> Callable[..., Config]:
    """A quick configuration, changed by what is given."""

    def configuration(preset: str = "patches", **changes: Any) -> Config:
        paths = {"content": pictures / "photo.png", "style": pictures / "style.png"}
        return configure(preset, **(paths | QUICK | changes))

    return configuration


@pytest.fixture
def masked(pictures: Path) -> dict[str, Any]:
    return {"masks": (str(pictures / "photo-mask.png"), str(pictures / "style-mask.png"))}


def mean_colour_distance(image: Tensor, reference: Tensor) -> float:
    return float((image.mean((1, 2)) - reference.mean((1, 2))).norm())


# Sizes and stages


@pytest.mark.parametrize("size", [48, 64, 128, 500])
def test_the_result_has_the_photos_own_size_whatever_the_last_stages(
    make: Callable[..., Config], size: int
) -> None:
    result = transfer(make(size=size, iterations=(1,)))
    assert result.image.shape == (3, 96, 128)
    assert result.image.dtype == torch.float32
    assert 0 <= result.image.min() and result.image.max() <= 1


def test_a_tall_photo_stays_tall(make: Callable[..., Config], pictures: Path) -> None:
    steps: list[tuple[int, ...]] = []
    result = transfer(make(content=pictures / "tall.png"), lambda step: steps.append(tuple(step.image.shape)))
    assert set(steps) == {(3, 64, 32)} and result.image.shape == (3, 128, 64)


def test_stages_double_from_the_coarsest_to_the_size_and_the_trace_has_every_evaluation(
    make: Callable[..., Config],
) -> None:
    seen: list[tuple[int, ...]] = []
    result = transfer(
        make(coarsest=32, size=96, iterations=(3, 2, 1)), lambda step: seen.append(tuple(step.image.shape))
    )
    assert seen == [(3, 24, 32)] * 3 + [(3, 48, 64)] * 2 + [(3, 72, 96)]
    assert [(entry["stage"], entry["iteration"]) for entry in result.trace] == [
        (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (2, 1),
    ]  # fmt: skip
    assert [(stage["stage"], stage["evaluations"]) for stage in stages_of(result)] == [(0, 3), (1, 2), (2, 1)]


def test_a_later_stage_starts_where_the_one_before_ended(make: Callable[..., Config]) -> None:
    """Its first evaluation is of a picture that has already moved, so nearer than the colour map's."""
    both = transfer(make(coarsest=32, iterations=(20, 1)))
    alone = transfer(make(iterations=(1,)))
    assert both.trace[-1]["patches"] < alone.trace[0]["patches"]


def test_the_trace_names_every_term_and_the_terms_fall(make: Callable[..., Config]) -> None:
    """Falls by a quarter in 25 steps; the start is already the best linear colour map."""
    trace = transfer(make(iterations=(25,), optimiser="lbfgs")).trace
    terms = {"patches", "texture", "structure", "photorealism", "consistency"}
    assert set(trace[0]) == {"stage", "iteration", "seconds"} | terms
    first, last = (sum(entry[name] for name in terms) for entry in (trace[0], trace[-1]))
    assert last < 0.75 * first


def test_what_was_solved_is_rendered_again_without_a_solve(
    make: Callable[..., Config], masked: dict[str, Any]
) -> None:
    run = transfer(make(**masked))
    assert run.solved is not None and run.solved.shape == (3, 48, 64)
    again = transfer(make(**masked), lambda step: pytest.fail("it was solved"), solved=run.solved)
    assert torch.equal(again.image, run.image) and again.trace == []
    half, anew = (
        transfer(make(**masked, strength=0.5), solved=run.solved),
        transfer(make(**masked, strength=0.5)),
    )
    assert torch.equal(half.image, anew.image) and not torch.equal(half.image, run.image)


def test_where_nothing_is_evaluated_nothing_was_solved(make: Callable[..., Config]) -> None:
    assert transfer(make("instant", iterations=(0,))).solved is None


def test_the_parts_of_the_work_are_entered_in_their_order(
    make: Callable[..., Config], masked: dict[str, Any]
) -> None:
    entered: list[str] = []

    def made(photo: Picture, references: Sequence[Picture]) -> tuple[str, ...]:
        assert entered == ["masks"]
        return masked["masks"]

    def watch(step: Step) -> None:
        assert entered[-1] == "solve"

    transfer(make(), watch, make_masks=made, enter=entered.append)
    assert entered == ["masks", "solve", "render"]
    entered.clear()
    transfer(make(**masked), watch, enter=entered.append)
    assert entered == ["solve", "render"]
    with pytest.raises(PhotostyleError):
        transfer(make(**masked, region_strength=("sky=1",)), enter=entered.append)
    assert entered == ["solve", "render"]  # what is given was found wrong before any work


def test_watch_sees_each_step_with_the_terms_that_the_trace_holds(make: Callable[..., Config]) -> None:
    steps: list[Step] = []
    result = transfer(make(), steps.append)
    assert [step.losses for step in steps] == [
        {name: value for name, value in entry.items() if name not in ("stage", "iteration", "seconds")}
        for entry in result.trace
    ]


# What the colours do


@pytest.mark.parametrize("preset", ["instant", "patches"])
def test_the_photo_takes_the_references_mean_colour(make: Callable[..., Config], preset: str) -> None:
    """Clipping to [0, 1] and the optimisation move the mean a little: nine tenths of the way is demanded."""
    config = make(preset, iterations=(0,) if preset == "instant" else (10,))
    result = transfer(config)
    before = mean_colour_distance(result.photo.pixels, result.reference.pixels)
    assert mean_colour_distance(result.image, result.reference.pixels) < 0.1 * before


def test_instant_is_the_feathered_colour_map_of_the_photo_itself(
    make: Callable[..., Config], masked: dict[str, Any]
) -> None:
    result = transfer(make("instant", **masked, iterations=(0,)))
    photo, guidance = result.photo.pixels, result.guidance
    maps = region_colour_maps(photo, guidance.content, result.reference.pixels, guidance.style)
    expected = recolour(photo, feather(photo, guidance.content, 8), maps)
    torch.testing.assert_close(result.image, expected)
    assert result.trace == []


def test_masks_make_each_region_take_its_own_region_of_the_reference(
    make: Callable[..., Config], masked: dict[str, Any]
) -> None:
    """With hard borders nothing leaks: each side's mean is nearer its partner's than without masks."""
    with_masks = transfer(make("instant", **masked, iterations=(0,), feather=0))
    without = transfer(make("instant", iterations=(0,)))
    sides = ((slice(0, COLUMN), slice(0, STYLE_COLUMN)), (slice(COLUMN, None), slice(STYLE_COLUMN, None)))
    for ours, theirs in sides:
        target = with_masks.reference.pixels[..., theirs]
        near = mean_colour_distance(with_masks.image[..., ours], target)
        assert near < 0.5 * mean_colour_distance(without.image[..., ours], target)


def test_no_masks_is_one_region(make: Callable[..., Config]) -> None:
    result = transfer(make())
    assert result.guidance.names == ("all",) and result.mask_paths == ("none", "none")
    assert bool((result.guidance.content == 1).all())


def test_two_nones_are_no_masks(make: Callable[..., Config]) -> None:
    assert torch.equal(transfer(make(masks=("none", "none"))).image, transfer(make()).image)


@pytest.mark.parametrize("lacking", [0, 1])
def test_one_mask_and_one_none_is_said_aloud(
    make: Callable[..., Config], masked: dict[str, Any], lacking: int
) -> None:
    names, said = list(masked["masks"]), list[str]()
    names[lacking] = "none"
    result = transfer(make(masks=tuple(names)), say=said.append)
    assert [len(regions.masks) for regions in result.masks] == ([1, 2] if lacking == 0 else [2, 1])
    assert any("has no mask" in note for note in said)
    assert result.mask_paths[lacking] == "none" and Path(result.mask_paths[1 - lacking]).is_absolute()


def test_every_note_of_the_result_was_said(make: Callable[..., Config], masked: dict[str, Any]) -> None:
    said: list[str] = []
    result = transfer(make(masks=(masked["masks"][0], "none")), say=said.append)
    assert result.notes and list(result.notes) == said


def test_strength_blends_from_the_photo_to_the_full_result(make: Callable[..., Config]) -> None:
    """Linear up to the clipping to [0, 1], which only cuts: half is compared where full is inside."""
    none, half, full = (transfer(make(strength=strength)) for strength in (0.0, 0.5, 1.0))
    assert torch.equal(none.image, none.photo.pixels)
    inside = (full.image > 0) & (full.image < 1)
    torch.testing.assert_close(half.image[inside], (none.image + full.image)[inside] / 2)


@pytest.mark.parametrize("size", [64, pytest.param(128, marks=pytest.mark.slow)])
def test_a_region_goes_as_far_as_its_own_strength(
    make: Callable[..., Config], masked: dict[str, Any], size: int
) -> None:
    """With hard borders: the left region is the photo's own, the right one that of the full result."""
    full = transfer(make(**masked, size=size))
    half = transfer(make(**masked, size=size, region_strength=("#0000ff=0",), feather=8))
    hard = transfer(make(**masked, size=size, region_strength=("#0000ff=0",), feather=0, start="content"))
    plain = transfer(make(**masked, size=size, feather=0, start="content"))
    assert torch.equal(hard.image[..., :COLUMN], hard.photo.pixels[..., :COLUMN])
    torch.testing.assert_close(hard.image[..., COLUMN:], plain.image[..., COLUMN:])
    # Soft ones: the picture lies between the two everywhere.
    low, high = torch.minimum(full.image, full.photo.pixels), torch.maximum(full.image, full.photo.pixels)
    assert (half.image >= low - 1e-5).all() and (half.image <= high + 1e-5).all()


def test_a_strength_for_no_region_is_refused_before_the_work(
    make: Callable[..., Config], masked: dict[str, Any]
) -> None:
    with pytest.raises(
        PhotostyleError, match="names sky, which is no region of the photo; there are: #0000ff, #"
    ):
        transfer(make(**masked, region_strength=("sky=0.5",)), lambda step: pytest.fail("work was done"))


def test_several_references_give_different_regions(
    make: Callable[..., Config], masked: dict[str, Any], pictures: Path
) -> None:
    """The left region from one photograph, the right from another: hard borders, so each is as from its own alone."""
    photo_mask, _ = masked["masks"]
    one = {"style": pictures / "style.png", "masks": masked["masks"]}
    other = {"style": pictures / "tall.png", "masks": (photo_mask, str(pictures / "tall-red.png"))}
    both = {
        "style": (pictures / "style-left.png", pictures / "tall.png"),
        "masks": (photo_mask, str(pictures / "blue.png"), str(pictures / "tall-red.png")),
    }
    hard = {"feather": 0, "iterations": (0,)}
    left, right, mixed = (transfer(make("instant", **each, **hard)) for each in (one, other, both))
    torch.testing.assert_close(mixed.image[..., :COLUMN], left.image[..., :COLUMN])
    torch.testing.assert_close(mixed.image[..., COLUMN:], right.image[..., COLUMN:])
    assert [each.path.name for each in mixed.references] == ["style-left.png", "tall.png"]
    assert len(mixed.masks) == len(mixed.mask_paths) == 3


@pytest.mark.parametrize(
    "preset", ["instant", *(pytest.param(each, marks=pytest.mark.slow) for each in ("patches", "photoreal"))]
)
def test_weights_move_the_colours_from_one_reference_to_the_other(
    make: Callable[..., Config], pictures: Path, preset: str
) -> None:
    styles = (pictures / "style.png", pictures / "tall.png")
    settings = {"iterations": (0 if preset == "instant" else 5,), "weights": pictures / "narrow.pth"}
    results = [
        transfer(make(preset, style=styles, style_weights=weights, **settings))
        for weights in ((9.0, 1.0), (1.0, 1.0), (1.0, 9.0))
    ]
    first, second = (each.pixels for each in results[0].references)
    near = [
        mean_colour_distance(each.image, first) - mean_colour_distance(each.image, second) for each in results
    ]
    assert near[0] < near[1] < near[2]


def test_masks_are_one_for_each_picture(make: Callable[..., Config], masked: dict[str, Any]) -> None:
    style = make().style
    with pytest.raises(
        PhotostyleError, match="--masks takes 3 paths, CONTENT_MASK and one for each of 2 ref"
    ):
        transfer(make(style=style * 2, **masked))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"style": ()}, "--style is empty; name one"),
        ({"style_weights": (1.0, 2.0)}, "has 2 numbers for 1 references; give one each"),
        ({"style_weights": (0.0,)}, "leave out a reference of weight 0"),
        ({"style_weights": (math.inf,)}, "give positive numbers"),
    ],
)
def test_references_and_weights_that_do_not_fit_are_refused(
    make: Callable[..., Config], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(PhotostyleError, match=said):
        transfer(make(**changes))


def test_preserved_luminance_takes_the_references_colours_under_the_photos_light(
    make: Callable[..., Config],
) -> None:
    """Its mean chroma comes near; what brightness there is in the reference, half as dark, does not."""
    result = transfer(make("instant", iterations=(0,), preserve_luminance=True))
    ours, photo, reference = (
        rgb2lab(image.double().numpy(), channel_axis=0)
        for image in (result.image, result.photo.pixels, result.reference.pixels)
    )
    assert np.abs(ours[0] - photo[0]).max() < 0.005  # see test_lightness
    means = [np.array(each[1:].mean((1, 2))) for each in (ours, photo, reference)]
    assert np.linalg.norm(means[0] - means[2]) < 0.5 * np.linalg.norm(means[1] - means[2])


# People


@pytest.fixture(scope="module")
def astronaut() -> dict[str, Any]:
    """A portrait, a blue-green reference, and where the face is: within its oval, away from its border."""
    photo = data.astronaut()
    sea = np.stack(np.meshgrid(np.linspace(0, 255, 96), np.linspace(255, 128, 72)), -1).astype(np.uint8)
    reference = np.dstack((np.zeros_like(sea[..., 0]), sea[..., 1], sea[..., 0]))
    inside = np.zeros((512, 512), bool)
    inside[85:165, 195:255] = True
    return {"content": photo, "style": reference, "masks": "none", "device": "cpu"} | {"inside": inside}


def hue_shift(result: Result, inside: np.ndarray) -> tuple[float, np.ndarray]:
    """Degrees of CIELAB hue between the means over a part, and in each of its pixels that have a hue."""
    before, after = (
        rgb2lab(image.double().numpy(), channel_axis=0)[1:, inside]
        for image in (result.photo.pixels, result.image)
    )
    z, w = before[0] + 1j * before[1], after[0] + 1j * after[1]
    shifts = np.abs(np.degrees(np.angle(w * z.conj())))
    return float(np.abs(np.degrees(np.angle(w.mean() * z.mean().conj())))), shifts[np.abs(z) > 8]


@pytest.mark.parametrize("preset", ["instant", pytest.param("patches", marks=pytest.mark.slow)])
def test_a_face_keeps_its_hue_under_a_green_sea(astronaut: dict[str, Any], preset: str) -> None:
    given = dict(astronaut)
    inside = given.pop("inside")
    given |= {"size": 64, "coarsest": 64, "iterations": (2 if preset == "patches" else 0,)}
    said: list[str] = []
    kept = transfer(configure(preset, **given), say=said.append)
    mean, shifts = hue_shift(kept, inside)
    assert mean < 5 and np.percentile(shifts, 95) < 5
    assert kept.protected["skin"] == pytest.approx(0.07, abs=0.02)
    assert sum("skin found" in note and "--protect none" in note for note in said) == 1
    let_go = transfer(configure(preset, protect=("none",), **given))
    assert hue_shift(let_go, inside)[0] > 30 and let_go.protected == {}
    # Below the face, past its soft border, nothing knows of it.
    assert torch.equal(kept.image[:, 300:], let_go.image[:, 300:])


@pytest.mark.slow
def test_a_face_has_less_of_the_strength_in_no_other_way(astronaut: dict[str, Any]) -> None:
    """At strength 0 it is the photo; with the photo's luminance preserved it has that too."""
    given = {name: value for name, value in astronaut.items() if name != "inside"}
    nothing = transfer(configure("instant", strength=0.0, **given))
    torch.testing.assert_close(nothing.image, nothing.photo.pixels, rtol=0, atol=1e-4)
    same_light = transfer(configure("instant", preserve_luminance=True, **given))
    ours, photo = (
        rgb2lab(each.double().numpy(), channel_axis=0) for each in (same_light.image, same_light.photo.pixels)
    )
    assert np.abs(ours[0] - photo[0])[astronaut["inside"]].max() < 0.5


# Starts


def first_evaluation(config: Config) -> dict[str, float]:
    return transfer(config).trace[0]


@pytest.mark.slow
def test_a_start_from_the_photo_has_its_structure_and_not_its_style(make: Callable[..., Config]) -> None:
    content, colour, noise = (
        first_evaluation(make(start=start, iterations=(1,))) for start in ("content", "colour", "noise")
    )
    assert content["structure"] == pytest.approx(0, abs=1e-6)
    assert colour["patches"] < content["patches"]
    assert noise["structure"] > colour["structure"]


@pytest.mark.parametrize("start", ["content", "noise"])
def test_where_nothing_is_solved_the_start_does_not_matter(make: Callable[..., Config], start: str) -> None:
    closed = transfer(make(boldness=0.0))
    assert torch.equal(transfer(make(boldness=0.0, start=start)).image, closed.image)
    assert not closed.trace and not torch.equal(closed.image, closed.photo.pixels)


def test_nothing_is_fetched_for_a_closed_form(
    make: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "weights_for", lambda *_: pytest.fail("weights were asked for"))
    assert transfer(make("photoreal", boldness=0.0)).ended == "done"


def test_the_noise_start_depends_on_the_seed_alone(make: Callable[..., Config]) -> None:
    one, same, other = (
        transfer(make(start="noise", iterations=(0,), size=128, seed=seed)).image for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_start_from_a_file_is_that_picture(make: Callable[..., Config], pictures: Path) -> None:
    """With no evaluations the start is the result; the file has another size and is resized."""
    result = transfer(make(start="file", start_file=pictures / "style.png", iterations=(0,)))
    assert result.image.shape == (3, 96, 128)
    assert mean_colour_distance(result.image, result.reference.pixels) < 0.01


def test_a_start_from_a_file_needs_the_file_and_a_file_needs_the_start(
    make: Callable[..., Config], pictures: Path
) -> None:
    with pytest.raises(PhotostyleError, match="--start file needs --start-file PICTURE"):
        transfer(make(start="file"))
    with pytest.raises(PhotostyleError, match="--start is colour; add --start file"):
        transfer(make(start_file=pictures / "style.png"))


# With a network


def test_photoreal_adds_the_networks_terms(make: Callable[..., Config], pictures: Path) -> None:
    result = transfer(make("photoreal", weights=pictures / "narrow.pth"))
    grams = {f"gram relu{block}_1" for block in range(1, 6)}
    assert set(result.trace[0]) > grams | {"content", "patches", "structure", "photorealism"}
    assert result.weights is not None and result.weights.source == "file"


def test_gram_alone_brings_the_grams_nearer(
    make: Callable[..., Config], pictures: Path, masked: dict[str, Any]
) -> None:
    """From the photo with L-BFGS, 20 evaluations: half the distance is gone."""
    settings = {
        "weights": pictures / "narrow.pth",
        "gram_weight": 1.0,
        "patch_weight": 0.0,
        "texture_weight": 0.0,
        "start": "content",
    }
    trace = transfer(make(**settings, **masked, optimiser="lbfgs", iterations=(20,))).trace
    first, last = (
        sum(value for name, value in entry.items() if name.startswith("gram"))
        for entry in (trace[0], trace[-1])
    )
    assert last < 0.5 * first


def test_released_in_miniature_goes_its_two_stages(
    make: Callable[..., Config], pictures: Path, masked: dict[str, Any]
) -> None:
    """As published: noise, no photorealism before the second stage, style above all, at one size."""
    small = {"size": 64, "coarsest": 64, "first_pass": 20, "iterations": (5,), "smooth_radius": 3}
    result = transfer(make("released", weights=pictures / "narrow.pth", **masked, **small))
    assert [stage["evaluations"] for stage in stages_of(result)] == [20, 5]
    grams = {f"gram relu{block}_1" for block in range(1, 6)}
    assert set(result.trace[0]) == {"stage", "iteration", "seconds", "content", "variation"} | grams
    assert set(result.trace[-1]) == set(result.trace[0]) | {"photorealism"}
    style = [sum(value for name, value in entry.items() if name in grams) for entry in result.trace[:20]]
    assert style[-1] < 0.5 * style[0]


def test_a_term_that_needs_weights_without_weights_is_an_error(
    make: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsNotFound, match="no vgg19 weights"):
        transfer(make(gram_weight=1.0, download=False))


@pytest.mark.parametrize(
    "changes", [{"content_layers": ("relu9_9",)}, {"style_layers": ("relu1_1", "relu9_9")}]
)
def test_an_unknown_layer_is_refused_whether_or_not_it_is_used(
    make: Callable[..., Config], changes: dict[str, Any]
) -> None:
    with pytest.raises(PhotostyleError, match='vgg19 has no layer "relu9_9"'):
        transfer(make(**changes))


def test_nothing_to_minimise_is_an_error(make: Callable[..., Config]) -> None:
    nothing = {"patch_weight": 0.0, "texture_weight": 0.0, "structure_weight": 0.0}
    nothing |= {"consistency_weight": 0.0}
    bare = nothing | {"photorealism_weight": 0.0, "photorealism_coarse": (0.0,)}
    with pytest.raises(PhotostyleError, match="nothing to optimise"):
        transfer(make(**bare))
    with pytest.raises(PhotostyleError, match="--first-pass has no photorealism"):
        transfer(make(**nothing, first_pass=1))
    assert transfer(make(**bare, iterations=(0,))).ended == "done"


# Endings


def test_an_interrupt_leaves_the_picture_so_far(make: Callable[..., Config]) -> None:
    steps: list[Tensor] = []

    def watch(step: Step) -> None:
        steps.append(step.image.clone())
        if step.stage.number == 1 and step.iteration == 2:
            raise KeyboardInterrupt

    result = transfer(make(coarsest=64, size=128, iterations=(3, 5)), watch)
    assert result.ended == "interrupted"
    assert len(result.trace) == len(steps) == 5
    torch.testing.assert_close(result.image, steps[-1])  # this stage has the photo's size: no rendering


def test_an_interrupt_before_the_first_step_leaves_the_recoloured_photo(
    make: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    whole = transfer(make("instant", iterations=(0,)))
    monkeypatch.setattr(solver, "schedule", interrupt)
    result = transfer(make())
    assert result.ended == "interrupted" and result.trace == []
    torch.testing.assert_close(result.image, whole.image)


def broken_after(good_evaluations: int, value: float) -> Callable[..., Callable[[Tensor], Terms]]:
    """Makes an objective whose value is finite so many times, and then is not."""
    calls = count(1)

    def broken(image: Tensor) -> Terms:
        return {"patches": (image * (value if next(calls) > good_evaluations else 1.0)).sum()}

    return lambda stage, scene: broken


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_term_that_is_no_number_ends_the_run_with_the_last_good_picture(
    make: Callable[..., Config], value: float
) -> None:
    steps: list[Tensor] = []
    result = transfer(
        make(size=128, coarsest=128, optimiser="adam"),
        lambda step: steps.append(step.image.clone()),
        objective=broken_after(2, value),
    )
    assert "patches is not finite at evaluation 3 of stage 1 (128x96)" in result.ended
    assert "lower --learning-rate" in result.ended
    assert len(result.trace) == 2
    torch.testing.assert_close(result.image, steps[-1])


def test_a_run_that_breaks_at_once_gives_its_start(make: Callable[..., Config]) -> None:
    config = make(size=128, coarsest=128, start="content")
    result = transfer(config, objective=broken_after(0, math.nan))
    assert "evaluation 1" in result.ended
    torch.testing.assert_close(result.image, result.photo.pixels)


def test_a_full_memory_is_one_line_with_a_remedy(make: Callable[..., Config]) -> None:
    def exhaust(*arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee documentation")

    with pytest.raises(
        ComputationError, match=r"^out of memory at --size 64; try a smaller --size \(.*GiB\.\)$"
    ):
        transfer(make(), objective=exhaust)


# Bytes


def test_the_same_configuration_gives_the_same_picture(
    make: Callable[..., Config], masked: dict[str, Any], pictures: Path
) -> None:
    def run() -> Result:
        return transfer(make("photoreal", weights=pictures / "narrow.pth", **masked))

    one, two = run(), run()
    assert torch.equal(one.image, two.image)
    for ours, theirs in zip(one.trace, two.trace, strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


def test_another_seed_gives_another_picture(make: Callable[..., Config]) -> None:
    assert not torch.equal(transfer(make(seed=1)).image, transfer(make(seed=2)).image)


def test_a_device_that_is_not_there_is_refused(
    make: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PhotostyleError, match="finds no CUDA device here; use --device cpu or auto"):
        transfer(make(device="cuda"))
    assert transfer(make(device="auto")).device == "cpu"
