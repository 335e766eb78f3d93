"""The range that a setting may have, said where the setting stands and checked at the door (validate.py)."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class AtLeast:
    """Numbers from `low` on."""

    low: float

    def __contains__(self, value: float) -> bool:
        return value >= self.low

    def __str__(self) -> str:
        return f"must be at least {self.low}"


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
