"""What a term of the objective is: built once a stage, then a function of the image. A new one is a file like these."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.files.checkpoints import State
from photostyle.losses.curvature import Curvature
from photostyle.losses.encoders import Features
from photostyle.scene import Scene, Stage

Terms = dict[str, Tensor]  # weighted scalars by name; their sum is what is optimised


class Term(ABC):
    """One term of the objective.

    name: what traces, plots and tables call it.
    weights: the recipe's fields that weigh it; where all of them are 0 there is no such term. A term without any is
    always there.
    in_first_pass: whether it acts in the released code's first pass too, which has no photorealism.
    compares_features: whether it needs an encoder, with its `layers`.
    before: what stands for its settings in a record that is older than they are; None: weights of 0.
    drawn: whether what it sees is drawn anew at every call, so that its value and gradient are right on average only.
    """

    name: ClassVar[str]
    weights: ClassVar[tuple[str, ...]] = ()
    in_first_pass: ClassVar[bool] = True
    compares_features: ClassVar[bool] = False
    before: ClassVar[Mapping[str, Any] | None] = None
    drawn: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, recipe: Any, stage: Stage, scene: Scene, encoder: Features | None) -> None:
        """Compute the term's targets at a stage. recipe: at least the term's own settings; encoder: see `layers`."""

    @abstractmethod
    def __call__(self, image: Tensor) -> Tensor:
        """The weighted term of an image (3, H, W) in [0, 1]: a scalar with a gradient."""

    def curvature(self, image: Tensor) -> Curvature | None:
        """Of a model above the term at an image (3, H, W) in [0, 1]; None: there is none, and its gradient must do.

        That of a drawn term is the same at every image.
        """
        return None

    def state(self) -> dict[str, State]:
        """What it remembers between calls beside its targets; a solve that goes on after a break needs it."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: B027 (most terms remember nothing)
        """Be where `state` found a term of the same settings at the same stage."""

    def parts(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """What is reported by name, adding up to the term: itself, unless it says otherwise."""
        return {self.name: self}

    @classmethod
    def layers(cls, recipe: Any) -> tuple[str, ...]:
        """The encoder's layers whose features it compares; none where it needs no encoder."""
        return ()

    @classmethod  # noqa: B027 (most terms have nothing to say here)
    def check(cls, recipe: Any) -> None:
        """Raise PhotostyleError where its settings do not belong together; single numbers have bounds of their own."""

    @classmethod
    def weighed(cls, recipe: Any) -> bool:
        """Whether the recipe gives it any weight."""
        return not cls.weights or any(value > 0 for _, value in weights_of(cls, recipe))

    @classmethod
    def acts(cls, recipe: Any, stage: Stage) -> bool:
        """Whether it is part of a stage's objective."""
        return cls.weighed(recipe) and (stage.photorealism or cls.in_first_pass)


def weights_of(term: type[Term], recipe: Any) -> list[tuple[str, float]]:
    """Each weight of a term under its field's name; a field may hold several."""
    named = [(name, getattr(recipe, name)) for name in term.weights]
    return [
        (name, each) for name, value in named for each in (value if isinstance(value, tuple) else (value,))
    ]


def given(encoder: Features | None, term: Term) -> Features:
    """The encoder that a term cannot do without."""
    if encoder is None:
        raise PhotostyleError(f"the term {term.name} compares features; give an encoder with VGG weights")
    return encoder
