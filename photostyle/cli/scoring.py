"""The scores of a finished run, for its record. Whatever keeps them from being taken costs them and no more."""

import dataclasses
from collections.abc import Callable
from typing import Any

from photostyle.cli.console import reason
from photostyle.config import Config
from photostyle.result import Result

Scores = tuple[dict[str, Any], dict[str, Any]]


def wants_scores(config: Config, result: Result, say: Callable[[str], None]) -> bool:
    """Whether there is anything to score, and a reference to score it against."""
    if not config.metrics or result.ended != "done":
        return False
    if len(result.references) > 1:
        say(
            "no metrics: they are against one reference; photostyle score --style FILE takes them against that one"
        )
        return False
    return True


def scores_of(config: Config, result: Result, say: Callable[[str], None]) -> Scores | None:
    """Scores and artefacts; None, and a note, where they could not be taken."""
    try:
        return _scores(config, result)
    except (Exception, KeyboardInterrupt) as error:
        say(f"no metrics: {reason(error)}")
    return None


def _scores(config: Config, result: Result) -> Scores:
    # What scores stand on is imported after the last step, not before the first.
    from photostyle.evaluation.artefacts import find_artefacts
    from photostyle.evaluation.comparison import comparison_within
    from photostyle.evaluation.doubt import doubt
    from photostyle.evaluation.scores import score, score_encoder
    from photostyle.evaluation.signs import find_signs

    images = (result.image, result.photo.pixels, result.reference.pixels)
    encoder = None if result.weights is None else score_encoder(result.weights, config.encoder)
    compared = comparison_within(*images, result.guidance.content, result.guidance.style)
    signs = find_signs(compared)
    metrics = dataclasses.asdict(score(compared, encoder))
    metrics |= {"doubt": doubt(signs), "signs": signs.as_dict()}
    return metrics, find_artefacts(compared).as_dict()
