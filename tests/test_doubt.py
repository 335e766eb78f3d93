"""Doubt: more the more speaks against a picture, and what is to be done about it in one line."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from experiments.calibration import (
    NAMES,
    TARGETS,
    Verdict,
    agreement,
    fitted,
    held_out,
    log_signs,
    read_signs,
    read_verdicts,
)
from photostyle.errors import PhotostyleError
from photostyle.evaluation.doubt import DOUBTFUL, USUAL, WEIGHED, advice, contributions, doubt, reason
from photostyle.evaluation.signs import Signs

FOLDER = Path(__file__).resolve().parent.parent / "experiments" / "013-unrelated-photographs"
NONE = Signs(0, 0, 0, 0, 0, 0)


@pytest.fixture(scope="module")
def judged() -> tuple[list[Verdict], np.ndarray]:
    """The verdicts with a set, and the logarithms of their pictures' signs."""
    verdicts = read_verdicts(FOLDER / "verdicts.toml")
    logs = log_signs(read_signs(FOLDER / "signs.csv", verdicts))
    return [each for each in verdicts if each.set], logs


def of(kind: str, judged: tuple[list[Verdict], np.ndarray]) -> tuple[list[Verdict], np.ndarray]:
    verdicts, logs = judged
    inside = [each.set == kind for each in verdicts]
    return [each for each in verdicts if each.set == kind], logs[inside]


def test_every_sign_is_weighed() -> None:
    assert tuple(WEIGHED) == NAMES == tuple(NONE.as_dict())


@pytest.mark.parametrize("name", NAMES)
def test_more_of_a_sign_is_more_doubt_up_to_1(name: str) -> None:
    doubts = [doubt(dataclasses.replace(NONE, **{name: value})) for value in (0, 0.1, 1, 10, 1000)]
    assert doubts == sorted(set(doubts)) and 0 < doubts[0] and doubts[-1] < 1


def test_doubt_is_the_logistic_function_of_what_the_signs_add() -> None:
    signs = Signs(0.1, 5.0, 2.0, 30.0, 0.5, 4.0)
    odds = USUAL + sum(contributions(signs).values())
    assert doubt(signs) == pytest.approx(1 / (1 + math.exp(-odds)))
    usual = Signs(**{name: each.usual for name, each in WEIGHED.items()})
    assert doubt(usual) == pytest.approx(1 / (1 + math.exp(-USUAL)))


def test_the_photo_itself_is_not_doubtful() -> None:
    assert doubt(NONE) < 0.1 and advice(NONE) is None


@pytest.mark.parametrize(
    ("signs", "said"),
    [
        (Signs(0.2, 12.0, 3.0, 15.0, 0.0, 0.0), "one colour became several"),
        (Signs(0.9, 2.0, 0.8, 40.0, 0.0, 0.0), "light and dark changed places"),
        (Signs(0.02, 1.0, 0.1, 40.0, 9.0, 0.0), "skin or fur turned green"),
        (Signs(0.05, 1.5, 0.1, 40.0, 0.0, 90.0), "one colour lies over everything"),
    ],
)
def test_a_doubtful_picture_is_said_to_be_one_and_what_to_try(signs: Signs, said: str) -> None:
    line = advice(signs)
    assert line is not None and line.startswith(f"doubtful: {said} (doubt ") and "\n" not in line
    assert "try --strength 0.6" in line and WEIGHED[reason(signs)].reason == said


def test_the_weights_are_those_that_the_verdicts_give(judged: tuple[list[Verdict], np.ndarray]) -> None:
    verdicts, logs = of("calibration", judged)
    found = fitted(logs, np.array([TARGETS[each.verdict] for each in verdicts]))
    assert found[:-1] == pytest.approx([each.weight for each in WEIGHED.values()], abs=0.006)
    usual = np.median(logs[[each.verdict == "good" for each in verdicts]], axis=0)
    assert usual == pytest.approx([math.log1p(e.usual / e.unit) for e in WEIGHED.values()], abs=0.01)
    assert found[-1] + usual @ found[:-1] == pytest.approx(USUAL, abs=0.01)


def test_it_agrees_with_the_eye_on_photographs_that_it_was_not_fitted_to(
    judged: tuple[list[Verdict], np.ndarray],
) -> None:
    verdicts, logs = of("calibration", judged)
    odds = held_out(logs, verdicts)
    assert agreement(odds, verdicts)["couples"] > 0.9
    said, doubted = np.array([each.verdict for each in verdicts]), odds > math.log(DOUBTFUL / (1 - DOUBTFUL))
    assert doubted[said == "bad"].mean() > 0.85 and doubted[said == "good"].mean() < 0.15
    fresh, logs = of("fresh", judged)
    seen = {name for each in verdicts for name in each.pair}
    assert not seen & {name for each in fresh for name in each.pair}
    odds = np.array([doubt(each) for each in _signs(logs)])
    assert agreement(odds, fresh)["couples"] > 0.9


def _signs(logs: np.ndarray) -> list[Signs]:
    units = np.array([each.unit for each in WEIGHED.values()])
    return [Signs(*row) for row in np.expm1(logs) * units]


def test_the_fit_finds_the_weights_that_made_the_verdicts() -> None:
    random = np.random.default_rng(5)
    logs = random.random((4000, 6)) * 3
    true = np.array([0.5, 1.5, 0.0, 0.8, 2.0, 0.3, -6.0])
    bad = random.random(4000) < 1 / (1 + np.exp(-logs @ true[:-1] - true[-1]))
    assert fitted(logs, bad.astype(float)) == pytest.approx(true, abs=0.25)
    # None goes below zero, whatever the verdicts say.
    assert (fitted(logs, 1.0 - bad)[:-1] == 0).all()


def verdict(content: str, style: str, said: str) -> Verdict:
    return Verdict(content, style, "any", said, "")


def test_agreement_counts_couples_of_good_and_bad() -> None:
    verdicts = [verdict("a", "b", "good"), verdict("a", "b", "bad"), verdict("c", "d", "bad")]
    verdicts.append(verdict("c", "d", "usable"))
    found = agreement(np.array([0.0, 1.0, -1.0, 9.0]), verdicts)
    assert (found["couples"], found["of one pair"], found["good"], found["bad"]) == (0.5, 1.0, 1, 2)
    assert agreement(np.zeros(2), verdicts[:2])["couples"] == 0.5
    none = agreement(np.zeros(1), verdicts[:1])
    assert none["couples"] is None and none["interval"] is None and none["of one pair"] is None


def test_a_pair_is_judged_by_pictures_that_share_no_photograph_with_it() -> None:
    random = np.random.default_rng(6)
    verdicts = [verdict(*pair, said) for pair in ("ab", "bc", "de", "fg") for said in ("good", "bad") * 4]
    logs = random.random((len(verdicts), 6))
    odds = held_out(logs, verdicts)
    weights = fitted(logs[16:], np.array([TARGETS[each.verdict] for each in verdicts[16:]]))
    assert odds[:8] == pytest.approx(logs[:8] @ weights[:-1] + weights[-1])  # not by "bc", which has b


def test_a_verdict_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.toml"
    path.write_text(
        '[[verdict]]\ncontent = "a"\nstyle = "b"\nsetting = "now"\nverdict = "fine"\nsha256 = "0"\n',
        encoding="utf-8",
    )
    with pytest.raises(PhotostyleError, match='"fine" on a from b; expected good, usable, bad'):
        read_verdicts(path)
    with pytest.raises(PhotostyleError, match="of other pictures"):
        read_signs(FOLDER / "signs.csv", [verdict("a", "b", "good")])
