"""The gallery as a browser reads it: nothing fetched, every picture once, the worst first, the scores as they are."""

import base64
import csv
import hashlib
import io
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.gallery import (
    PHOTO,
    REFERENCE,
    SIDE,
    distance,
    write_csv,
    write_gallery,
)
from experiments.intervals import bootstrap
from photostyle.errors import PhotostyleError
from photostyle.files.images import write_image
from photostyle.imaging.filters import resize
from photostyle.search.trials import Trial

VOID = {"meta", "img", "input", "br", "link"}
METHODS = ["ours", 'the "others" <i>', "identity"]
PAIRS = ["7", "lake & hill", "</script><b>"]
STYLE_AND_EDGE = {  # by pair and method; the distance of ours is greatest for the second pair
    "7": [(0.3, 0.9), (0.25, 0.6), (1.0, 1.0)],
    "lake & hill": [(0.8, 0.7), (0.9, 0.8), (1.0, 1.0)],
    "</script><b>": [(0.1, 0.5), (0.1, 0.6), (1.0, 1.0)],
}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def some_scores() -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for pair, values in STYLE_AND_EDGE.items():
        found[pair] = {}
        for method, (style, edge) in zip(METHODS, values, strict=True):
            found[pair][method] = {"style": style, "edge": edge, "seconds": 1 / 3}
        del found[pair]["identity"]["seconds"]
    return found


def some_pictures(folder: Path) -> dict[str, dict[str, Path]]:
    """Smooth random pictures, so that JPEG keeps them; identity is the photo's own file."""
    generator, found = torch.Generator().manual_seed(0), {}
    for row, pair in enumerate(PAIRS):
        found[pair] = {
            name: folder / f"{row} {k}.png" for k, name in enumerate((PHOTO, REFERENCE, *METHODS[:2]))
        }
        for path in found[pair].values():
            write_image(path, resize(torch.rand(3, 4, 6, generator=generator), 40, 60))
        found[pair]["identity"] = found[pair][PHOTO]
    return found


class Reader(HTMLParser):
    """Elements by tag with their attributes and text, and whether every element is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, list[str]]] = []
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attributes}) == len(attributes), "an attribute is given twice"
        self.elements.append((tag, {name: value or "" for name, value in attributes}, []))
        if tag not in VOID:
            self.open.append((tag, self.elements[-1][2]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop()[0] == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open:
            self.open[-1][1].append(data)

    def all(self, tag: str) -> list[tuple[dict[str, str], str]]:
        return [(attributes, "".join(text)) for name, attributes, text in self.elements if name == tag]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "gallery.html"
    write_gallery(
        path, "Ours & <theirs>", ["one <remark>"], PAIRS, METHODS, some_scores(), some_pictures(tmp_path)
    )
    return path


@pytest.fixture
def page(written: Path) -> str:
    return written.read_text(encoding="utf-8")


def data_of(reader: Reader) -> dict[str, Any]:
    return json.loads(
        next(text for attributes, text in reader.all("script") if attributes.get("id") == "scores")
    )


def decoded(source: str) -> np.ndarray:
    assert source.startswith("data:image/jpeg;base64,")
    with Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))) as picture:
        return np.asarray(picture).astype(float) / 255


def test_every_element_is_closed_and_nothing_is_fetched(page):
    reader = Reader(page)
    for tag, attributes, _ in reader.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "#").startswith(("data:image/jpeg;base64,", "#")), (tag, attributes)
        assert not any(name.startswith("on") or name == "style" for name in attributes), (
            "the policy forbids it"
        )
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _, _ in reader.elements}
    code = "".join(text for tag in ("style", "script") for _, text in reader.all(tag))
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp", code)


def test_the_policy_allows_this_script_and_this_style_and_no_other(page):
    reader = Reader(page)
    policy = next(a["content"] for a, _ in reader.all("meta") if "http-equiv" in a)
    (style,) = [text for _, text in reader.all("style")]
    (script,) = [text for attributes, text in reader.all("script") if "type" not in attributes]
    for kind, text in (("script", script), ("style", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy


def test_every_picture_is_embedded_once_and_under_its_name(page, tmp_path):
    reader, pictures = Reader(page), some_pictures(tmp_path)
    images = [attributes for attributes, _ in reader.all("img")]
    sources = [image["src"] for image in images if "src" in image]
    assert len(sources) == len(set(sources)) == len(PAIRS) * 4
    for pair in PAIRS:
        for name in (PHOTO, REFERENCE, *METHODS):
            (image,) = [each for each in images if each["alt"] == f"{pair}: {name}"]
            if name == "identity":  # the photo's own file, which its card holds already
                photo = next(each for each in images if each["alt"] == f"{pair}: {PHOTO}")
                assert "src" not in image and image["data-same"] == photo["data-file"]
                continue
            with Image.open(pictures[pair][name]) as original:
                expected = np.asarray(original) / 255
            # JPEG moves a smooth picture by a few levels; two of these are 0.2 apart.
            assert np.abs(decoded(image["src"]) - expected).mean() < 0.02
            assert (image["width"], image["height"], image["loading"]) == ("60", "40", "lazy")


def test_a_large_picture_is_reduced(tmp_path):
    pictures = some_pictures(tmp_path)
    write_image(pictures["7"]["ours"], torch.rand(3, 300, 1200))
    write_gallery(tmp_path / "g.html", "t", [], PAIRS, METHODS, some_scores(), pictures)
    images = [attributes for attributes, _ in Reader((tmp_path / "g.html").read_text()).all("img")]
    (image,) = [each for each in images if each["alt"] == "7: ours"]
    assert decoded(image["src"]).shape == (SIDE // 4, SIDE, 3)


def test_the_worst_pair_comes_first(page):
    found = [PAIRS[int(attributes["data-pair"])] for attributes, _ in Reader(page).all("article")]
    assert found == sorted(PAIRS, key=lambda pair: -distance(some_scores()[pair]["ours"]))
    assert found[0] == "lake & hill"


def test_the_distance_is_that_of_a_trial():
    trial = Trial(0, "complete", {}, {}, 1.0, style=0.3, edge=0.6)
    assert distance({"style": 0.3, "edge": 0.6}) == trial.distance == pytest.approx(0.5)


def test_the_first_two_methods_are_compared_and_shown(page):
    reader = Reader(page)
    chosen = [text for attributes, text in reader.all("option") if "selected" in attributes]
    assert chosen == [*METHODS[:2], "distance ↓", *METHODS[:2] * len(PAIRS)]
    shown = [a["class"] for a, _ in reader.all("img") if "data-method" in a and "hidden" not in a]
    assert shown == ["left", "right"] * len(PAIRS)


def test_the_data_are_the_scores_to_the_last_digit(page):
    data, scores = data_of(Reader(page)), some_scores()
    assert (data["pairs"], data["methods"]) == (PAIRS, METHODS)
    assert data["metrics"] == [
        {"name": "distance ↓", "better": -1},
        {"name": "style ↓", "better": -1},
        {"name": "edge ↑", "better": 1},
        {"name": "seconds", "better": 0},
    ]
    for pair, rows in zip(PAIRS, data["scores"], strict=True):
        for method, row in zip(METHODS, rows, strict=True):
            own = scores[pair][method]
            assert row == [distance(own), own["style"], own["edge"], own.get("seconds")]


def test_the_means_have_intervals_and_wins(page):
    rows = [re.sub(r"<[^>]+>", "|", row).split("|") for row in re.findall(r"<tr>.*?</tr>", page)]
    table = {row[2]: [each for each in row if each] for row in rows}
    styles = {method: [some_scores()[pair][method]["style"] for pair in PAIRS] for method in METHODS}
    low, high = bootstrap(styles["ours"])
    assert f"{low:.3f} to {high:.3f}" in table["ours"] and f"{np.mean(styles['ours']):.3f}" in table["ours"]
    # Distance, style, edge: ours against the others, pair by pair, counted by hand; 0.1 against 0.1 is no win.
    assert [each for each in table["the &quot;others&quot; &lt;i&gt;"] if " of " in each] == [
        "2 of 3",
        "1 of 3",
        "1 of 3",
    ]
    assert table["identity"][-1] == "–"
    best = np.mean([distance(some_scores()[pair]["ours"]) for pair in PAIRS])
    # Of seconds none is best: which way they are better is not known.
    assert re.findall(r"<strong>([\d.]+)</strong>", page) == [f"{best:.3f}", "0.400", "1.000"]


def test_what_is_given_is_escaped(page):
    for text in (
        "Ours &amp; &lt;theirs&gt;",
        "one &lt;remark&gt;",
        "lake &amp; hill",
        "&lt;/script&gt;&lt;b&gt;",
    ):
        assert text in page
    assert "<b>" not in page and "<i>" not in page and "\\u003c/script>" in page


def test_one_method_and_one_pair_are_a_gallery(tmp_path):
    scores = {"7": {"ours": {"style": 0.5, "edge": 0.5}}}
    write_gallery(tmp_path / "g.html", "t", [], ["7"], ["ours"], scores, some_pictures(tmp_path))
    reader = Reader((tmp_path / "g.html").read_text(encoding="utf-8"))
    assert [a["class"] for a, _ in reader.all("img") if "data-method" in a] == ["left right"]


def without(table: dict[str, dict[str, Any]], pair: str, name: str) -> dict[str, dict[str, Any]]:
    return table | {pair: {key: value for key, value in table[pair].items() if key != name}}


def test_what_is_missing_is_one_line(tmp_path):
    scores, pictures = some_scores(), some_pictures(tmp_path)
    broken = some_scores()
    broken["7"]["ours"]["edge"] = math.nan
    edgeless = some_scores()
    del edgeless["7"]["ours"]["edge"]
    for wrong_scores, wrong_pictures, said in (
        (without(scores, "7", "identity"), pictures, "pair 7, identity: no score edge"),
        (edgeless, pictures, "pair 7, ours: no score edge"),
        (broken, pictures, "pair 7, ours: edge is no finite number"),
        (scores, without(pictures, "lake & hill", REFERENCE), "pair lake & hill has no picture of reference"),
    ):
        with pytest.raises(PhotostyleError, match=said) as error:
            write_gallery(tmp_path / "g.html", "t", [], PAIRS, METHODS, wrong_scores, wrong_pictures)
        assert "\n" not in str(error.value) and not (tmp_path / "g.html").exists()
    with pytest.raises(PhotostyleError, match="at least one"):
        write_gallery(tmp_path / "g.html", "t", [], [], METHODS, {}, {})


def test_a_csv_file_reads_back_as_it_was(tmp_path):
    path = tmp_path / "scores.csv"
    rows = [
        {"pair": "7", "method": 'the "others", too', "style": 0.1 + 0.2},
        {"pair": "ä\nb", "method": "ours", "style": 1e-17, "seconds": 1 / 3},
    ]
    write_csv(path, rows)
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["pair", "method", "style", "seconds"]
    assert found[0]["seconds"] == ""
    for row, read in zip(rows, found, strict=True):
        assert {key: type(value)(read[key]) for key, value in row.items()} == row


# In a browser, where there is one

ACTIONS = """
const log = {}, cards = () => [...document.querySelectorAll(".card h3")].map(each => each.textContent);
const rows = () => [...document.querySelectorAll("#pairs tbody tr")].map(row => row.cells[0].textContent);
const set = (id, value) => {
  document.getElementById(id).value = value;
  document.getElementById(id).dispatchEvent(new Event("change"));
};
const shown = () => [...document.querySelectorAll(".card:first-child .stack img:not([hidden])")]
  .map(image => [image.alt, image.className, image.src.slice(0, 15)]);
log.start = [cards(), rows(), shown()];
log.cells = [...document.querySelectorAll("#pairs tbody tr:first-child td")].map(cell => cell.textContent);
set("order", 2); log.edge = cards();
set("kind", "difference"); log.against = cards();
set("theirs", 2); log.identity = shown();
const head = document.querySelectorAll("#pairs th button")[3];
head.click(); log.up = rows(); head.click(); log.down = rows();
set("ours", 1); log.kept = rows();
const slider = document.querySelector(".stack input");
slider.value = 20; slider.dispatchEvent(new Event("input"));
log.slider = [slider.getAttribute("aria-valuetext"), slider.parentElement.style.getPropertyValue("--at")];
document.body.replaceChildren(Object.assign(document.createElement("pre"), { textContent: JSON.stringify(log) }));
"""


def browsed(path: Path, profile: Path) -> str:
    """The page's elements after its script has run."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    ended = subprocess.run(
        [*command, "--virtual-time-budget=2000", "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return ended.stdout


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
@pytest.mark.slow
def test_a_browser_runs_the_script_under_the_policy(written, tmp_path):
    text = browsed(written, tmp_path / "profile")
    assert text.count('href="#pair-') == len(PAIRS)


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
@pytest.mark.slow
def test_choices_sort_and_show_in_a_browser(page, tmp_path):
    # The policy would refuse the actions of this test as it refuses any other script.
    acting = re.sub(r"<meta http-equiv[^>]+>", "", page).replace(
        "</body>", f"<script>{ACTIONS}</script></body>"
    )
    (tmp_path / "acting.html").write_text(acting, encoding="utf-8")
    reader = Reader(browsed(tmp_path / "acting.html", tmp_path / "profile"))
    log = json.loads(reader.all("pre")[0][1])
    seven, lake, script = PAIRS
    assert log["start"][:2] == [[lake, script, seven], PAIRS]
    assert [each[1] for each in log["start"][2]] == ["left", "right"]
    difference = math.hypot(0.3, 0.1) - math.hypot(0.25, 0.4)
    assert log["cells"][:7] == [
        seven,
        f"{math.hypot(0.3, 0.1):.3f}",
        f"−{-difference:.3f} ✓",
        "0.300",
        "+0.050 ✗",
        "0.900",
        "+0.300 ✓",
    ]
    assert log["cells"][7:] == ["0.333", "+0.000"], "which way seconds are better is not for this page to say"
    assert log["edge"] == [script, lake, seven]
    # Differences of edge: +0.3, −0.1, −0.1; of the two as bad, the first.
    assert log["against"] == [lake, script, seven]
    assert [each[1:] for each in log["identity"]] == [
        ["left", "data:image/jpeg"],
        ["right", "data:image/jpeg"],
    ]
    # Style of ours: 0.3, 0.8, 0.1; of the others 0.25, 0.9, 0.1, in the order that was last asked for.
    assert log["up"] == [script, seven, lake] and log["down"] == log["kept"] == [lake, seven, script]
    assert log["slider"] == ['20 % the "others" <i>, 80 % identity', "20%"]
