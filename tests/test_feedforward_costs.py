"""What a model is said to cost is what torch counts."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from photostyle.feedforward.costs import costs_of
from photostyle.feedforward.injection import INJECTIONS
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.settings import ModelSettings

SETTINGS = ModelSettings(channels=3, blocks=2, dimension=5, style_network="small")


@pytest.mark.parametrize("injection", INJECTIONS)
@pytest.mark.parametrize("side", [32, 37])
def test_multiply_adds_and_parameters_are_those_that_torch_counts(injection, side):
    settings = replace(SETTINGS, injection=injection)
    model = StyleModel(settings).eval()
    with torch.no_grad():
        style = model.style(torch.rand(1, 3, 24, 24))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.rand(1, 3, side, side), style)
    costs = costs_of(settings, side, 24)
    assert 2 * costs.multiply_adds == counter.get_total_flops(), "a multiply-add is two operations"
    assert costs.generator + costs.encoder == sum(each.numel() for each in model.parameters())
    assert (costs.encoder == 0) == (injection == "patch")
