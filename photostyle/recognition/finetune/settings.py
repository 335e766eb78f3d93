"""What decides the weights that a fine-tuning ends with, checked at the door; and its phases."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from photostyle.bounds import AtLeast, Between, Count, Seed, check_bounds
from photostyle.errors import PhotostyleError
from photostyle.networks.heads import BLOCKS, is_vgg
from photostyle.networks.published import check_name

Regime = Literal["head", "all", "head-then-all"]

# Of the whole network, from the first step to the last: the range that the fine-tuning of a pretrained VGG-16 is
# usually given. A hundredfold fall; the head's rate falls as far.
RATES = (1e-5, 1e-7)
FALL = RATES[1] / RATES[0]
# Kingma & Ba (ICLR 2015), algorithm 1: Adam's own default, for a layer that begins from nothing.
HEAD_RATE = 1e-3
PATIENCE = 5  # epochs without a better validation: as many as half a phase of the default length


@dataclass(frozen=True)
class FinetuneSettings:
    """Everything that decides the final weights, but the data and the weights to begin with."""

    network: str = "vgg16"
    """one of torchvision's classifiers"""
    regime: Regime = "head-then-all"
    """what is trained: the new head alone, all of the network, or the head and then all, half of the epochs each"""
    random: bool = False
    """begin with random weights; said in the record"""
    blocks: Annotated[int, Between(0, BLOCKS)] = 0
    """cut a VGG after so many of its five blocks; 0: all of them"""
    size: Count = 0
    """pixels of a side that the network sees; 0: 32 for CIFAR-10 and digits, else what the network was made for"""
    epochs: Annotated[int, AtLeast(1)] = 20
    """at most, of all phases together"""
    batch: Annotated[int, AtLeast(2)] = 64
    """pictures a step"""
    rates: tuple[float, float] = RATES
    """learning rates of the whole network, at its first and last step; a cosine between them"""
    head_rate: float = HEAD_RATE
    """learning rate of the head alone, at its first step; it falls as far as --rates do by default"""
    patience: Annotated[int, AtLeast(1)] = PATIENCE
    """a phase ends after so many epochs without a better validation"""
    flip: bool | None = None
    """mirror half of the pictures in training; default: not for digits, whose mirror images are none"""
    shift: bool = True
    """cut pictures out at random places in training, not in the middle"""
    validation: float = 0.1
    """share of each class that chooses the best weights and never trains"""
    test: float = 0.2
    """share of each class that is looked at once, at the end; CIFAR-10 has a test set of its own"""
    seed: Seed = 0
    """of the split, the order, crops and flips, and of random weights"""


@dataclass(frozen=True)
class Phase:
    """A part of the training. rates: at its first and last step."""

    name: Literal["head", "all"]
    epochs: int
    rates: tuple[float, float]

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, 0 … steps-1: one cosine, Loshchilov & Hutter (ICLR 2017), eq. 5."""
        high, low = self.rates
        return low + (high - low) * (1 + math.cos(math.pi * step / max(1, steps - 1))) / 2


def phases_of(settings: FinetuneSettings) -> tuple[Phase, ...]:
    """What is trained, one after the other."""
    head = Phase("head", settings.epochs, (settings.head_rate, settings.head_rate * FALL))
    everything = Phase("all", settings.epochs, settings.rates)
    if settings.regime == "head":
        return (head,)
    if settings.regime == "all":
        return (everything,)
    first = math.ceil(settings.epochs / 2)
    second = Phase("all", settings.epochs - first, settings.rates)
    return (
        (Phase("head", first, head.rates), second) if second.epochs else (Phase("head", first, head.rates),)
    )


def blocks_of(settings: FinetuneSettings) -> int:
    """Blocks of a VGG that are kept: as asked, else all; 0 for other networks, which have none."""
    return settings.blocks or (BLOCKS if is_vgg(settings.network) else 0)


def check_settings(settings: FinetuneSettings) -> None:
    """Raise PhotostyleError, one line, for the first setting that cannot be."""
    check_name(settings.network)
    check_bounds(settings)
    for wrong, text in _faults(settings):
        if wrong:
            raise PhotostyleError(text)


def _faults(settings: FinetuneSettings) -> Iterator[tuple[bool, str]]:
    yield (
        bool(settings.blocks) and not is_vgg(settings.network),
        f"--blocks cuts a VGG, and {settings.network} is none: leave it out, or use vgg16",
    )
    high, low = settings.rates
    yield not 0 < low <= high <= 1, f"--rates are {high} {low}; they must fall, and lie between 0 and 1"
    yield not 0 < settings.head_rate <= 1, f"--head-rate is {settings.head_rate}; it must lie between 0 and 1"
    shares = settings.validation, settings.test
    yield (
        not all(0 < share < 1 for share in shares) or sum(shares) >= 1,
        f"--validation is {shares[0]}, --test is {shares[1]}; each must lie between 0 and 1 and leave some to train on",
    )
