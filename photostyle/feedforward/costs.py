"""What a model costs: its parameters, and the multiply-adds of one picture."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from photostyle.feedforward.generator import Generator, Layer, ResidualBlock
from photostyle.feedforward.injection import PATCH, Inject, Patch
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.settings import ModelSettings
from photostyle.networks.published import module_of


@dataclass(frozen=True)
class Costs:
    """generator, encoder: parameters. multiply_adds: of painting one picture whose style is known already."""

    generator: int
    encoder: int
    multiply_adds: int


def costs_of(settings: ModelSettings, side: int, style_side: int) -> Costs:
    """Of a model, painting side x side pixels; style_side is that of the style picture, which only patches ask for."""
    with torch.device("meta"):
        model = StyleModel(settings, inception=module_of("inception_v3", 1, initialised=False))
    patches = (math.ceil(style_side / 4) - PATCH + 1) ** 2
    return Costs(
        generator=_parameters(model.generator),
        encoder=0 if model.encoder is None else _parameters(model.encoder),
        multiply_adds=_multiply_adds(model.generator, side, patches),
    )


def _multiply_adds(generator: Generator, side: int, patches: int) -> int:
    """Products of weights with values; normalisations and activations are left out, as is usual."""
    half = math.ceil(side / 2)
    quarter = math.ceil(half / 2)
    layers = [each for each in (*generator.down, *generator.up) if isinstance(each, Layer)]
    outputs = (side, half, quarter, half, side, side)
    total = sum(
        cells**2 * layer.convolution.weight.numel() for layer, cells in zip(layers, outputs, strict=True)
    )
    blocks = [each for each in generator.blocks if isinstance(each, ResidualBlock)]
    return total + sum(_of_block(each, quarter**2, patches) for each in blocks)


def _of_block(block: ResidualBlock, cells: int, patches: int) -> int:
    total = sum(cells * _weights(each) for each in block.convolutions)
    for each in block.injections:
        if isinstance(each, Patch):
            total += cells * (_weights(each.merge) + patches * each.channels * PATCH**2)
        else:  # of z alone, once for all cells
            total += _weights(each.shift) if isinstance(each, Inject) else _linear(each)
    return total


def _linear(module: nn.Module) -> int:
    return sum(_weights(each) for each in module.modules() if isinstance(each, nn.Linear))


def _weights(module: nn.Module) -> int:
    weight = module.get_parameter("weight")
    return weight.numel()


def _parameters(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())
