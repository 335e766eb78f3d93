"""The range that a setting may have, said where the setting stands and checked at the door."""

import math
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_type_hints

from photostyle.errors import PhotostyleError


@dataclass(frozen=True)
class AtLeast:
    """Finite numbers from `low` on; not a number is in none."""

    low: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value < math.inf

    def __str__(self) -> str:
        return f"must be at least {self.low}"


@dataclass(frozen=True)
class Above:
    """Finite numbers greater than `low`."""

    low: float

    def __contains__(self, value: float) -> bool:
        return self.low < value < math.inf

    def __str__(self) -> str:
        return f"must be more than {self.low}"


@dataclass(frozen=True)
class Between:
    """Numbers from `low` to `high`, both included; not a number is in none."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"must lie between {self.low} and {self.high}"


Share = Annotated[float, Between(0, 1)]
Count = Annotated[int, AtLeast(0)]
Seed = Annotated[int, Between(0, 2**32 - 1)]  # what NumPy's generators and torch's both take


def check_bounds(settings: Any) -> None:
    """Raise PhotostyleError for the first field of a dataclass that is outside of the range that its type says."""
    hints = get_type_hints(type(settings), include_extras=True)
    for field in fields(settings):
        value = getattr(settings, field.name)
        for bound in getattr(hints[field.name], "__metadata__", ()):
            if isinstance(bound, AtLeast | Above | Between) and value is not None and value not in bound:
                raise PhotostyleError(f"{option_of(field.name)} is {value}; it {bound}")


def option_of(name: str) -> str:
    """A setting as the command line has it: learning_rate is --learning-rate."""
    return f"--{name.replace('_', '-')}"
