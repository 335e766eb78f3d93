"""What is learnt: pictures with classes, split into those to train on, to choose by and to test with."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.files.images import read_image
from photostyle.files.reading import path_exists
from photostyle.imaging.filters import resize as resized
from photostyle.recognition.finetune.cifar import SIDE, cifar_in, read_cifar
from photostyle.recognition.finetune.settings import FinetuneSettings
from photostyle.training.pictures import find_pictures

Say = Callable[[str], None]

DIGITS = "digits"  # as DATA: scikit-learn's 1797 handwritten digits of 8x8 pixels in 17 greys
INK = 16  # their darkest value
LEAST = 5  # pictures of a class: three to train on, one to choose by and one to test with
UNEVEN = 2  # from so many times the pictures on a class weighs visibly more than another: said
# Folders that are no classes but a split made elsewhere; taken for classes, they would be learnt as such.
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


class Pictures(Protocol):
    """Pictures by number; it can be sent to other processes."""

    def __len__(self) -> int: ...

    def __getitems__(self, indices: Sequence[int]) -> Tensor:
        """(B, 3, S, S) uint8, all of one size."""


@dataclass(frozen=True)
class ArrayPictures:
    """Pictures in memory: (N, 3, S, S) uint8."""

    pixels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitems__(self, indices: Sequence[int]) -> Tensor:
        return self.pixels[torch.as_tensor(indices)]


@dataclass(frozen=True)
class FilePictures:
    """Pictures in files: the short side resized to `side` pixels, that much cut from the middle of the long one."""

    paths: tuple[Path, ...]
    side: int

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, indices: Sequence[int]) -> Tensor:
        return torch.stack([self._square(self.paths[index]) for index in indices])

    def _square(self, path: Path) -> Tensor:
        pixels = read_image(path, minimum=1).pixels
        height, width = pixels.shape[1:]
        shorter = min(height, width)
        top, left = (height - shorter) // 2, (width - shorter) // 2
        square = resized(pixels[:, top : top + shorter, left : left + shorter], self.side, self.side)
        return square.mul(255).round().to(torch.uint8)


@dataclass(frozen=True)
class Split:
    """Some of the pictures. labels: (N,) int64, the number of each one's class, of all; indices: those of the split."""

    pictures: Pictures
    labels: Tensor
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, places: Sequence[int]) -> tuple[Tensor, Tensor]:
        """A batch of the split: (B, 3, S, S) uint8 and their labels (B,)."""
        chosen = [self.indices[place] for place in places]
        return self.pictures.__getitems__(chosen), self.labels[chosen]

    def counts(self, classes: int) -> list[int]:
        """Pictures of each class."""
        return torch.bincount(self.labels[list(self.indices)], minlength=classes).tolist()


@dataclass(frozen=True)
class Data:
    """Pictures with classes, split.

    size, resize: pixels that the network sees of a picture of `resize`, shifted by up to half of the difference; equal
    where pictures are small already, and then shifted over their border (`augmentation`).
    flip: whether a mirror image is of the same class. sha256: of all pictures and their classes.
    skipped: files that could not be used, and why.
    """

    name: str
    path: str
    classes: tuple[str, ...]
    training: Split
    validation: Split
    test: Split
    size: int
    resize: int
    flip: bool
    in_files: bool
    sha256: str
    skipped: tuple[str, ...] = ()

    def described(self) -> dict[str, object]:
        """For the record, as JSON types."""
        splits = {"training": self.training, "validation": self.validation, "test": self.test}
        return {
            "name": self.name,
            "path": self.path,
            "sha256": self.sha256,
            "classes": list(self.classes),
            "pictures": {name: split.counts(len(self.classes)) for name, split in splits.items()},
            "skipped": list(self.skipped),
        }


def read_data(
    name: str,
    settings: FinetuneSettings,
    size: int,
    resize: int,
    *,
    workers: int = 0,
    say: Say = lambda line: None,
) -> Data:
    """The pictures that a command names: "digits", a folder or archive of CIFAR-10, or a folder of class folders.

    size, resize: what the network was made for; small pictures are seen at SIDE where the settings name no size.
    workers: processes that look through files. say is told of what is skipped and of the balance of the classes.
    Raises PhotostyleError, one line, for data that cannot be learnt from.
    """
    path = Path(name)
    if name == DIGITS and not path_exists(path):
        data = _digits(settings)
    elif (place := cifar_in(path)) is not None:
        data = _cifar(place, settings)
    else:
        data = _folder(
            path,
            settings,
            settings.size or size,
            round((settings.size or size) * resize / size),
            workers,
            say,
        )
    say(balance(data))
    return data


def split_by_class(
    labels: Tensor, classes: Sequence[str], shares: Sequence[float], seed: int
) -> list[tuple[int, ...]]:
    """Pictures in parts that have the same share of every class: one part a share, then the rest, which trains.

    At least one picture of each class is in every part. Raises PhotostyleError for classes of fewer than LEAST.
    """
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    if few := [f"{name} ({count})" for name, count in zip(classes, counts, strict=True) if count < LEAST]:
        raise PhotostyleError(
            f"too few pictures of {', '.join(few)}: a class needs at least {LEAST}; add some, or take it out"
        )
    if len(classes) < 2:
        raise PhotostyleError(
            f"only one class, {classes[0]}: there is nothing to tell apart; give two or more"
        )
    parts: list[list[int]] = [[] for _ in (*shares, "rest")]
    for number in range(len(classes)):
        order = (
            np.random.default_rng([seed, number])
            .permutation(np.flatnonzero(labels.numpy() == number))
            .tolist()
        )
        for part, share in zip(parts, shares, strict=False):
            taken = max(1, round(share * counts[number]))
            part += order[:taken]
            order = order[taken:]
        if not order:
            raise PhotostyleError(
                f"nothing of {classes[number]} is left to train on: make --validation or --test less"
            )
        parts[-1] += order
    return [tuple(sorted(part)) for part in parts]


def balance(data: Data) -> str:
    """How many pictures and how even the classes are, in one line."""
    splits = [split.counts(len(data.classes)) for split in (data.training, data.validation, data.test)]
    totals = [sum(each) for each in zip(*splits, strict=True)]
    low, high = min(totals), max(totals)
    each = f"{low} each" if low == high else f"{low} ({data.classes[totals.index(low)]}) to {high} "
    each += "" if low == high else f"({data.classes[totals.index(high)]})"
    skewed = "; they are uneven: read the accuracy of each class" if high > UNEVEN * low else ""
    sizes = ", ".join(
        f"{sum(counts)} {what}"
        for counts, what in zip(splits, ("to train on", "to choose by", "to test"), strict=True)
    )
    return f"{len(data.classes)} classes of {each}: {sizes}{skewed}"


def _digits(settings: FinetuneSettings) -> Data:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = torch.from_numpy(bunch.images * (255 / INK)).round().to(torch.uint8)
    pictures = ArrayPictures(grey[:, None].expand(-1, 3, -1, -1).contiguous())
    labels = torch.from_numpy(bunch.target).to(torch.int64)
    classes = tuple(str(name) for name in bunch.target_names)
    test, validation, training = split_by_class(
        labels, classes, (settings.test, settings.validation), settings.seed
    )
    return Data(
        name=DIGITS,
        path="scikit-learn",
        classes=classes,
        training=Split(pictures, labels, training),
        validation=Split(pictures, labels, validation),
        test=Split(pictures, labels, test),
        size=settings.size or SIDE,
        resize=settings.size or SIDE,
        flip=False,
        in_files=False,
        sha256=_hash_of(pictures.pixels, labels),
    )


def _cifar(place: Path, settings: FinetuneSettings) -> Data:
    pictures, labels, tested, its_labels, classes = read_cifar(place)
    own = torch.from_numpy(labels)
    other = Split(
        ArrayPictures(torch.from_numpy(tested)), torch.from_numpy(its_labels), tuple(range(len(its_labels)))
    )
    validation, training = split_by_class(own, classes, (settings.validation,), settings.seed)
    known = ArrayPictures(torch.from_numpy(pictures))
    return Data(
        name="CIFAR-10",
        path=str(place.absolute()),
        classes=classes,
        training=Split(known, own, training),
        validation=Split(known, own, validation),
        test=other,
        size=settings.size or SIDE,
        resize=settings.size or SIDE,
        flip=True,
        in_files=False,
        sha256=_hash_of(known.pixels, own, torch.from_numpy(tested), other.labels),
    )


def _folder(path: Path, settings: FinetuneSettings, size: int, resize: int, workers: int, say: Say) -> Data:
    listing = find_pictures(path, workers=workers)
    for note in listing.notes():
        say(note)
    if loose := [file for file in listing.files if len(file.parts) < 2]:
        raise PhotostyleError(
            f"{path / loose[0]} lies beside the class folders: expected {path}/CLASS/picture; move it into one"
        )
    classes = tuple(sorted({file.parts[0] for file in listing.files}))
    if {name.lower() for name in classes} <= SPLITS:
        raise PhotostyleError(
            f"{path} holds {', '.join(classes)}, a split and no classes: give {path / classes[0]}, or put all in one"
        )
    labels = torch.tensor([classes.index(file.parts[0]) for file in listing.files])
    test, validation, training = split_by_class(
        labels, classes, (settings.test, settings.validation), settings.seed
    )
    pictures = FilePictures(tuple(path / file for file in listing.files), resize)
    return Data(
        name=path.resolve().name,
        path=str(path.absolute()),
        classes=classes,
        training=Split(pictures, labels, training),
        validation=Split(pictures, labels, validation),
        test=Split(pictures, labels, test),
        size=size,
        resize=resize,
        flip=True,
        in_files=True,
        sha256=listing.sha256,
        skipped=tuple(each.why for each in listing.broken),
    )


def _hash_of(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
