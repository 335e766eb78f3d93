"""What a transfer gives back: the picture, and everything that a record says of how it came about."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from photostyle.files.images import Picture
from photostyle.files.masks import MaskSet
from photostyle.losses.precision import Precision
from photostyle.losses.weights import Weights
from photostyle.regions.guidance import Guidance
from photostyle.regions.mixture import only
from photostyle.regions.relation import Dial


@dataclass(frozen=True)
class Result:
    """What came out: the picture at the photo's size and everything a record needs."""

    image: Tensor  # (3, H, W), sRGB in [0, 1], on the CPU
    photo: Picture
    references: tuple[Picture, ...]
    guidance: Guidance
    how: Dial  # how far each region went
    masks: tuple[MaskSet, ...]  # the photo's, then each reference's
    mask_paths: tuple[str, ...]  # absolute, "none", or "in memory"
    weights: Weights | None
    precision: Precision | None  # what the network computed in; None without one
    device: str
    threads: int
    protected: dict[str, float]  # what keeps its own colour, and its share of the photo
    trace: list[dict[str, Any]] = field(default_factory=list)  # one entry per evaluation
    notes: tuple[str, ...] = ()  # what was decided for the user, to be said aloud
    ended: str = "done"  # "done", "interrupted", or why the computation failed
    solved: Tensor | None = None  # (3, h, w), what was rendered, on the CPU; None where nothing was evaluated
    start: Picture | None = None  # the file that the solve began from; None where it was none

    @property
    def reference(self) -> Picture:
        """The one reference; raises PhotostyleError where there are several."""
        return only(self.references)


def stages_of(result: Result) -> Iterator[dict[str, Any]]:
    """Per stage: its number, evaluations and seconds, from the trace."""
    for number in sorted({entry["stage"] for entry in result.trace}):
        entries = [entry for entry in result.trace if entry["stage"] == number]
        yield {"stage": number, "evaluations": len(entries), "seconds": entries[-1]["seconds"]}
