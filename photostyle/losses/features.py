"""What the terms that compare features share: their settings, and a network that is asked once an evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from photostyle.losses.encoders import Features


@dataclass(frozen=True)
class FeatureSettings:
    """Which network, and in what units its features are compared."""

    encoder: Literal["vgg19", "vgg16"] = "vgg19"
    """the network whose features the Gram and content terms compare"""
    pooling: Literal["max", "average"] = "max"
    """max as in the released code, or average (Gatys et al. 2015)"""
    network_input: Literal["imagenet", "caffe"] = "imagenet"
    """what the network is fed: RGB over ImageNet's deviation, as torchvision's are, or BGR minus the mean on the 0..255
    scale, as Caffe's and Keras's are, where features are 57 times larger; torchvision's weights are converted"""
    soft_regions: bool = True
    """let regions grow soft by a 3x3 mean at every convolution, as the released code does, and not at pools alone"""
    feature_scale: Literal["relative", "released"] = "relative"
    """feature distances over the target's own norm (any encoder), or in the released code's units"""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """what the network computes in; bfloat16 is coarser, and on processors made for it several times faster; auto:
    where a trial says so (the record has which)"""


class SharedFeatures:
    """An encoder for several terms: of one image it computes the features once, until it is told to forget them.

    An optimiser changes its image in place, so an image is only the same one within an evaluation.
    """

    def __init__(self, encoder: Features) -> None:
        self.plan, self._encoder = encoder.plan, encoder
        self._last: tuple[Tensor, Mapping[str, Tensor]] | None = None

    def __call__(self, image: Tensor) -> Mapping[str, Tensor]:
        if self._last is None or self._last[0] is not image:
            self._last = image, self._encoder(image)
        return self._last[1]

    def forget(self) -> None:
        """The evaluation is over."""
        self._last = None
