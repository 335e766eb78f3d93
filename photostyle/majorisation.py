"""Majorise-minimise: each step minimises a quadratic model of the objective, by conjugate gradients.

With their goals held fixed the style terms are quadratic, the photorealism term is quadratic by itself and structure
has a Gauss-Newton model. All of them act on the same pixels, so that their sum is one sparse system of equations, of
which a few conjugate gradients solve enough (Hunter & Lange, "A Tutorial on MM Algorithms", The American Statistician
58(1), 2004; Nocedal & Wright, "Numerical Optimization", 2006, algorithm 5.3). Adam needs some ten times as many
gradients, because a step of its own cannot know how stiffly the photorealism term ties neighbouring pixels together.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from photostyle.imaging.opponent import from_opponent, to_opponent
from photostyle.losses.curvature import Curvature
from photostyle.losses.term import Term, Terms
from photostyle.objective import Member, Objective
from photostyle.secant import Secant

# Conjugate gradients of a step: with fewer, coarse blocks are left standing on calm surfaces; more cost time.
INNER_STEPS = 6
# Of the last change that is made again before the next step (Nesterov 1983). Measured: without it 20 steps reach what
# 14 reach with it.
MOMENTUM = 0.8
# From this share of a stage's steps on, what the drawn directions ask for is averaged over the steps, so that their
# noise dies out. Averaged from the first step on it would keep asking for what the first picture lacked.
AVERAGED_FROM = 0.7
# Of the heaviest number of a picture: what weighs less is left where it is. In photographs they differ by a hundred.
LEAST_WEIGHT = 1e-5
# Of the image's range, at each pixel: the length of the step that is tried to find how stiff a term without a model is.
TRIAL = 1e-3


class MajoriseMinimise:
    """The steps of one stage, from a start (3, H, W) in [0, 1]; `image` is the picture after the last one.

    objective: terms that offer a curvature are modelled by it; the others, and any other function of an image, enter by
    their gradient and by how it was found to change.
    """

    def __init__(self, start: Tensor, objective: Callable[[Tensor], Terms], steps: int) -> None:
        self.image, self.steps = start.detach().contiguous(), steps
        self._here = self._before = to_opponent(self.image)
        self._drawn, self._known, self._plain = _grouped(objective, self.image)
        # Terms are told in the objective's own order.
        self._names = tuple(objective.parts) if isinstance(objective, Objective) else ()
        # That of a drawn term is the same everywhere.
        self._drawn_models = self._drawn.models(self.image)
        self._asked = torch.zeros_like(self.image)
        self._secant: Secant | None = None

    def step(self, iteration: int) -> Terms:
        """The terms where a step begins, by name; the picture moves on. iteration: 1 ... steps."""
        here = self._here + MOMENTUM * (self._here - self._before)
        picture = from_opponent(here)
        drawn, known, plain = (group.evaluated(picture) for group in (self._drawn, self._known, self._plain))
        models = [*self._drawn_models, *self._known.models(picture)]
        if self._plain:
            models.append(self._secant_at(here, *plain))
        # The drawn terms' models are theirs up to what does not depend on the picture: z.H z / 2 - asked.z.
        own = product(self._drawn_models, here)
        left = self._averaged(own - drawn[1], iteration) - own - known[1] - plain[1]
        change = conjugate_gradients(models, left, INNER_STEPS)
        self.image = from_opponent(here + change).clamp_(0, 1)
        self._before, self._here = self._here, to_opponent(self.image)
        values = drawn[0] | known[0] | plain[0]
        return {name: values[name] for name in self._names or values}

    def state(self) -> dict[str, Any]:
        """All that the next step depends on beside the objective's own state."""
        return {
            "image": self.image,
            "here": self._here,
            "before": self._before,
            "asked": self._asked,
            "secant": None if self._secant is None else self._secant.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Be where `state` found one of the same objective and as many steps."""
        self.image, self._here, self._before = state["image"], state["here"], state["before"]
        self._asked = state["asked"]
        self._secant = None if state["secant"] is None else Secant.restored(state["secant"])

    def _averaged(self, asked: Tensor, iteration: int) -> Tensor:
        """What the drawn terms ask for, as it is at first, then averaged with weights that grow with the steps."""
        late = iteration - 1 - round(AVERAGED_FROM * self.steps)
        self._asked = asked if late <= 0 else torch.lerp(self._asked, asked, 2 / (late + 2))
        return self._asked

    def _secant_at(self, here: Tensor, values: Terms, gradient: Tensor) -> Secant:
        """The model of the terms without one; at first from a step of a trial's length down their gradient."""
        if self._secant is None:
            length = gradient.norm() / here.numel() ** 0.5
            tried = here - TRIAL / length.clamp(min=torch.finfo(here.dtype).tiny) * gradient
            there, turned = self._plain.evaluated(from_opponent(tried))
            self._secant = Secant(tried, turned, _total(there))
        self._secant.learn(here, gradient, _total(values))
        return self._secant


class _Group:
    """Terms that are treated alike."""

    def __init__(self, evaluate: Callable[[Tensor], Terms] | None, terms: Sequence[Term] = ()) -> None:
        self.evaluate, self.terms = evaluate, terms

    def __bool__(self) -> bool:
        return self.evaluate is not None

    def evaluated(self, picture: Tensor) -> tuple[Terms, Tensor]:
        """The terms at a picture, and the gradient of their sum in opponent coordinates."""
        if self.evaluate is None:
            return {}, torch.zeros_like(picture)
        leaf = picture.detach().requires_grad_()
        values = self.evaluate(leaf)
        (gradient,) = torch.autograd.grad(torch.stack(list(values.values())).sum(), leaf)
        return {name: value.detach() for name, value in values.items()}, to_opponent(gradient)

    def models(self, picture: Tensor) -> list[Curvature]:
        """What the terms offer."""
        return [model for term in self.terms if (model := term.curvature(picture)) is not None]


def _grouped(objective: Callable[[Tensor], Terms], image: Tensor) -> tuple[_Group, _Group, _Group]:
    """The drawn terms that offer a model, the others that do, and those that do not."""
    if not isinstance(objective, Objective):
        return _Group(None), _Group(None), _Group(objective)
    drawn: list[Member] = []
    known: list[Member] = []
    plain: list[Member] = []
    for member in objective.members:
        modelled = member.term.curvature(image) is not None
        (drawn if modelled and member.term.drawn else known if modelled else plain).append(member)

    def group(members: Sequence[Member]) -> _Group:
        if not members:
            return _Group(None)
        return _Group(lambda leaf: objective.of(members, leaf), [each.term for each in members])

    return group(drawn), group(known), group(plain)


def product(models: Sequence[Curvature], direction: Tensor) -> Tensor:
    """The sum of the curvatures times a direction. (3, H, W) -> (3, H, W)."""
    total = torch.zeros_like(direction)
    for each in models:
        each.add(direction, total)
    return total


def conjugate_gradients(models: Sequence[Curvature], right: Tensor, steps: int) -> Tensor:
    """So many steps towards the solution x of (sum of models) x = right, from 0. (3, H, W) -> (3, H, W).

    Conditioned by the diagonals.
    """
    diagonal = torch.zeros_like(right)
    for each in models:
        diagonal += each.diagonal()
    # Where nothing weighs a pixel, or its chroma, nothing but rounding asks for a change of it.
    inverse = torch.where(diagonal > LEAST_WEIGHT * diagonal.max(), 1 / diagonal, 0.0)
    solution, residual = torch.zeros_like(right), right.clone()
    conditioned = inverse * residual
    direction, size = conditioned.clone(), _dot(residual, conditioned)
    least = torch.finfo(right.dtype).eps ** 2 * size
    for _ in range(steps):
        moved = product(models, direction)
        # What is left after the equations are solved is rounding, and no direction.
        length = torch.where(size > least, size / _dot(direction, moved), 0.0)
        solution += length * direction
        residual -= length * moved
        conditioned = inverse * residual
        before, size = size, _dot(residual, conditioned)
        direction = conditioned + torch.where(size > least, size / before, 0.0) * direction
    return solution


def _total(values: Terms) -> float:
    return sum(value.item() for value in values.values())


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.flatten(), b.flatten())
