"""The groups of classes between which style is carried: groups.toml as a frozen table."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from photostyle.errors import PhotostyleError


@dataclass(frozen=True, eq=False)
class Group:
    """Classes that take style from each other.

    colour: "#rrggbb", for showing. related: names of other groups, the best stand-in first.
    classes: for each vocabulary, the group's class numbers and their names, none where it has no such class.
    """

    name: str
    colour: str
    related: tuple[str, ...]
    classes: Mapping[str, Mapping[int, str]]


def _group(name: str, entry: Mapping[str, Any]) -> Group:
    classes = {vocabulary: _numbered(entry[vocabulary]) for vocabulary in VOCABULARIES}
    return Group(name, entry["colour"], tuple(entry["related"]), MappingProxyType(classes))


def _numbered(lines: list[str]) -> Mapping[int, str]:
    """ "2 sky" → {2: "sky"}."""
    return MappingProxyType({int(number): name for number, name in (line.split(" ", 1) for line in lines)})


_TABLE: dict[str, Any] = tomllib.loads(
    resources.files("segmentation").joinpath("groups.toml").read_text(encoding="utf-8")
)
# How many classes each vocabulary has.
VOCABULARIES: Mapping[str, int] = MappingProxyType(
    {name: entry["classes"] for name, entry in _TABLE["vocabularies"].items()}
)
# What networks call what is in none of their classes. VOC's "background" is a class, and a group.
NO_GROUP = ("other", "unlabelled", "unlabeled", "void", "background")
GROUPS: tuple[Group, ...] = tuple(_group(name, entry) for name, entry in _TABLE["groups"].items())


def class_names(vocabulary: str) -> tuple[str, ...]:
    """The names of a vocabulary's classes, by their numbers."""
    named = {number: name for group in GROUPS for number, name in group.classes[vocabulary].items()}
    return tuple(named[number] for number in sorted(named))


def matrix(vocabulary: str, device: torch.device | str = "cpu", classes: Sequence[str] = ()) -> Tensor:
    """The matrix that sums class probabilities into groups: float32 (G, classes) of 0 and 1, rows ordered as GROUPS.

    classes: the names of a network's classes where they are not the vocabulary's own in its order.
    Each column has a single 1, but for those of classes in NO_GROUP, which are 0. The row of a group that there is no
    class of is 0.
    """
    if vocabulary not in VOCABULARIES:
        raise PhotostyleError(f'unknown vocabulary "{vocabulary}": give {" or ".join(VOCABULARIES)}')
    columns = classes or class_names(vocabulary)
    named = [set(group.classes[vocabulary].values()) for group in GROUPS]
    sums = torch.tensor([[float(name in names) for name in columns] for names in named])
    return sums.to(device)
