"""What a feed-forward model is made like, and what it was made of: both are kept in its file."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self, get_args, get_type_hints

from photostyle.bounds import AtLeast
from photostyle.errors import PhotostyleError, shown
from photostyle.feedforward.encoder import StyleNetworkName
from photostyle.feedforward.generator import DecoderNorm
from photostyle.feedforward.injection import InjectionName


@dataclass(frozen=True)
class ModelSettings:
    """The shape of a model. Raises PhotostyleError for values that are none.

    dimension and style_network say nothing to a model of injection "patch", which has no z.
    """

    injection: InjectionName = "film"
    """how the residual blocks are told the style"""
    channels: Annotated[int, AtLeast(1)] = 32  # Johnson et al. 2016
    """of the generator's first layer; its residual blocks have four times as many"""
    blocks: Annotated[int, AtLeast(1)] = 5  # Johnson et al. 2016
    """residual blocks"""
    dimension: Annotated[int, AtLeast(1)] = 128
    """numbers of z"""
    style_network: StyleNetworkName = "inception_v3"
    """what looks at a style: Inception-v3 to Mixed_6e, or a small network of its own"""
    decoder_norm: DecoderNorm = "instance"
    """whether the upsampling layers are instance-normalised; none lets a style have its own colours"""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self), include_extras=True).items():
            value, expected = getattr(self, name), _expected(kind)
            good = value in get_args(kind) if isinstance(value, str) else _in_bounds(value, kind)
            if not good:
                raise PhotostyleError(f"a model's {name} is {shown(value)}; it {expected}")


@dataclass(frozen=True)
class Origin:
    """What a model was trained on, and how. All of it is text for people and hashes, to be told apart by."""

    trained_on: str = ""
    """the pictures, contents and styles, as one would say it"""
    licence: str = ""
    """of those pictures: whether a model of them may be passed on"""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of what went in: both folders of pictures, and the loss network"""
    notes: Mapping[str, str] = field(default_factory=dict)
    """what else there is to say: steps, and the loss that they ended at"""

    @classmethod
    def from_json(cls, entries: Mapping[str, Any]) -> Self:
        """As a model's file has it. Raises ValueError where it is something else."""
        known = {each.name for each in dataclasses.fields(cls)}
        if entries.keys() - known:
            raise ValueError(f"unknown {', '.join(sorted(entries.keys() - known))}")
        texts = {name: entries.get(name, "") for name in ("trained_on", "licence")}
        maps = {name: entries.get(name, {}) for name in ("hashes", "notes")}
        if not all(isinstance(each, str) for each in texts.values()):
            raise ValueError("texts are no texts")
        for each in maps.values():
            if not isinstance(each, dict) or not all(isinstance(value, str) for value in each.values()):
                raise ValueError("hashes and notes are no texts by name")
        return cls(**texts, **maps)


def _in_bounds(value: object, kind: Any) -> bool:
    bounds = [each for each in get_args(kind) if isinstance(each, AtLeast)]
    return type(value) is int and bool(bounds) and all(value in each for each in bounds)


def _expected(kind: Any) -> str:
    arguments = get_args(kind)
    bounds = [str(each) for each in arguments if isinstance(each, AtLeast)]
    return bounds[0] if bounds else f"must be one of {', '.join(map(repr, arguments))}"
