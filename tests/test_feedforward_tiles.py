"""A picture in tiles is the picture in one piece, across the tiles' borders too, and the tile's size says nothing."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from photostyle.feedforward.injection import INJECTIONS
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.settings import ModelSettings
from photostyle.feedforward.style import Style
from photostyle.feedforward.tiles import Moments, paint

TINY = ModelSettings(channels=4, blocks=1, dimension=8, style_network="small")


def pictures(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def model_and_style(settings: ModelSettings) -> tuple[StyleModel, Style]:
    torch.manual_seed(0)
    model = StyleModel(settings).eval().double()
    with torch.no_grad():
        return model, model.style(pictures(1, 3, 24, 31, seed=1))


@pytest.mark.parametrize(
    ("norm", "injection"),
    [
        (norm, name) if name == "inject" else pytest.param(norm, name, marks=pytest.mark.slow)
        for norm in ("instance", "none")
        for name in INJECTIONS
    ],
)
def test_tiles_of_every_size_make_the_picture_that_is_made_in_one_piece(injection, norm):
    model, style = model_and_style(replace(TINY, injection=injection, decoder_norm=norm))
    for height, width in ((33, 50), (34, 47), (36, 45), (20, 64)):  # every remainder by 4
        content = pictures(3, height, width)
        whole = model(content[None], style)[0].detach()
        for tile in (9, 16, 30):
            # float64, so that what a border would add (1e-3) and what rounding adds (1e-15) are far apart
            torch.testing.assert_close(
                paint(model.generator, content, style, tile), whole, atol=1e-12, rtol=0
            )


def test_there_are_seams_where_tiles_are_normalised_by_themselves():
    """What the tiles avoid is no small thing: the oracle above can fail."""
    model, style = model_and_style(TINY)
    content = pictures(3, 32, 64) * torch.linspace(0.1, 1, 64, dtype=torch.float64)
    whole = model(content[None], style)[0]
    halves = [model(part[None], style)[0] for part in content.split(32, 2)]
    assert (torch.cat(halves, 2) - whole).abs().max() > 1e-3


def test_a_small_picture_is_painted_in_one_piece():
    model, style = model_and_style(TINY)
    content = pictures(3, 16, 20)
    assert torch.equal(paint(model.generator, content, style, tile=20), model(content[None], style)[0])


def test_moments_gathered_piece_by_piece_are_those_of_the_whole():
    maps, norm = 5 + 0.1 * pictures(1, 3, 10, 12), nn.InstanceNorm2d(3, affine=True).double()
    with torch.no_grad():
        norm.weight.uniform_()
        norm.bias.uniform_()
    moments = Moments(3)
    for piece in (maps[..., :1, :], maps[..., 1:7, :5], maps[..., 1:7, 5:], maps[..., 7:, :]):
        moments.add(piece)
    torch.testing.assert_close(moments.mean, maps[0].mean((1, 2)))
    torch.testing.assert_close(moments.squares / moments.count, maps[0].var((1, 2), correction=0))
    torch.testing.assert_close(
        moments.normalise(maps, norm), F.instance_norm(maps, weight=norm.weight, bias=norm.bias)
    )


@pytest.mark.slow
def test_tiles_cost_half_as_much_again():
    # As the module says of Johnson et al.'s generator; a quarter of its channels changes that little.
    model, style = model_and_style(replace(TINY, channels=8, blocks=5))
    content = pictures(3, 256, 256)
    counted = []
    for tile in (256, 128):
        with FlopCounterMode(display=False) as counter:
            paint(model.generator, content, style, tile)
        counted.append(counter.get_total_flops())
    assert 1.4 < counted[1] / counted[0] < 1.9  # a halo of a tile of 128 is relatively four times one of 512
