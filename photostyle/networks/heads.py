"""Networks with a head for other classes: torchvision's with a new last layer; a VGG with one dense layer, or cut.

A VGG is fine-tuned as its users' notebooks do it: one dense layer on the 512×7×7 values of its pooled convolutions. It
may be cut after fewer of its five blocks, for small pictures. A file of such weights says so in its metadata.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from photostyle.errors import PhotostyleError
from photostyle.networks.published import check_name, module_of

BLOCKS = 5  # of every VGG, each ending in a pool: Simonyan & Zisserman (ICLR 2015), Table 1
GRID = 7  # cells a side that a VGG pools its last features to, whatever the picture's size
SPREAD = 0.01  # deviation of a dense layer's first weights: ibid., section 3.1


@dataclass(frozen=True)
class Head:
    """What a file says of a network that was fine-tuned.

    blocks: of a VGG, with one dense layer after them; 0 of all others, which keep torchvision's layers.
    size, resize: as of `Network`: what its accuracy was measured at.
    """

    network: str
    blocks: int
    size: int
    resize: int

    def metadata(self) -> dict[str, str]:
        """As `read_head` reads it."""
        return {name: str(value) for name, value in vars(self).items()}


def read_head(path: Path, name: str) -> Head | None:
    """What a .safetensors file says of its network; None where it says nothing. PhotostyleError where it is another."""
    if path.suffix.lower() != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            said: Mapping[str, str] = file.metadata() or {}
    except (SafetensorError, OSError):  # who reads its tensors says what is wrong with it
        return None
    if "network" not in said:
        return None
    try:
        head = Head(said["network"], *(int(said[key]) for key in ("blocks", "size", "resize")))
    except (KeyError, ValueError) as error:
        raise PhotostyleError(
            f"{path} names its network and does not describe it ({error}): write all of network, blocks, size, resize"
        ) from error
    if head.network != name:
        raise PhotostyleError(
            f"{path} is of {head.network}, not {name}: name the network that the file is of"
        )
    return head


def headed(name: str, classes: int, blocks: int, *, initialised: bool) -> nn.Module:
    """The network with a head for so many classes; (B, 3, H, W) normalised → (B, classes) logits.

    blocks: of a VGG, 1 to 5; 0 for every other network. initialised: as of `module_of`.
    Raises PhotostyleError for blocks that the network has not.
    """
    check_name(name)
    if is_vgg(name) != bool(blocks) or not 0 <= blocks <= BLOCKS:
        whose = f"1 to {BLOCKS} blocks" if is_vgg(name) else "no blocks to cut after: leave them out"
        raise PhotostyleError(f"{name} has {whose}, not {blocks}")
    if not blocks:
        return _with_narrow_head(module_of(name, classes, initialised=initialised), initialised)
    # Without values: the head that it loses is large.
    module: nn.Module = module_of(name, classes, initialised=False)
    module.features, channels = _first_blocks(module, blocks)
    module.classifier = nn.Sequential(nn.Linear(channels * GRID**2, classes, device="meta"))
    if initialised:
        module.to_empty(device="cpu").apply(_initialise)
    return module


def is_vgg(name: str) -> bool:
    """Whether the network has five blocks of convolutions and a classifier of dense layers."""
    return name.startswith("vgg")


def head_of(module: nn.Module) -> nn.Module:
    """The layer that tells the classes apart: the last with parameters."""
    last = list(module.state_dict())[-1]
    return module.get_submodule(last.rpartition(".")[0])


def _first_blocks(module: nn.Module, blocks: int) -> tuple[nn.Module, int]:
    """A VGG's features up to the pool that ends a block, and their channels."""
    features = module.get_submodule("features")
    assert isinstance(features, nn.Sequential)
    pools = [place for place, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    kept = features[: pools[blocks - 1] + 1]
    return kept, [layer.out_channels for layer in kept if isinstance(layer, nn.Conv2d)][-1]


def _with_narrow_head(module: nn.Module, initialised: bool) -> nn.Module:
    """With the head of a VGG's spread: some networks' own depends on the number of classes.

    EfficientNets take 1/√n: ten times as wide for ten classes as for a thousand, it begins at a loss of 12, where even
    odds have 2.3, and the training goes into coming back.
    """
    if initialised:
        head = head_of(module)
        nn.init.normal_(head.get_parameter("weight"), 0, SPREAD)
        for name, bias in head.named_parameters():
            if name == "bias":
                nn.init.zeros_(bias)
    return module


def _initialise(layer: nn.Module) -> None:
    """As torchvision's VGGs begin: He et al. (ICCV 2015), eq. 10, by the number of outputs; dense layers narrow."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(layer, nn.BatchNorm2d):
        layer.reset_running_stats()
        nn.init.ones_(layer.weight)
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, 0, SPREAD)
    if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear) and layer.bias is not None:
        with torch.no_grad():
            layer.bias.zero_()
