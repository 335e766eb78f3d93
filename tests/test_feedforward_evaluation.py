"""What a model is worth: the document's losses always, published scales in published networks alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data
from vgg import narrow_vgg

from photostyle.errors import PhotostyleError
from photostyle.feedforward.data import Pictures, as_pictures, square
from photostyle.feedforward.evaluation import Backbones, evaluate
from photostyle.feedforward.lpips import LAYERS, lpips
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.objective import BatchObjective, ObjectiveSettings
from photostyle.feedforward.settings import ModelSettings
from photostyle.losses.encoders import Encoder
from photostyle.networks.network import random_network
from photostyle.training.pictures import find_pictures


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    for name in ("chelsea", "coffee"):
        Image.fromarray(getattr(data, name)()).resize((60, 48)).save(tmp_path / f"{name}.png")
    return Pictures(find_pictures(tmp_path), 48)


def test_losses_are_means_over_every_content_in_every_style(pictures: Pictures) -> None:
    torch.manual_seed(0)
    model = StyleModel(ModelSettings(channels=2, blocks=1, dimension=4, style_network="small"))
    settings = ObjectiveSettings()
    objective = BatchObjective(settings, Encoder(narrow_vgg(), layers=settings.layers()))
    perceptual = (
        Encoder(narrow_vgg("vgg16"), "vgg16", layers=tuple(LAYERS)),
        dict.fromkeys(LAYERS, torch.ones(4)),
    )
    found = evaluate(model, pictures, pictures, objective, 32, Backbones(perceptual=perceptual))

    both = as_pictures(
        torch.stack([square(pictures[n], 32, 1.0, 0.5, 0.5) for n in (0, 1)]), torch.device("cpu")
    )
    contents, styles = both.repeat(2, 1, 1, 1), both.repeat_interleave(2, 0)
    with torch.no_grad():
        made = model(contents, model.style(styles))
        terms = objective.per_picture(made, contents, objective.style_targets(styles))
    for name in ("content", "style"):
        assert found[name] == pytest.approx(float(terms[name].mean()), rel=1e-4)
    assert found["LPIPS"] == pytest.approx(float(lpips(*perceptual, made, contents).mean()), rel=1e-4)
    assert (
        "FID" not in found and "ArtFID" not in found
    )  # there was no Inception: no figure, rather than a wrong one


def test_figures_in_random_backbones_are_refused() -> None:
    inception = replace(random_network("squeezenet1_1"), name="inception_v3")
    with pytest.raises(PhotostyleError, match="random"):
        Backbones(inception=inception)
