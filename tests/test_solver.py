"""The one loop: what it starts from, what each stage begins with, and objectives that come from outside."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from photostyle import TERMS, Objective, Recipe, Scene, Stage, Term, recipe, schedule, solve
from photostyle.errors import PhotostyleError
from photostyle.imaging.filters import resize
from photostyle.imaging.rendering import enlarge
from photostyle.regions.canvas import feather, noise, recolour
from photostyle.solver import colour_maps, staged, starting

QUICK = {"size": 96, "coarsest": 48, "iterations": (3, 2)}


@pytest.fixture(scope="module")
def scene(coffee: Tensor, chelsea: Tensor) -> Scene:
    """Two regions, of a photo of 64x96 and a reference of 60x80."""
    ours, theirs = torch.zeros(2, 64, 96), torch.zeros(2, 60, 80)
    ours[0, :, :40], ours[1, :, 40:], theirs[0, :30], theirs[1, 30:] = 1, 1, 1, 1
    return Scene.of(resize(coffee, 64, 96), resize(chelsea, 60, 80), ours, theirs)


def pull(stage: Stage, scene: Scene):
    """An objective of one's own: towards white."""
    return lambda image: {"white": (1 - image).square().mean()}


# The loop


def test_there_is_a_step_for_every_evaluation_of_every_stage(scene: Scene):
    steps = [
        (step.stage.number, step.iteration, tuple(step.image.shape)) for step in solve(scene, recipe(**QUICK))
    ]
    small, large = (3, 32, 48), (3, 64, 96)
    assert steps == [(0, 1, small), (0, 2, small), (0, 3, small), (1, 1, large), (1, 2, large)]


@pytest.mark.slow
def test_an_objective_from_outside_is_what_is_minimised(scene: Scene):
    steps = list(solve(scene, recipe(**QUICK | {"iterations": (40,)}), pull))
    assert set(steps[0].losses) == {"white"}
    assert steps[-1].losses["white"] < 0.2 * steps[0].losses["white"]


def test_it_is_asked_for_at_each_stage_with_the_scene_at_its_size(scene: Scene):
    asked = []

    def make(stage: Stage, small: Scene):
        asked.append((stage.number, small.content.shape, [each.image.shape for each in small.references]))
        return pull(stage, small)

    list(solve(scene, recipe(**QUICK), make))
    assert asked == [(0, (3, 32, 48), [(3, 36, 48)]), (1, (3, 64, 96), [(3, 60, 80)])]


def test_a_stage_begins_where_the_one_before_ended_carried_to_its_size(scene: Scene):
    seen: list[Tensor] = []

    def make(stage: Stage, small: Scene):
        def objective(image: Tensor):
            seen.append(image.detach().clone())
            return pull(stage, small)(image)

        return objective

    steps = [step.image.clone() for step in solve(scene, recipe(**QUICK), make)]
    first = next(each for each in seen if each.shape != seen[0].shape)
    torch.testing.assert_close(first, enlarge(scene.content, steps[2]))


def test_without_evaluations_there_is_no_step(scene: Scene):
    assert list(solve(scene, recipe("instant"))) == []


def test_stages_of_one_s_own_are_taken_as_they_are(scene: Scene):
    once = [(Stage(4, 96, 64, 96, 2, True), scene)]
    assert [step.stage.number for step in solve(scene, recipe(**QUICK), pull, stages=once)] == [4, 4]


def test_numbers_out_of_range_are_refused_before_the_first_step(scene: Scene):
    with pytest.raises(PhotostyleError, match="--learning-rate is 7"):
        next(solve(scene, recipe(learning_rate=7.0)))


def test_the_stages_are_the_schedules(scene: Scene):
    settings = recipe(**QUICK)
    assert [stage for stage, _ in staged(scene, settings)] == list(schedule(settings, 64, 96))


def test_process_state_is_left_alone(scene: Scene):
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.random.get_rng_state(),
    )
    list(solve(scene, recipe(**QUICK)))
    assert before[:2] == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    assert torch.equal(before[2], torch.random.get_rng_state())


# Where it starts


def first(scene: Scene, **settings) -> Tensor:
    return starting(scene, recipe(**settings))(scene)


def test_the_content_start_is_a_copy_of_the_photo(scene: Scene):
    canvas = first(scene, start="content")
    assert torch.equal(canvas, scene.content)
    canvas.zero_()
    assert scene.content.any()


def test_the_colour_start_is_the_feathered_recolouring(scene: Scene):
    photo, masks = scene.content, scene.content_masks
    expected = recolour(photo, feather(photo, masks, 5), colour_maps(scene))
    canvas = first(scene, feather=5)
    assert torch.equal(canvas, expected) and canvas.is_contiguous() and canvas.dtype == torch.float32


def test_the_noise_start_is_the_seed_s(scene: Scene):
    assert torch.equal(first(scene, start="noise", seed=3), noise(scene.content, 3))


def test_a_picture_to_start_from_is_resized(scene: Scene, chelsea: Tensor):
    canvas = starting(scene, recipe(start="file"), chelsea)(scene)
    torch.testing.assert_close(canvas, resize(chelsea, 64, 96))


def test_a_picture_that_was_not_given_is_asked_for(scene: Scene):
    with pytest.raises(PhotostyleError, match="--start-file"):
        first(scene, start="file")


def test_a_start_of_one_s_own_is_given_the_scene_at_the_first_stage(scene: Scene):
    steps = solve(scene, recipe(**QUICK), pull, start=lambda small: torch.zeros_like(small.content))
    assert next(steps).losses["white"] == 1


# Terms from outside the package


@dataclass(frozen=True)
class WarmthSettings:
    warmth_weight: float = 0.0
    """warmth: how much redder than blue a picture is"""


class Warmth(Term):
    """Red over blue."""

    name = "warmth"
    weights = ("warmth_weight",)

    def __init__(self, recipe, stage, scene, encoder):
        self.weight = recipe.warmth_weight

    def __call__(self, image):
        return self.weight * (image[2] - image[0]).mean().add(1).square()


@dataclass(frozen=True)
class WarmRecipe(WarmthSettings, Recipe):
    pass


def test_a_term_from_outside_joins_the_library_s(scene: Scene):
    def steps(weight: float):
        warm = WarmRecipe(**QUICK, warmth_weight=weight)
        every = (*TERMS, Warmth)
        return list(solve(scene, warm, lambda stage, small: Objective(warm, stage, small, terms=every)))

    cold, warm = steps(0.0), steps(5.0)
    assert set(warm[0].losses) - set(cold[0].losses) == {"warmth"}
    redder = warm[-1].image[0].mean() - warm[-1].image[2].mean()
    assert redder > cold[-1].image[0].mean() - cold[-1].image[2].mean() + 0.01


# Scenes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"content": torch.zeros(1, 64, 96)},
            r"the content is \(1, 64, 96\) of torch.float32; expected \(3, height",
        ),
        (
            {"content_masks": torch.ones(2, 64, 95)},
            r"the masks of the content are .*expected \(regions, 64, 96\)",
        ),
        ({"content_masks": torch.ones(3, 64, 96)}, "reference 1 has 2 masks but the content 3"),
        ({"references": ()}, "no reference"),
        ({"content": torch.zeros(3, 64, 96, dtype=torch.uint8)}, "of torch.uint8; expected .* floats"),
    ],
)
def test_pictures_and_masks_that_do_not_belong_together_are_refused(scene: Scene, changes, said: str):
    parts = {"content": scene.content, "content_masks": scene.content_masks, "references": scene.references}
    with pytest.raises(PhotostyleError, match=said):
        Scene(**parts | changes)


def test_without_masks_a_picture_is_one_region(scene: Scene):
    bare = Scene.of(scene.content, scene.style)
    assert torch.equal(bare.content_masks, torch.ones(1, 64, 96)) and torch.equal(
        bare.style_masks, torch.ones(1, 60, 80)
    )
