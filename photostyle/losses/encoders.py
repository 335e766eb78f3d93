"""VGG-16 and VGG-19 features by layer name (Simonyan & Zisserman, ICLR 2015), no deeper than asked for.

Layers are named as the field names them: conv1_1, relu1_1, conv1_2, …, pool1, …, pool5. Two departures from
torchvision's VGG: pooling rounds an odd side up (as Caffe did under Luan et al.'s released code; torchvision
rounds down), and it can be an average (Gatys et al. 2015).
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from photostyle.errors import PhotostyleError, did_you_mean
from photostyle.imaging.filters import IMAGENET_DEVIATION, IMAGENET_MEAN
from photostyle.losses.precision import DTYPES, Precision
from photostyle.losses.weights import BLOCKS, convolutions

NetworkInput = Literal["imagenet", "caffe"]

# What Caffe's VGG, and so Keras's, was trained on: the mean colour of ImageNet, blue, green, red of 255 levels
# (VGG_ILSVRC_19_layers: Simonyan & Zisserman's model card; keras.applications.imagenet_utils).
CAFFE_MEAN = (103.939, 116.779, 123.68)
CAFFE_LEVELS = 255.0
# Mean and deviation, red, green, blue, of an image in [0, 1].
INPUTS: dict[NetworkInput, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_DEVIATION),
    "caffe": (tuple(each / CAFFE_LEVELS for each in reversed(CAFFE_MEAN)), (1 / CAFFE_LEVELS,) * 3),
}
# How much larger than torchvision's input Caffe's is: levels a mean deviation of ImageNet, 57.6.
CAFFE_SCALE = CAFFE_LEVELS * sum(IMAGENET_DEVIATION) / 3

# The channels of a pixel side by side: what the processor's convolutions compute in, and what a Gram matrix multiplies.
LAYOUT = torch.channels_last


class Features(Protocol):
    """What terms and scores ask of an encoder: features by layer, and how masks are carried to them."""

    plan: tuple[tuple[Literal["conv", "pool"], str], ...]

    def __call__(self, image: Tensor, /) -> Mapping[str, Tensor]:
        """Features (C, h, w) of an image (3, H, W) by layer name."""
        ...


class UnknownLayer(PhotostyleError):
    """A layer name that the architecture does not have."""


def layer_names(architecture: str = "vgg19") -> tuple[str, ...]:
    """Every layer of the architecture ("vgg16" or "vgg19"), from the input on."""
    names = []
    for name in convolutions(architecture):
        block, number = name.removeprefix("conv").split("_")
        names += [name, name.replace("conv", "relu")]
        if int(number) == BLOCKS[architecture][int(block) - 1]:
            names.append(f"pool{block}")
    return tuple(names)


class Encoder(nn.Module):
    """A frozen VGG: image (3, H, W), sRGB in [0, 1] → {layer: features (C, h, w)} for the layers asked for.

    Of a batch (B, 3, H, W) the features are (B, C, h, w).

    state: "features.N.weight" and "features.N.bias" (weights.Weights.state); it decides the channel widths.
    pooling: "max" (the trained network's) or "average"; 2×2, stride 2, half a window at an odd side.
    plan: what happens to the picture up to the cut, ("conv", "relu1_1"), …, ("pool", "pool1"), …: masks are
    carried by it (guidance.carry_masks).
    network_input: what the first convolution sees: "imagenet", RGB less ImageNet's mean over its deviation, or "caffe",
    BGR of 255 levels less the mean colour. The state is torchvision's either way; for Caffe's input it is converted
    (`for_caffe_input`), and features are CAFFE_SCALE times as large.
    precision: what it computes in, "float32" or "bfloat16"; features come in the image's own type.
    Convolutions pad with zeros. Any side from 1 px on works, since no pool rounds down to nothing.
    Raises UnknownLayer for a name the architecture lacks, PhotostyleError where the state ends too early.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        state: Mapping[str, Tensor],
        architecture: str = "vgg19",
        *,
        layers: Sequence[str],
        pooling: Literal["max", "average"] = "max",
        precision: Precision = "float32",
        network_input: NetworkInput = "imagenet",
    ) -> None:
        super().__init__()
        if pooling not in ("max", "average"):
            raise PhotostyleError(f'unknown pooling "{pooling}": give max or average')
        if precision not in DTYPES:
            raise PhotostyleError(f'unknown precision "{precision}": give float32 or bfloat16')
        if network_input not in INPUTS:
            raise PhotostyleError(f'unknown network input "{network_input}": give {" or ".join(INPUTS)}')
        self.layers = tuple(layers)
        self.pooling = pooling
        self.precision = precision
        self.steps = layers_down_to(architecture, self.layers)
        self.plan = tuple(_planned(name) for name in self.steps if not name.startswith("relu"))
        self.network_input = network_input
        positions = _positions(state, architecture, self.steps)
        if network_input == "caffe":
            state = for_caffe_input(state)
        dtype = DTYPES[precision]
        mean, deviation = INPUTS[network_input]
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None], persistent=False)
        weights = {name: state[f"features.{n}.weight"] for name, n in positions.items()}
        self.weights = _frozen({name: x.to(dtype, memory_format=LAYOUT) for name, x in weights.items()})
        self.biases = _frozen({name: state[f"features.{n}.bias"].to(dtype) for name, n in positions.items()})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features of one image, or of a batch; gradients reach the images, never the network."""
        features = {}
        dtype = self.weights[self.steps[0]].dtype
        alone = image.dim() == 3
        x = self.seen(image[None] if alone else image).to(dtype, memory_format=LAYOUT)
        for name in self.steps:
            x = self._step(name, x)
            if name in self.layers:
                # Not x[0], whose way back is a picture of zeros and a copy.
                features[name] = (x.squeeze(0) if alone else x).to(image.dtype)
        return {name: features[name] for name in self.layers}

    def seen(self, image: Tensor) -> Tensor:
        """What the first convolution is given of an image (3, H, W), or of a batch, in [0, 1]."""
        x = (image - self.mean) / self.deviation
        return x.flip(-3) if self.network_input == "caffe" else x

    def _step(self, name: str, x: Tensor) -> Tensor:
        if name.startswith("pool"):
            pool = functional.max_pool2d if self.pooling == "max" else functional.avg_pool2d
            return pool(x, kernel_size=2, stride=2, ceil_mode=True)
        if name.startswith("relu"):
            # In place halves the memory; a convolution that was asked for must keep its negative values.
            return functional.relu(x, inplace=name.replace("relu", "conv") not in self.layers)
        return functional.conv2d(x, self.weights[name], self.biases[name], padding=1)


def for_caffe_input(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's VGG as a network of Caffe's input, whose features are CAFFE_SCALE times as large.

    With s = CAFFE_SCALE, x and y the two inputs and x_c = (y_c + a_c) / d_c, the first convolution W x + b becomes
    s (W / d) y + s (b + sum W a / d). What follows is homogeneous (ReLU and pools), so that deeper biases are s times
    as large and nothing else changes. Exact, but for the zeros around a picture, which differ by half a level.
    """
    weight, bias = state["features.0.weight"], state["features.0.bias"]
    levels = CAFFE_LEVELS * weight.new_tensor(IMAGENET_DEVIATION)
    offset = weight.new_tensor(CAFFE_MEAN).flip(0) - CAFFE_LEVELS * weight.new_tensor(IMAGENET_MEAN)
    kernels = weight / levels[:, None, None]
    shifted = bias + (kernels * offset[:, None, None]).sum((1, 2, 3))
    converted = {key: CAFFE_SCALE * value if key.endswith(".bias") else value for key, value in state.items()}
    return converted | {
        "features.0.weight": CAFFE_SCALE * kernels.flip(1),
        "features.0.bias": CAFFE_SCALE * shifted,
    }


def layers_down_to(architecture: str, layers: Sequence[str]) -> tuple[str, ...]:
    """The layers from the input to the deepest one asked for; raises as `Encoder` does."""
    names = layer_names(architecture)
    if not layers:
        raise PhotostyleError(f"no layers asked for: name some of {architecture}'s, such as relu4_2")
    for layer in layers:
        if layer not in names:
            hint = did_you_mean(layer, names, 'did you mean "{}"?')
            hint = hint or f"they go from {names[0]} to {names[-1]}"
            raise UnknownLayer(f'{architecture} has no layer "{layer}": {hint}')
    return names[: 1 + max(names.index(layer) for layer in layers)]


def _planned(name: str) -> tuple[Literal["conv", "pool"], str]:
    return ("pool", name) if name.startswith("pool") else ("conv", name.replace("conv", "relu"))


def _positions(state: Mapping[str, Tensor], architecture: str, steps: Sequence[str]) -> dict[str, int]:
    """Where the convolutions among the steps stand in the state; all of them have to be in it."""
    positions = {name: n for name, n in convolutions(architecture).items() if name in steps}
    held = [name for name, n in positions.items() if f"features.{n}.weight" in state]
    if missing := [name for name in positions if name not in held]:
        end = held[-1] if held else "nothing"
        raise PhotostyleError(
            f'"{steps[-1]}" needs {missing[0]} but the {architecture} weights end at {end}: '
            "ask for shallower layers or give the full weights"
        )
    return positions


def _frozen(tensors: Mapping[str, Tensor]) -> nn.ParameterDict:
    return nn.ParameterDict({name: nn.Parameter(x, requires_grad=False) for name, x in tensors.items()})
