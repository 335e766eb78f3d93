"""The style encoder learns what art movements look like: a classification of style folders, and z is what it tells by.

The document tunes Inception-v3 to Mixed_6e, averaged and brought to z, on 25 movements of WikiArt (elsewhere it says
50) and gives no more of it than that; any tree of folders will do here.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from photostyle.bounds import Above, AtLeast, Seed, check_bounds
from photostyle.errors import ComputationError, PhotostyleError, shortened, shown
from photostyle.feedforward.data import Contents, Pictures, as_pictures, middle
from photostyle.feedforward.encoder import StyleEncoder, StyleNetworkName
from photostyle.feedforward.settings import ModelSettings
from photostyle.files.reading import file_bytes
from photostyle.files.tensors import parsed_tensors, tensors_of, write_tensors
from photostyle.training.order import batches
from photostyle.training.pictures import Listing

AT_ONCE = 16  # pictures that are looked at together
KEY = "style encoder"  # of the metadata of an encoder's file


@dataclass(frozen=True)
class ClassSettings:
    """How the style encoder is tuned. The document gives none of these numbers."""

    style_network: StyleNetworkName = "inception_v3"
    """what looks at a style"""
    dimension: Annotated[int, AtLeast(1)] = 128
    """numbers of z"""
    size: Annotated[int, AtLeast(1)] = 256
    """side of the crops, in pixels: the larger of the document's two"""
    batch: Annotated[int, AtLeast(1)] = 32
    """pictures a step"""
    epochs: Annotated[int, AtLeast(1)] = 10
    """times that each picture is seen: the accuracy of fine-tuned networks settles in about as many"""
    learning_rate: Annotated[float, Above(0)] = 1e-4
    """Adam's step for the network; small, since it was trained before"""
    head_rate: Annotated[float, Above(0)] = 1e-3
    """Adam's step for the layers that begin anew"""
    held_out: float = 0.2
    """share of each class that is kept to measure with"""
    seed: Seed = 0
    """of new layers, crops, and what is held out"""

    def __post_init__(self) -> None:
        check_bounds(self)
        if not 0 <= self.held_out < 1:
            raise PhotostyleError(f"--held-out is {self.held_out}; give 0 or more, and less than 1")


@dataclass(frozen=True)
class Classes:
    """Which picture is of which class: the first folder on its way from the top. labels: one for each picture."""

    names: tuple[str, ...]
    labels: tuple[int, ...]

    @classmethod
    def of(cls, listing: Listing) -> "Classes":
        """Raises PhotostyleError where there are not two classes or more."""
        folders = [file.parts[0] if len(file.parts) > 1 else "" for file in listing.files]
        names = tuple(sorted(set(folders) - {""}))
        if len(names) < 2 or "" in folders:
            raise PhotostyleError(
                f"{listing.folder} has {len(names)} folders with pictures, and {folders.count('')} pictures outside of "
                "any; expected a folder for each style, two or more, and every picture in one"
            )
        return cls(names, tuple(names.index(each) for each in folders))

    def split(self, share: float, seed: int) -> tuple[list[int], list[int]]:
        """Pictures to learn from and pictures held out: of each class the share, but never all."""
        learnt, held = list[int](), list[int]()
        for label in range(len(self.names)):
            own = np.flatnonzero(np.array(self.labels) == label)
            own = np.random.default_rng([seed, label]).permutation(own)
            count = min(round(share * len(own)), len(own) - 1)
            held += own[:count].tolist()
            learnt += own[count:].tolist()
        return sorted(learnt), sorted(held)


class Classifier(nn.Module):
    """Logits from z: (B, 3, h, w) -> (B, classes)."""

    def __init__(self, encoder: StyleEncoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.linear.out_features, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(pictures))
        return logits


def tune(
    classifier: Classifier,
    pictures: Pictures,
    classes: Classes,
    settings: ClassSettings,
    device: torch.device,
    say: Callable[[str], None],
) -> list[dict[str, float]]:
    """Train the classifier; returns the history, an entry an epoch with losses and accuracies.

    Raises ComputationError where the loss is no number any more.
    """
    learnt, held = classes.split(settings.held_out, settings.seed)
    labels = torch.tensor(classes.labels)
    crops = Contents(pictures, settings.size, len(pictures), settings.seed)
    classifier.to(device)
    network = list(classifier.encoder.network.parameters())
    known = {id(each) for each in network}
    new = [each for each in classifier.parameters() if id(each) not in known]
    optimiser = torch.optim.Adam(
        [{"params": network, "lr": settings.learning_rate}, {"params": new, "lr": settings.head_rate}]
    )
    history = []
    for epoch in range(settings.epochs):
        classifier.train()
        total, correct = 0.0, 0
        for numbers in batches(len(learnt), settings.batch, settings.seed, epoch):
            chosen = [learnt[number] for number in numbers]
            batch = as_pictures(torch.stack([crops[epoch, number] for number in chosen]), device)
            wanted = labels[chosen].to(device)
            logits = classifier(batch)
            loss = functional.cross_entropy(logits, wanted)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(chosen)
            correct += int((logits.argmax(1) == wanted).sum())
        if not np.isfinite(total):
            raise ComputationError(f"the loss is {total} in epoch {epoch + 1}: give smaller rates")
        entry = {"epoch": epoch + 1.0, "loss": total / len(learnt), "accuracy": correct / len(learnt)}
        if held:
            entry["held-out accuracy"] = accuracy(classifier, pictures, classes, held, settings.size, device)
        history.append(entry)
        say("  ".join(f"{name} {value:.4g}" for name, value in entry.items()))
    return history


def accuracy(
    classifier: Classifier,
    pictures: Pictures,
    classes: Classes,
    numbers: Sequence[int],
    size: int,
    device: torch.device,
) -> float:
    """The share of pictures whose whole middle is taken for what it is."""
    logits = _looked_at(classifier, pictures, numbers, size, device)
    wanted = torch.tensor([classes.labels[number] for number in numbers])
    return float((logits.argmax(1) == wanted).double().mean())


def embeddings(encoder: StyleEncoder, pictures: Pictures, size: int, device: torch.device) -> Tensor:
    """z of each picture's whole middle: (N, d), on the CPU."""
    return _looked_at(encoder.to(device), pictures, range(len(pictures)), size, device)


@torch.no_grad()
def _looked_at(
    module: nn.Module, pictures: Pictures, numbers: Sequence[int], size: int, device: torch.device
) -> Tensor:
    module.eval()
    found = list[Tensor]()
    for first in range(0, len(numbers), AT_ONCE):
        some = [middle(pictures[number], size) for number in numbers[first : first + AT_ONCE]]
        found.append(module(as_pictures(torch.stack(some), device)).float().cpu())
    return torch.cat(found)


def save_encoder(path: Path, encoder: StyleEncoder, settings: ClassSettings, names: Sequence[str]) -> None:
    """Write a style encoder, for `multistyle` to begin with."""
    about = {"style_network": settings.style_network, "dimension": settings.dimension, "classes": list(names)}
    write_tensors(path, tensors_of(encoder), {KEY: json.dumps(about)})


def load_encoder(path: Path, encoder: StyleEncoder, wanted: ModelSettings | ClassSettings) -> None:
    """Fill a style encoder from a file. Raises PhotostyleError where it is none, or of another shape."""
    state, about = parsed_tensors(path, file_bytes(path), KEY)
    for name in ("style_network", "dimension"):
        found, expected = about.get(name), getattr(wanted, name)
        if found != expected:
            raise PhotostyleError(
                f"{path} has {name} {shown(found)}, not {shown(expected)}: give what it was tuned with"
            )
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        raise PhotostyleError(
            f"{path} is no style encoder ({shortened(error)}): give what style-classes wrote"
        ) from error
