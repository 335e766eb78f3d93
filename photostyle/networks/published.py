"""What is published of the networks: address, class names, size and normalisation; nothing is downloaded for it.

torchvision is imported where it is asked: the import costs a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import nn

from photostyle.errors import PhotostyleError, did_you_mean
from photostyle.networks import lite

# torchvision's ports of two networks that were trained on (x − 0.5) / 0.5. It gives their input as ImageNet-normalised
# and undoes that inside, at the top of `forward` (transform_input), where a network that is cut loses it; here the
# normalisation says what their first layer takes. Their auxiliary heads serve training alone (Szegedy et al., CVPR 2015
# and 2016): no network here has them.
HALF = (0.5, 0.5, 0.5)
AUXILIARY = MappingProxyType({"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)})

# Transformers whose positions or windows are of one size: torchvision refuses any other.
ONE_SIZE = ("vit_", "maxvit_")

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True)
class Published:
    """A network's weights as they were published.

    url: of the file, whose name ends in the first digits of its SHA-256; "" where a package has it. classes: their
    names, in order.
    resize, size, interpolation: the short side was resized to `resize` pixels, so, and `size`×`size` cut from the
    centre, when their accuracy was measured. mean, deviation: of each channel, in sRGB of [0, 1].
    smallest: the least side of a picture. fixed: whether it takes pictures of `size`×`size` alone.
    """

    url: str
    classes: tuple[str, ...]
    resize: int
    size: int
    interpolation: Interpolation
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    smallest: int
    fixed: bool

    @property
    def digits(self) -> str:
        """The first digits of the SHA-256."""
        return PurePosixPath(self.url).stem.rpartition("-")[2]


@cache
def names() -> tuple[str, ...]:
    """torchvision's classification networks, and one that comes with a package."""
    from torchvision import models

    return (*models.list_models(module=models), lite.NAME)


def check_name(name: str) -> None:
    """Raise PhotostyleError for a network that is not known."""
    if name not in names():
        hint = did_you_mean(name, names(), "did you mean {}? ")
        raise PhotostyleError(
            f'no network "{name}"; {hint}there are torchvision\'s classification networks by its names, as vgg16, '
            f"mobilenet_v3_small, resnet50, and {lite.NAME}"
        )


def published(name: str, sha256: str = "") -> Published:
    """What is said of a network's weights: of those with this SHA-256, else of those that torchvision takes."""
    check_name(name)
    if name == lite.NAME:
        return _packaged()
    from torchvision.models import get_model_weights

    weights: Any = get_model_weights(name)
    # VGG-16 has weights without a classifier too, and without class names.
    known = [_published(name, each) for each in (weights.DEFAULT, *weights) if "categories" in each.meta]
    return next((each for each in known if sha256.startswith(each.digits)), known[0])


def _packaged() -> Published:
    """Of EfficientNet-Lite0; its classes are ImageNet's, in their order."""
    return Published(
        url="",
        classes=published("vgg16").classes,
        resize=lite.RESIZE,
        size=lite.SIZE,
        interpolation="bicubic",
        mean=3 * (lite.MEAN,),
        deviation=3 * (lite.DEVIATION,),
        smallest=1,
        fixed=False,
    )


def _published(name: str, weights: Any) -> Published:
    how: Any = weights.transforms()
    halves = name in AUXILIARY
    return Published(
        url=weights.url,
        classes=tuple(weights.meta["categories"] or ()),
        resize=how.resize_size[0],
        size=how.crop_size[0],
        interpolation=how.interpolation.value,
        mean=HALF if halves else tuple(how.mean),
        deviation=HALF if halves else tuple(how.std),
        smallest=max(weights.meta["min_size"]),
        fixed=name.startswith(ONE_SIZE),
    )


def module_of(name: str, classes: int, *, initialised: bool) -> nn.Module:
    """The network with so many classes.

    initialised: with random weights from torch's own generator; else they wait on the device "meta", for others.
    """
    check_name(name)
    from torchvision.models import get_model

    options: dict[str, bool] = {}
    if name in AUXILIARY:
        options = {"aux_logits": False, "transform_input": False, "init_weights": initialised}
    # RegNet works its widths out with tensors, which have to have values.
    waiting = not initialised and not name.startswith("regnet")
    with torch.device("meta" if waiting else "cpu"):
        if name == lite.NAME:
            return lite.timm_module(classes)
        module: nn.Module = get_model(name, weights=None, num_classes=classes, **options)
    return module


def without_auxiliary_heads(name: str, state: Mapping[str, object]) -> dict[str, object]:
    """A state dict less what the heads hold that serve training alone."""
    heads = AUXILIARY.get(name, ())
    return {key: value for key, value in state.items() if not key.startswith(heads or "\0")}
