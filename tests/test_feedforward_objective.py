"""The batch's objective is the mean of the single pictures' terms, which have their own tests."""

import pytest
import torch
from vgg import narrow_vgg

from photostyle.feedforward.objective import (
    BatchObjective,
    ObjectiveSettings,
    batch_grams,
    content_losses,
    gram_losses,
    variation_losses,
)
from photostyle.losses.content import content_loss
from photostyle.losses.encoders import Encoder
from photostyle.losses.gram import gram_loss, region_grams
from photostyle.losses.variation import variation_loss

# Means of float32 over some thousand numbers in another order: 1e-7 each, a few of them.
CLOSE = {"rtol": 2e-5, "atol": 1e-7}


def pictures(count: int, height: int, width: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def encoder_for(settings: ObjectiveSettings) -> Encoder:
    return Encoder(narrow_vgg(), layers=settings.layers())


def test_the_documents_weights_are_the_defaults() -> None:
    settings = ObjectiveSettings()
    assert (settings.content_weight, settings.style_weight, settings.variation_weight) == (1.0, 5.0, 1e-5)


@pytest.mark.parametrize("scale", ["relative", "released"])
def test_a_batch_costs_the_mean_of_its_pictures(scale: str) -> None:
    settings = ObjectiveSettings(feature_scale=scale)  # type: ignore[arg-type]
    encoder = encoder_for(settings)
    objective = BatchObjective(settings, encoder)
    made, contents, styles = pictures(3, 33, 40, 1), pictures(3, 33, 40, 2), pictures(3, 20, 28, 3)
    terms = objective(made, contents, objective.style_targets(styles))

    relative, singles = scale == "relative", {"content": 0.0, "style": 0.0, "variation": 0.0}
    for picture, content, style in zip(made, contents, styles, strict=True):
        ours, photo, theirs = encoder(picture), encoder(content), encoder(style)
        layer = settings.content_layer
        singles["content"] += 1.0 * float(content_loss(ours[layer], photo[layer], relative)) / 3
        for name in settings.style_layers:
            grams, targets = (
                region_grams(x[name], torch.ones(1, *x[name].shape[1:])) for x in (ours, theirs)
            )
            distance = float(gram_loss(grams, targets, torch.ones(1), relative))
            singles["style"] += 5.0 * distance / len(settings.style_layers) / 3
        singles["variation"] += 1e-5 * float(variation_loss(picture)) / 3
    for name, expected in singles.items():
        torch.testing.assert_close(float(terms[name].detach()), expected, **CLOSE)


def test_an_encoder_sees_a_batch_as_it_sees_each_picture() -> None:
    encoder = Encoder(narrow_vgg(), layers=("conv1_1", "relu3_1", "pool4"))
    batch = pictures(3, 37, 50, 4)
    together = encoder(batch)
    for number, picture in enumerate(batch):
        for name, alone in encoder(picture).items():
            torch.testing.assert_close(together[name][number], alone, **CLOSE)


def test_what_is_at_its_target_costs_nothing_and_pulls_nowhere() -> None:
    settings = ObjectiveSettings(variation_weight=0.0)
    objective = BatchObjective(settings, encoder_for(settings))
    picture = pictures(2, 32, 32, 5).requires_grad_()
    terms = objective(picture, picture.detach(), objective.style_targets(picture.detach()))
    torch.stack(list(terms.values())).sum().backward()
    assert all(float(term.detach()) == 0 for term in terms.values())
    assert picture.grad is not None
    assert float(picture.grad.abs().max()) == 0


def test_each_picture_is_pulled_by_its_own_style_alone() -> None:
    settings = ObjectiveSettings(content_weight=0.0, variation_weight=0.0)
    objective = BatchObjective(settings, encoder_for(settings))
    made, contents, styles = pictures(2, 32, 32, 6), pictures(2, 32, 32, 7), pictures(2, 32, 32, 8)
    kept, changed = styles.clone(), styles.clone()
    changed[1] = changed[1].flip(0) * 0.5
    losses = [
        objective.per_picture(made, contents, objective.style_targets(each))["style"]
        for each in (kept, changed)
    ]
    assert float(losses[0][0]) == pytest.approx(float(losses[1][0]), rel=1e-6)
    assert float(losses[0][1]) != pytest.approx(float(losses[1][1]), rel=1e-2)


def test_the_gradients_are_those_of_the_losses() -> None:
    made = torch.rand(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    other = made.flip(0) * 0.7

    def total(x: torch.Tensor) -> torch.Tensor:
        grams = gram_losses(batch_grams(x), batch_grams(other), relative=True)
        return grams + content_losses(x, other, relative=True) + variation_losses(x)

    assert torch.autograd.gradcheck(total, made.requires_grad_())


def test_gram_matrices_stay_in_float32_under_autocast() -> None:
    features = torch.rand(2, 5, 6, 7)
    expected = torch.einsum("bchw,bdhw->bcd", features, features) / 210
    with torch.autocast("cpu", torch.bfloat16):
        assert batch_grams(features.bfloat16()).dtype == torch.float32
        torch.testing.assert_close(batch_grams(features), expected, **CLOSE)
