"""Methods side by side in one HTML file: their scores with intervals, every pair, every picture under a slider.

The page (gallery.html, gallery.css, gallery.js) fetches nothing, tells the browser so in a content security policy, and
works from a file. Without scripts the means and the pictures of the first two methods are still shown.
"""

import base64
import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from experiments.intervals import bootstrap, wins
from photostyle.errors import PhotostyleError
from photostyle.evaluation.reports import BETTER
from photostyle.files.atomic import write_bytes_atomically
from photostyle.files.images import read_image
from photostyle.imaging.filters import fit_within, resize
from photostyle.search.page import QUALITY, SORTABLE_STYLE, SORTING, sort_button, thumbnail

SIDE = 512  # pixels of an embedded picture's long side: the size that the default transfer is computed at
PHOTO, REFERENCE = "photo", "reference"  # the names of the inputs among the pictures of a pair
DISTANCE = "distance"
ARROWS = {**BETTER, DISTANCE: "↓"}

Scores = Mapping[str, Mapping[str, Mapping[str, float]]]
Pictures = Mapping[str, Mapping[str, Path]]


def distance(scores: Mapping[str, float]) -> float:
    """From the unreachable, all of the style and every edge: sqrt(style^2 + (1 - edge)^2), as `Trial.distance`."""
    return math.hypot(scores["style"], 1 - scores["edge"])


def write_gallery(
    path: Path,
    title: str,
    remarks: Iterable[str],
    pairs: Sequence[str],
    methods: Sequence[str],
    scores: Scores,
    pictures: Pictures,
) -> None:
    """Write the page; the pair in which the first method has the greatest `distance` comes first.

    remarks: lines above it all. methods: ours first, then what it is compared with unless the reader chooses. scores:
    by pair, method and name; style and edge are needed, a method may lack others. pictures: files by pair and method,
    and under PHOTO and REFERENCE; embedded at a long side of SIDE as JPEG of page.QUALITY, a file that a pair has twice
    (the untouched photo as a method) once. Raises PhotostyleError where a score or a picture is missing, or a score is
    no finite number.
    """
    _check(pairs, methods, scores, pictures)
    names = list(dict.fromkeys(name for pair in pairs for each in methods for name in scores[pair][each]))
    names = [DISTANCE, *(name for name in names if name != DISTANCE)]
    full: Scores = {
        pair: {each: {**scores[pair][each], DISTANCE: distance(scores[pair][each])} for each in methods}
        for pair in pairs
    }
    worst_first = sorted(range(len(pairs)), key=lambda k: -full[pairs[k]][methods[0]][DISTANCE])
    cards = "".join(_card(k, pairs[k], methods, pictures[pairs[k]]) for k in worst_first)
    text = _template().format(
        title=escape(title),
        policy=_policy(),
        style=_style(),
        script=_script(),
        remarks="".join(f"<p>{escape(remark)}</p>" for remark in remarks),
        first=escape(methods[0]),
        count=len(pairs),
        summary=_summary(pairs, methods, names, full),
        heads=_pair_heads(names),
        ours=_options(methods, 0),
        theirs=_options(methods, min(1, len(methods) - 1)),
        orders=_options([_with_arrow(name) for name in names], 0),
        cards=cards,
        data=_data(pairs, methods, names, full),
    )
    write_bytes_atomically(path, text.encode())


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a table as UTF-8, floats with every digit, columns in the order in which they first occur.

    A cell is empty where a row lacks the column. Raises ComputationError where the disk fails.
    """
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(dict.fromkeys(key for row in rows for key in row)), restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes_atomically(path, buffer.getvalue().encode())


def _check(pairs: Sequence[str], methods: Sequence[str], scores: Scores, pictures: Pictures) -> None:
    if not pairs or not methods:
        raise PhotostyleError("a gallery needs at least one pair and one method")
    for pair in pairs:
        for name in (PHOTO, REFERENCE, *methods):
            if name not in pictures.get(pair, {}):
                raise PhotostyleError(f"pair {pair} has no picture of {name}; give one")
        for method in methods:
            found = scores.get(pair, {}).get(method, {})
            if missing := {"style", "edge"} - found.keys():
                raise PhotostyleError(f"pair {pair}, {method}: no score {min(missing)}; score it first")
            if wrong := [name for name, value in found.items() if not math.isfinite(value)]:
                raise PhotostyleError(f"pair {pair}, {method}: {wrong[0]} is no finite number; run it again")


def _summary(pairs: Sequence[str], methods: Sequence[str], names: Sequence[str], scores: Scores) -> str:
    """The table of means: one row per method, one column per score."""
    columns = [
        _column(name, [[scores[pair][method].get(name) for pair in pairs] for method in methods])
        for name in names
    ]
    head = "".join(f'<th scope="col">{escape(_with_arrow(name))}</th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{escape(method)}</th>{"".join(cells)}</tr>'
        for method, *cells in zip(methods, *columns, strict=True)
    )
    return f'<thead><tr><th scope="col">method</th>{head}</tr></thead><tbody>{rows}</tbody>'


def _column(name: str, values: Sequence[Sequence[float | None]]) -> list[str]:
    """One cell per method: mean, interval, on how many pairs the first is better; "–" where a pair lacks the score."""
    known = [[each for each in row if each is not None] for row in values]
    complete = [own if len(own) == len(row) else [] for own, row in zip(known, values, strict=True)]
    means = [sum(own) / len(own) if own else None for own in complete]
    higher, best = ARROWS.get(name) == "↑", None
    if name in ARROWS:
        best = (max if higher else min)((mean for mean in means if mean is not None), default=None)
    cells = []
    for row, (own, mean) in enumerate(zip(complete, means, strict=True)):
        if mean is None:
            cells.append("<td>–</td>")
            continue
        shown = f"<strong>{mean:.3f}</strong>" if mean == best else f"{mean:.3f}"
        low, high = bootstrap(own)
        won = (
            f"{wins(complete[0], own, higher)} of {len(own)}"
            if row and complete[0] and name in ARROWS
            else ""
        )
        cells.append(f"<td>{shown}<small>{low:.3f} to {high:.3f}</small><small>{won}</small></td>")
    return cells


def _pair_heads(names: Sequence[str]) -> str:
    heads = ["pair", *(text for name in names for text in (_with_arrow(name), "difference"))]
    return "".join(f'<th scope="col">{sort_button(head)}</th>' for head in heads)


def _options(texts: Sequence[str], chosen: int) -> str:
    return "".join(
        f'<option value="{k}"{" selected" * (k == chosen)}>{escape(text)}</option>'
        for k, text in enumerate(texts)
    )


def _card(number: int, pair: str, methods: Sequence[str], pictures: Mapping[str, Path]) -> str:
    """The two photographs, and all results in one place, of which two are shown."""
    embedded: dict[Path, str] = {}
    inputs = "".join(
        f"<figure>{_image(pictures[name], f'{pair}: {name}', embedded, '')}<figcaption>{name}</figcaption></figure>"
        for name in (PHOTO, REFERENCE)
    )
    sides = (0, min(1, len(methods) - 1))
    results = "".join(
        _image(pictures[method], f"{pair}: {method}", embedded, _attributes(k, sides))
        for k, method in enumerate(methods)
    )
    left, right = (_options(methods, side) for side in sides)
    return (
        f'<article class="card" id="pair-{number}" data-pair="{number}"><h3>{escape(pair)}</h3>'
        f'<div class="inputs">{inputs}</div><div class="compare">'
        f'<div class="sides"><label>left <select class="choose-left">{left}</select></label>'
        f'<label>right <select class="choose-right">{right}</select></label></div>'
        f'<div class="stack">{results}<input type="range" min="0" max="100" value="50" '
        f'aria-label="{escape(pair)}: how much of the picture shows the left method"></div>'
        f'<div class="wide"><table class="facts"></table></div></div></article>'
    )


def _attributes(method: int, sides: tuple[int, int]) -> str:
    shown = " ".join(name for name, side in zip(("left", "right"), sides, strict=True) if side == method)
    return f'data-method="{method}" class="{shown}"{" hidden" * (not shown)}'


def _image(path: Path, caption: str, embedded: dict[Path, str], attributes: str) -> str:
    """An <img>. For a file that the card holds already, one without a source that names the one that has it."""
    whole = path.resolve()
    if whole in embedded:
        return f'<img {attributes} alt="{escape(caption)}" data-same="{embedded[whole]}">'
    embedded[whole] = f"{len(embedded)}"
    pixels = read_image(path).pixels
    height, width = fit_within(pixels.shape[1], pixels.shape[2], SIDE)
    size = f'data-file="{embedded[whole]}" width="{width}" height="{height}" loading="lazy" decoding="async"'
    return thumbnail(resize(pixels, height, width), caption, QUALITY, f"{size} {attributes}".strip())


def _data(pairs: Sequence[str], methods: Sequence[str], names: Sequence[str], scores: Scores) -> str:
    """What gallery.js reads: scores[pair][method][metric], null where there is none, and which way each is better."""
    better = {"↑": 1, "↓": -1}
    text = json.dumps(
        {
            "pairs": list(pairs),
            "methods": list(methods),
            "metrics": [
                {"name": _with_arrow(name), "better": better.get(ARROWS.get(name, ""), 0)} for name in names
            ],
            "scores": [
                [[scores[pair][each].get(name) for name in names] for each in methods] for pair in pairs
            ],
        },
        ensure_ascii=False,
        allow_nan=False,
    )
    return text.replace("<", "\\u003c")  # otherwise a name could end the element


def _with_arrow(name: str) -> str:
    return f"{name} {ARROWS[name]}" if name in ARROWS else name


def _template() -> str:
    return Path(__file__).with_name("gallery.html").read_text(encoding="utf-8")


def _style() -> str:
    return Path(__file__).with_suffix(".css").read_text(encoding="utf-8") + SORTABLE_STYLE


def _script() -> str:
    return SORTING + Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def _policy() -> str:
    """Only what is in the file is allowed: its own script and style by their hashes, and pictures as data."""
    script, style = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (_script(), _style())
    )
    return (
        f"default-src 'none'; img-src data:; script-src 'sha256-{script}'; style-src 'sha256-{style}'; "
        "base-uri 'none'; form-action 'none'"
    )
