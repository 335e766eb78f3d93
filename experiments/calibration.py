"""How `doubt` was fitted to verdicts by eye, and how far it agrees with them on photographs it was not fitted to."""

import csv
import tomllib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from experiments.intervals import CONFIDENCE, SEED
from photostyle.errors import PhotostyleError
from photostyle.evaluation.doubt import WEIGHED
from photostyle.evaluation.signs import Signs

NAMES = tuple(field.name for field in fields(Signs))
TARGETS = {"good": 0.0, "usable": 0.5, "bad": 1.0}  # a usable picture is as near to one as to the other
# Of the squared weights beside the sum of log-losses. From 0.1 to 10 agreement on unseen photographs moves by 0.012.
RIDGE = 1.0
RESAMPLES = 2000  # of pairs, for the interval: each is a matrix of all couples

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """What a person said of one picture."""

    content: str
    style: str
    setting: str
    verdict: str  # of TARGETS
    sha256: str  # of the picture that was looked at
    reason: str = ""
    set: str = ""  # "calibration": fitted to; "fresh": judged before its doubt was known; else neither

    @property
    def pair(self) -> tuple[str, str]:
        """Its two photographs."""
        return self.content, self.style

    @property
    def related(self) -> bool:
        """Whether it is a published pair: two photographs that were chosen for each other."""
        return self.style == self.content.replace("input/in", "style/tar") != self.content


def read_verdicts(path: Path) -> list[Verdict]:
    """The verdicts of a verdicts.toml. Raises PhotostyleError for one that is none of TARGETS."""
    verdicts = [Verdict(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8"))["verdict"]]
    for each in verdicts:
        if each.verdict not in TARGETS:
            raise PhotostyleError(
                f'{path} has the verdict "{each.verdict}" on {each.content} from {each.style}; '
                f"expected {', '.join(TARGETS)}"
            )
    return verdicts


def read_signs(path: Path, verdicts: Sequence[Verdict]) -> list[Signs]:
    """The signs.csv beside them: the signs of each judged picture that has a set, in the order of the verdicts.

    Raises PhotostyleError where the two are not of the same pictures.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if [row["sha256"] for row in rows] != [each.sha256 for each in verdicts if each.set]:
        raise PhotostyleError(f"{path} is of other pictures than the verdicts beside it; restore both")
    return [Signs(**{name: float(row[name]) for name in NAMES}) for row in rows]


def log_signs(signs: Sequence[Signs]) -> Array:
    """log(1 + sign / unit) of each picture: (n, 6)."""
    units = np.array([WEIGHED[name].unit for name in NAMES])
    logs: Array = np.log1p(np.array([astuple(each) for each in signs]) / units)
    return logs


def fitted(logs: Array, targets: Array) -> Array:
    """Weights ≥ 0 of the signs and the offset, by logistic regression with RIDGE on the weights: (7,)."""
    count = logs.shape[1]

    def loss(weights: Array) -> tuple[float, Array]:
        odds = logs @ weights[:-1] + weights[-1]
        value = (np.logaddexp(0, odds) - targets * odds).sum() + RIDGE / 2 * (weights[:-1] ** 2).sum()
        error = expit(odds) - targets
        return float(value), np.append(logs.T @ error + RIDGE * weights[:-1], error.sum())

    bounds = [(0, None)] * count + [(None, None)]
    found: Array = minimize(loss, np.zeros(count + 1), jac=True, bounds=bounds, method="L-BFGS-B").x
    return found


def held_out(logs: Array, verdicts: Sequence[Verdict]) -> Array:
    """Log-odds of each picture by weights fitted to pictures that share neither of its photographs: (n,)."""
    targets = np.array([TARGETS[each.verdict] for each in verdicts])
    odds = np.zeros(len(logs))
    for pair in {each.pair for each in verdicts}:
        inside = np.array([each.pair == pair for each in verdicts])
        others = np.array([not set(each.pair) & set(pair) for each in verdicts])
        weights = fitted(logs[others], targets[others])
        odds[inside] = logs[inside] @ weights[:-1] + weights[-1]
    return odds


def agreement(odds: Array, verdicts: Sequence[Verdict]) -> dict[str, float | int | list[float] | None]:
    """Share of the couples of a good and a bad picture in which the bad one is doubted more, equal doubt as a half.

    "of one pair": couples of the same two photographs alone. "interval": 95 %, pairs of photographs being resampled.
    None where there are no such couples.
    """
    said = np.array([each.verdict for each in verdicts])
    pairs = sorted({each.pair for each in verdicts})
    place = np.array([pairs.index(each.pair) for each in verdicts])
    good, bad = said == "good", said == "bad"
    gap = odds[bad][:, None] - odds[good]
    right, same = (gap > 0) + 0.5 * (gap == 0), place[bad][:, None] == place[good]
    random, shares = np.random.default_rng(SEED), list[float]()
    for _ in range(RESAMPLES if right.size else 0):
        drawn = np.bincount(random.integers(len(pairs), size=len(pairs)), minlength=len(pairs))
        weight = drawn[place[bad]][:, None] * drawn[place[good]]
        if weight.sum():
            shares.append(float((right * weight).sum() / weight.sum()))
    ends = np.quantile(shares, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist() if shares else None
    return {
        "pictures": len(verdicts),
        "good": int(good.sum()),
        "bad": int(bad.sum()),
        "couples": float(right.mean()) if right.size else None,
        "interval": ends,
        "of one pair": float(right[same].mean()) if same.any() else None,
    }
