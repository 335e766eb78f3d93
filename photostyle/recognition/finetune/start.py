"""The network that a fine-tuning begins with: published weights, a file's or random ones, and a new head."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from photostyle.errors import PhotostyleError, one_line
from photostyle.networks.heads import head_of, headed
from photostyle.networks.network import find_network
from photostyle.networks.published import published
from photostyle.recognition.finetune.settings import FinetuneSettings, blocks_of
from photostyle.training.states import seeded

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Start:
    """A network to train.

    mean, deviation: what its input is normalised by. weights: where they came from, for the record.
    """

    module: nn.Module
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    weights: dict[str, str | None]

    @property
    def head(self) -> nn.Module:
        """The layer that tells the classes apart."""
        return head_of(self.module)


def begin_with(
    settings: FinetuneSettings, classes: int, size: int, *, file: Path | None, download: bool, say: Say
) -> Start:
    """The network of the settings with a new head, for pictures of size×size pixels.

    file: weights other than the published ones. Raises WeightsNotFound where there are none, PhotostyleError for a file
    of another network, and for pictures that are too small for this one.
    """
    name, blocks = settings.network, blocks_of(settings)
    if settings.random and file is not None:
        raise PhotostyleError(f"--random and --weights {file} contradict each other: give one of them")
    with seeded(settings.seed):
        module = headed(name, classes, blocks, initialised=True)
    made = published(name)
    weights: dict[str, str | None] = {"source": "random", "path": None, "sha256": None}
    mean, deviation = made.mean, made.deviation
    if not settings.random:
        found = find_network(name, file, download=download, say=say)
        _take_over(module, found.module, name)
        mean, deviation = found.mean, found.deviation
        weights = {
            "source": found.source,
            "path": str(found.path and found.path.absolute()),
            "sha256": found.sha256,
        }
    _check_size(module, name, size)
    return Start(module, mean, deviation, weights)


def _take_over(module: nn.Module, known: nn.Module, name: str) -> None:
    """Copy everything but the head."""
    its, own = known.state_dict(), module.state_dict()
    head = next(prefix for prefix, layer in module.named_modules() if layer is head_of(module))
    body = {key: its.get(key) for key in own if not key.startswith(f"{head}.")}
    if lacking := [key for key, tensor in body.items() if tensor is None]:
        raise PhotostyleError(
            f"these weights of {name} were cut: they have no {lacking[0]}; give fewer --blocks, or whole weights"
        )
    module.load_state_dict(body, strict=False)


@torch.no_grad()
def _check_size(module: nn.Module, name: str, size: int) -> None:
    try:
        module.eval()(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise PhotostyleError(
            f"{name} cannot take pictures of {size}x{size} ({one_line(error)[:80]}): "
            "give a larger --size, or fewer --blocks"
        ) from error
