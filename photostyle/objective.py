"""One stage's objective: its terms are built once, then an image goes to named, weighted numbers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from photostyle.config import TERMS, Config, Recipe
from photostyle.errors import PhotostyleError
from photostyle.files.checkpoints import State
from photostyle.losses.encoders import Encoder, Features
from photostyle.losses.features import SharedFeatures
from photostyle.losses.precision import resolved
from photostyle.losses.term import Term, Terms
from photostyle.losses.weights import Weights, find
from photostyle.scene import Scene, Stage


@dataclass(frozen=True)
class Member:
    """A term of an objective with what is reported of it."""

    term: Term
    parts: Mapping[str, Callable[[Tensor], Tensor]]


class Objective:
    """What a stage minimises. Calling it with an image (3, H, W) gives the weighted terms by name (scalars).

    encoder: with the layers of `feature_layers`, where a term compares features. terms: those of the library, or
    others beside them. Raises PhotostyleError where a term needs an encoder and there is none.
    """

    def __init__(
        self,
        recipe: Recipe,
        stage: Stage,
        scene: Scene,
        encoder: Features | None = None,
        terms: Iterable[type[Term]] = TERMS,
    ) -> None:
        self._features = None if encoder is None else SharedFeatures(encoder)
        self.members: list[Member] = []
        self.parts: dict[str, Callable[[Tensor], Tensor]] = {}
        for term in terms:
            if term.acts(recipe, stage):
                made = term(recipe, stage, scene, self._features)
                self.members.append(Member(made, made.parts()))
                self._add(self.members[-1].parts)
        self._forget()

    def __call__(self, image: Tensor) -> Terms:
        values = {name: part(image) for name, part in self.parts.items()}
        self._forget()
        return values

    def state(self) -> dict[str, State]:
        """What its terms remember between evaluations, see `Term.state`."""
        return {member.term.name: member.term.state() for member in self.members}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Be where `state` found an objective of the same recipe and scene."""
        for member in self.members:
            member.term.restore(state[member.term.name])

    def of(self, members: Iterable[Member], image: Tensor) -> Terms:
        """Some of its terms by themselves."""
        values = {name: part(image) for member in members for name, part in member.parts.items()}
        self._forget()
        return values

    def _forget(self) -> None:
        """An evaluation is over: the next image may have the same place in memory and be another one."""
        if self._features is not None:
            self._features.forget()

    def _add(self, parts: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
        if again := self.parts.keys() & parts.keys():
            raise PhotostyleError(
                f"two terms are named {', '.join(sorted(again))}; give each a name of its own"
            )
        self.parts |= parts


def feature_layers(recipe: Recipe, terms: Sequence[type[Term]] = TERMS) -> tuple[str, ...]:
    """The layers whose features the terms compare, none where no term needs an encoder; it is cut after the deepest."""
    layers = [layer for term in terms if term.weighed(recipe) for layer in term.layers(recipe)]
    return tuple(dict.fromkeys(layers))


def encoder_for(
    recipe: Recipe,
    loaded: Weights | None,
    terms: Sequence[type[Term]] = TERMS,
    device: torch.device | str = "cpu",
) -> Encoder | None:
    """The encoder with the layers that the terms compare; None where none of them compares any."""
    layers = feature_layers(recipe, terms)
    if loaded is None or not layers:
        return None
    encoder = Encoder(
        loaded.state,
        recipe.encoder,
        layers=layers,
        pooling=recipe.pooling,
        precision=resolved(recipe.precision, device),
        network_input=recipe.network_input,
    )
    return encoder.to(device)


def weights_for(
    config: Config, terms: Sequence[type[Term]] = TERMS, say: Callable[[str], None] = lambda line: None
) -> Weights | None:
    """The weights of that encoder, found or downloaded; None where no term compares features. Errors as `find`."""
    if not feature_layers(config, terms):
        return None
    return find(config.weights, config.encoder, download=config.download, progress=say)
