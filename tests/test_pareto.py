"""The front against its definition, the chosen trial, and what is shown of them."""

import base64
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from photostyle.evaluation.doubt import DOUBTFUL
from photostyle.files.images import write_image
from photostyle.search.page import write_page
from photostyle.search.pareto import choose, front_table, pareto_front, plot_front, preset_trial, roles
from photostyle.search.trials import OBJECTIVES, Trial


def trial(number: int, style: float, edge: float, default: bool = False, doubt: float = 0.1) -> Trial:
    values = {"structure_weight": 0.01 * (number + 1), "photorealism_coarse": 2.0}
    return Trial(number, "complete", values, dict(values), 1.5, default, style, edge, 0.125, doubt)


def failed(number: int) -> Trial:
    return Trial(number, "failed", {"structure_weight": 9.0}, {}, 0.5, failure="structure is <not> finite")


def interrupted(number: int) -> Trial:
    return Trial(number, "interrupted", {}, {}, 0.0)


# A coarse grid, so that there are ties.
TRIALS = st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=25).map(
    lambda scores: [
        trial(k, style / 4, edge / 6, doubt=doubt / 6) for k, (style, edge, doubt) in enumerate(scores)
    ]
)


def beats(one: Trial, other: Trial) -> bool:
    """The definition: no worse in any, better in one."""
    return (
        one.style <= other.style
        and one.edge >= other.edge
        and one.doubt <= other.doubt
        and (one.style, one.edge, one.doubt) != (other.style, other.edge, other.doubt)
    )


@given(TRIALS)
def test_the_front_is_what_no_trial_beats(trials: list[Trial]) -> None:
    expected = {each.number for each in trials if not any(beats(other, each) for other in trials)}
    front = pareto_front(trials)
    assert {each.number for each in front} == expected
    assert [each.style for each in front] == sorted(each.style for each in front)


@given(TRIALS.filter(len))
@pytest.mark.slow
def test_it_is_optuna_s_too(trials: list[Trial]) -> None:
    study = optuna.create_study(directions=list(OBJECTIVES.values()))
    study.add_trials(
        [optuna.trial.create_trial(values=[getattr(each, name) for name in OBJECTIVES]) for each in trials]
    )
    assert {each.number for each in study.best_trials} == {each.number for each in pareto_front(trials)}


@given(TRIALS.filter(len))
def test_the_chosen_trial_is_the_nearest_and_on_the_front(trials: list[Trial]) -> None:
    best = choose(trials)
    assert best is not None and best in pareto_front(trials)
    kept = [each for each in trials if not each.doubtful]
    if not kept:
        assert best.doubt == min(each.doubt for each in trials)
        return
    least = min(math.sqrt(each.style**2 + (1 - each.edge) ** 2) for each in kept)
    assert best.distance == pytest.approx(least, rel=1e-15)  # hypot rounds once, the formula four times
    equal = [(each.doubt, each.number) for each in kept if each.distance == best.distance]
    assert (best.doubt, best.number) == min(equal)


def test_no_doubtful_trial_is_chosen_while_there_is_another() -> None:
    stained, plain = trial(0, 0.1, 0.9, doubt=DOUBTFUL + 0.01), trial(1, 0.4, 0.8, doubt=DOUBTFUL)
    assert choose([stained, plain]) == plain
    assert choose([stained, trial(2, 0.1, 0.9, doubt=0.9)]) == stained


def test_trials_without_scores_are_passed_over() -> None:
    trials = [failed(0), trial(1, 0.5, 0.5), interrupted(2)]
    assert pareto_front(trials) == [trials[1]] and choose(trials) == trials[1]
    assert pareto_front([failed(0)]) == [] and choose([failed(0)]) is None and preset_trial(trials) is None


SOME = [
    trial(0, 0.20, 0.60, default=True),  # beaten by 2
    trial(1, 0.10, 0.50),
    trial(2, 0.20, 0.90),
    trial(3, 0.40, 0.95),
    trial(4, 0.50, 0.40),
    failed(5),
]


def test_the_roles_are_named() -> None:
    assert roles(SOME) == {0: ("preset",), 1: ("front",), 2: ("chosen", "front"), 3: ("front",)}


def test_the_table_shows_the_front_by_style_and_the_preset() -> None:
    lines = front_table(SOME).splitlines()
    heads = ["style ↓", "edge ↑", "distance", "drift16 ↓", "doubt ↓", "structure", "photorealism coarse"]
    assert re.split(r"\s{2,}", lines[0].strip()) == heads
    assert [line.split("0.")[0].strip() for line in lines[1:]] == [
        "trial 1",
        "trial 2 chosen",
        "trial 3",
        "trial 0 preset",
    ]
    assert lines[2].split()[3:] == ["0.200", "0.900", "0.224", "0.125", "0.100", "0.03", "2"]


def pictures(folder: Path, numbers: list[int]) -> dict[int, Path]:
    generator = torch.Generator().manual_seed(0)
    found = {number: folder / f"{number:04d}.png" for number in numbers}
    for path in found.values():
        write_image(path, torch.rand(3, 40, 60, generator=generator))
    return found


@pytest.mark.slow
def test_the_plot_is_a_picture_with_or_without_thumbnails(tmp_path: Path) -> None:
    sizes = []
    for name, there in (("with", [0, 1, 2, 3]), ("without", [])):
        path = tmp_path / f"{name}.png"
        plot_front(SOME, pictures(tmp_path, there), "patches 7x7", path)
        with Image.open(path) as picture:
            sizes.append(picture.size)
    assert sizes[0] == (1080, 840) and sizes[1] == (1080, 600)


@pytest.mark.slow
def test_the_plot_shows_the_thumbnails(tmp_path: Path) -> None:
    """Two searches that differ in one thumbnail only differ in that place only."""
    found = pictures(tmp_path, [1, 2, 3])
    arrays = []
    for colour in (0.0, 1.0):
        write_image(found[3], torch.full((3, 40, 60), colour))
        plot_front(SOME, found, "patches 7x7", tmp_path / "plot.png")
        with Image.open(tmp_path / "plot.png") as plot:
            arrays.append(np.asarray(plot.convert("L"), float))
    rows, columns = np.nonzero(arrays[0] != arrays[1])
    assert rows.min() > 600 and columns.min() > 720, "the last of three in the lower part"
    assert (arrays[1] - arrays[0]).max() == 255


def test_a_plot_of_one_trial_works_and_of_none_does_not(tmp_path: Path) -> None:
    plot_front([trial(0, 0.5, 0.5, default=True)], {}, "patches 7x7", tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="no trial is complete"):
        plot_front([failed(0)], {}, "patches 7x7", tmp_path / "none.png")


def test_a_row_holds_the_ends_of_a_long_front(tmp_path: Path) -> None:
    from photostyle.search.pareto import ROW, _telling

    long = [trial(k, 0.01 * k, 0.5 + 0.01 * k, default=k == 7) for k in range(30)]
    told = _telling(long)
    assert len(told) == ROW
    assert {0, 29, 7, choose(long).number} <= {each.number for each in told}
    assert [each.style for each in told] == sorted(each.style for each in told)


class Reader(HTMLParser):
    """Collects what a browser would fetch, and the table's cells."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [
            value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")
        ]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append(dict(attributes).get("data-key") or "")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    path, found = folder / "report.html", pictures(folder, [0, 1, 2, 3, 4])
    plot_front(SOME, found, "patches 7x7", folder / "plot.png")
    photos = {"a <photo>": torch.rand(3, 20, 30), "style": torch.rand(3, 20, 30)}
    write_page(path, "<b> from & to", ["one & two"], photos, folder / "plot.png", SOME, found)
    return path.read_text(encoding="utf-8")


def test_the_page_fetches_nothing(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    assert reader.fetched and all(source.startswith("data:image/") for source in reader.fetched)
    assert not {"link", "iframe", "object", "embed"} & set(reader.tags)
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp", page)


def test_the_page_holds_pictures_of_the_front_the_preset_and_the_inputs(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    sizes = []
    for source in reader.fetched:
        kind, data = source.removeprefix("data:").split(";base64,")
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            sizes.append((kind, picture.size))
    assert (
        sizes
        == [("image/jpeg", (30, 20))] * 2 + [("image/png", (1080, 840))] + [("image/jpeg", (60, 40))] * 4
    )


def test_the_page_s_table_has_every_trial_with_a_key_to_sort_by(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    head, *rows = reader.rows
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert rows[2] == [
        "2",
        "2",
        "chosen front",
        "0.2000",
        "0.9000",
        "0.2236",
        "0.1250",
        "0.1000",
        "0.03",
        "2",
        "1.5",
        "complete",
    ]
    assert rows[5] == ["5", "", "", "", "", "", "", "", "9", "", "0.5", "failed: structure is <not> finite"]
    assert {len(row) for row in rows} == {len(head)} == {12}


def test_the_page_escapes_what_it_is_given(page: str) -> None:
    for text in (
        "&lt;b&gt; from &amp; to",
        "a &lt;photo&gt;",
        "one &amp; two",
        "structure is &lt;not&gt; finite",
    ):
        assert text in page
    assert "<not>" not in page and "<b>" not in page
