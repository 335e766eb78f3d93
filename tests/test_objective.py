"""A stage's objective: which terms there are, what each weight does, and that they are the losses."""

import pytest
import torch
from torch import Tensor
from vgg import narrow_vgg

from photostyle.config import TERMS, Recipe
from photostyle.errors import PhotostyleError
from photostyle.imaging.filters import halve, luma, resize
from photostyle.imaging.matting import MattingOperator
from photostyle.losses.content import content_loss
from photostyle.losses.encoders import Encoder
from photostyle.losses.gram import Gram, gram_loss, region_grams
from photostyle.losses.structure import structure_loss
from photostyle.losses.term import Term
from photostyle.losses.texture import FILTERS, FIXED_DRAWS, directions
from photostyle.losses.variation import variation_loss
from photostyle.objective import Objective, feature_layers
from photostyle.regions.guidance import carry_masks
from photostyle.regions.mixture import alone
from photostyle.scene import Scene, Stage

LAYERS = ("relu1_1", "relu2_1")
WEIGHTS = [(term, name) for term in TERMS for name in term.weights]
NOTHING = {name: () if isinstance(getattr(Recipe, name), tuple) else 0.0 for _, name in WEIGHTS} | {
    "content_layers": ("relu2_2",),
    "style_layers": LAYERS,
}
STAGE = Stage(number=0, long_side=60, height=40, width=60, iterations=10, photorealism=True)
FIRST_PASS = Stage(number=0, long_side=60, height=40, width=60, iterations=10, photorealism=False)


def recipe(**settings) -> Recipe:
    """Every weight zero but those given."""
    return Recipe(**{**NOTHING, **settings})


@pytest.fixture(scope="module")
def scene(coffee: Tensor, chelsea: Tensor) -> Scene:
    ours, theirs = torch.zeros(2, 40, 60), torch.zeros(2, 36, 50)
    ours[0, :, :25], ours[1, :, 25:], theirs[0, :20], theirs[1, 20:] = 1, 1, 1, 1
    return Scene(resize(coffee, 40, 60), ours, alone(resize(chelsea, 36, 50), theirs))


@pytest.fixture(scope="module")
def image(coffee: Tensor) -> Tensor:
    return 1 - resize(coffee, 40, 60)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(narrow_vgg(count=4), layers=(*LAYERS, "relu2_2"))


def terms(scene: Scene, image: Tensor, encoder: Encoder | None = None, stage: Stage = STAGE, **settings):
    return Objective(recipe(**settings), stage, scene, encoder)(image)


def one(value: float, name: str) -> float | tuple[float, ...]:
    """A weight's value as its field has it."""
    return (value,) if isinstance(getattr(Recipe, name), tuple) else value


@pytest.mark.parametrize(("term", "weight"), WEIGHTS)
def test_there_is_a_term_for_every_weight_and_no_other(
    scene: Scene, image: Tensor, encoder: Encoder, term: type[Term], weight: str
):
    used = encoder if term.layers(recipe()) else None
    assert {name.split()[0] for name in terms(scene, image, used, **{weight: one(1.0, weight)})} == {
        term.name
    }


def test_without_a_weight_there_is_no_term(scene: Scene, image: Tensor, encoder: Encoder):
    assert terms(scene, image, encoder) == {}
    assert set(terms(scene, image, encoder, gram_weight=1.0)) == {"gram relu1_1", "gram relu2_1"}


def test_a_term_that_compares_features_asks_for_an_encoder(scene: Scene, image: Tensor):
    with pytest.raises(PhotostyleError, match="the term gram compares features; give an encoder"):
        terms(scene, image, gram_weight=1.0)


def test_an_evaluation_asks_the_network_once_and_the_next_one_again(
    scene: Scene, image: Tensor, encoder: Encoder
):
    """An optimiser changes its image in place: what was computed for it before is not true of it any more."""
    asked = []

    class Counted:
        plan = encoder.plan

        def __call__(self, picture: Tensor) -> dict[str, Tensor]:
            asked.append(picture)
            return encoder(picture)

    both = recipe(gram_weight=1.0, content_weight=1.0)
    objective, moving = Objective(both, STAGE, scene, Counted()), image.clone()
    asked.clear()
    first = objective(moving)
    assert len(asked) == 1
    moving.mul_(0.5)
    second = objective(moving)
    assert len(asked) == 2 and second["content"] != first["content"]


def test_the_parts_of_a_term_add_up_to_it(scene: Scene, image: Tensor, encoder: Encoder):
    term = Gram(recipe(gram_weight=2.0), STAGE, scene, encoder)
    parts = torch.stack([part(image) for part in term.parts().values()])
    torch.testing.assert_close(term(image), parts.sum())


@pytest.mark.parametrize(("term", "weight"), WEIGHTS)
def test_terms_are_proportional_to_their_weight(
    scene: Scene, image: Tensor, encoder: Encoder, term: type[Term], weight: str
):
    used = encoder if term.layers(recipe()) else None
    once, thrice = (terms(scene, image, used, **{weight: one(value, weight)}) for value in (0.5, 1.5))
    for name, value in once.items():
        assert thrice[name].item() == pytest.approx(3 * value.item(), rel=1e-5)
        assert value.item() > 0


def test_only_content_and_gram_need_an_encoder_and_only_their_layers():
    assert feature_layers(recipe(patch_weight=1.0)) == ()
    assert feature_layers(recipe(content_weight=1.0)) == ("relu2_2",)
    assert feature_layers(recipe(gram_weight=1.0)) == LAYERS
    assert feature_layers(recipe(gram_weight=1.0, content_weight=1.0)) == ("relu2_2", *LAYERS)


@pytest.mark.parametrize("scale", ["relative", "released"])
def test_feature_terms_are_the_losses_of_carried_masks(
    scene: Scene, image: Tensor, encoder: Encoder, scale: str
):
    result = terms(scene, image, encoder, gram_weight=2.0, content_weight=3.0, feature_scale=scale)
    features, content, style = encoder(image), encoder(scene.content), encoder(scene.style)
    ours, theirs = (carry_masks(m, encoder.plan) for m in (scene.content_masks, scene.style_masks))
    squared = scale == "released"
    loss = content_loss(features["relu2_2"], content["relu2_2"], relative=not squared)
    assert result["content"].item() == pytest.approx(3 * loss.item())
    for layer in LAYERS:
        loss = gram_loss(
            region_grams(features[layer], ours[layer], squared),
            region_grams(style[layer], theirs[layer], squared),
            ours[layer].mean((1, 2)),
            relative=not squared,
        )
        assert result[f"gram {layer}"].item() == pytest.approx(2 * loss.item())


def test_content_costs_nothing_at_the_photo(scene: Scene, encoder: Encoder):
    assert terms(scene, scene.content, encoder, content_weight=1.0)["content"].item() == 0


def test_structure_compares_with_the_photos_luma(scene: Scene, image: Tensor):
    loss = structure_loss(image, luma(scene.content), 5)
    ours = terms(scene, image, structure_weight=2.0, structure_window=5)["structure"]
    assert ours.item() == pytest.approx(2 * loss.item())
    assert terms(scene, scene.content, structure_weight=1.0)["structure"].item() == pytest.approx(0, abs=1e-5)


def test_the_structure_window_is_never_larger_than_the_picture(scene: Scene, image: Tensor):
    largest, beyond = (
        terms(scene, image, structure_weight=1.0, structure_window=side)["structure"].item()
        for side in (40, 99)
    )
    assert beyond == largest


def test_energies_are_means_or_sums_over_pixels(scene: Scene, image: Tensor):
    weights = {"variation_weight": 1.0, "photorealism_weight": 1.0}
    mean, total = (terms(scene, image, **weights, energies=kind) for kind in ("mean", "sum"))
    for name in ("variation", "photorealism"):
        assert total[name].item() == pytest.approx(40 * 60 * mean[name].item(), rel=1e-5)
    assert total["variation"].item() == pytest.approx(variation_loss(image).item())


def test_matting_energies_are_means_over_the_pixels_of_their_own_scale(scene: Scene, image: Tensor):
    weights = {"photorealism_weight": 2.0, "photorealism_coarse": (3.0,), "photorealism_luma": 1.0}
    for what, seen in (("picture", image), ("change", image - scene.kept)):
        fine = MattingOperator.of(scene.content, 1e-4).energy(seen).item()
        coarse = MattingOperator.of(halve(scene.content), 1e-4).energy(halve(seen)).item()
        ours = terms(scene, image, photorealism_epsilon=1e-4, photorealism_of=what, **weights)
        assert ours["photorealism"].item() == pytest.approx(2 * fine / 2400 + 3 * coarse / 600, rel=1e-5)


def test_what_the_closed_form_leaves_as_it_was_costs_nothing(scene: Scene):
    """Where reference and photo are one, the closed form is the photo, and the photo is free."""
    same = Scene.of(scene.content, scene.content)
    weights = {"photorealism_weight": 1.0, "photorealism_coarse": (1.0,), "consistency_weight": 1.0}
    free, released = (
        terms(same, same.content, photorealism_of=of, **weights) for of in ("change", "picture")
    )
    # The maps that are the identity are so to the rounding of float32.
    assert free["photorealism"] < 1e-6 * released["photorealism"]
    assert free["consistency"] < 1e-10


def test_coarse_scales_work_without_the_fine_one(scene: Scene, image: Tensor):
    alone, both = (
        terms(scene, image, photorealism_weight=weight, photorealism_coarse=(1.0,))["photorealism"].item()
        for weight in (0.0, 1.0)
    )
    assert 0 < alone < both


def test_scales_of_fewer_than_eight_pixels_are_left_out(scene: Scene, image: Tensor):
    # 40 x 60 halves to 20 x 30, 10 x 15 and 5 x 7: the last is too small to say anything.
    three, many = (
        terms(scene, image, photorealism_weight=1.0, photorealism_coarse=(1.0,) * n)["photorealism"].item()
        for n in (2, 6)
    )
    assert many == three


def test_the_first_pass_has_no_photorealism(scene: Scene, image: Tensor):
    weights = {"photorealism_weight": 1.0, "photorealism_coarse": (1.0,), "structure_weight": 1.0}
    assert set(terms(scene, image, stage=FIRST_PASS, **weights)) == {"structure"}


@pytest.mark.parametrize(("weight", "name"), [("patch_weight", "patches"), ("texture_weight", "texture")])
def test_adam_sees_new_filters_at_every_evaluation_and_lbfgs_the_same_ones(
    scene: Scene, image: Tensor, weight: str, name: str
):
    def three_evaluations(optimiser: str) -> list[float]:
        objective = Objective(recipe(**{weight: 1.0}, optimiser=optimiser, patch_draws=4), STAGE, scene, None)
        return [objective(image)[name].item() for _ in range(3)]

    assert len(set(three_evaluations("adam"))) == 3
    assert len(set(three_evaluations("lbfgs"))) == 1
    if name == "texture":
        # What stays the same has to see every one of the sixteen moduli.
        assert torch.linalg.matrix_rank(directions(FIXED_DRAWS, torch.Generator())) == FILTERS
    # And the draws are the seed's: the whole sequence comes again.
    assert three_evaluations("adam") == three_evaluations("adam")


def test_every_term_has_a_gradient_that_reaches_the_image(scene: Scene, image: Tensor, encoder: Encoder):
    weights = {name: one(1.0, name) for _, name in WEIGHTS}
    leaf = image.clone().requires_grad_()
    for name, value in terms(scene, leaf, encoder, **weights).items():
        (gradient,) = torch.autograd.grad(value, leaf, retain_graph=True)
        assert gradient.isfinite().all() and gradient.any(), name
