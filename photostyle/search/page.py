"""A search as a web page in one file: pictures inside it, tables that sort, nothing fetched from anywhere."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from PIL import Image
from torch import Tensor

from photostyle.files.atomic import write_bytes_atomically
from photostyle.files.images import read_image
from photostyle.search.pareto import heading, roles
from photostyle.search.trials import Trial

QUALITY = 90  # of thumbnails as JPEG: a tenth of the bytes of PNG, and no visible blocks

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1200px; padding: 0 1em; color: #222 }
img { max-width: 100%; vertical-align: middle }
figure { display: inline-block; margin: 0 1em 1em 0; text-align: center; font-size: 13px }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25em .6em; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th { position: sticky; top: 0; background: #fff }
tr.front { background: #eef4fb } tr.chosen { background: #fde9e6 } tr.failed, tr.interrupted { color: #999 }
"""
SORTABLE_STYLE = """
th button { all: unset; cursor: pointer } th button:focus-visible { outline: 2px solid }
th[aria-sort=ascending] button::after { content: " ▲" } th[aria-sort=descending] button::after { content: " ▼" }
"""
# A click on a button in the head of a table of class "sortable" sorts it by the data-key of the cells, a second click
# turns the order. Numbers sort as numbers, and empty cells go last in either direction.
SORTING = """
function sortRows(table, column, down) {
  const key = row => row.cells[column].dataset.key, body = table.tBodies[0];
  const compare = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
  [...body.rows].sort((one, other) => {
    const a = key(one), b = key(other);
    return a === "" || b === "" ? (a === "") - (b === "") : (down ? -1 : 1) * compare(a, b);
  }).forEach(row => body.append(row));
}
document.querySelectorAll("table.sortable").forEach(table => {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(each => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    sortRows(table, column, down);
  }));
});
"""


def write_page(
    path: Path,
    title: str,
    remarks: Iterable[str],
    inputs: Mapping[str, Tensor],
    plot: Path,
    trials: Sequence[Trial],
    pictures: Mapping[int, Path],
) -> None:
    """Write the page of a search: the photographs, the plot, a table of all trials, pictures of those on the front.

    remarks: lines above all that. inputs: the photographs (3, h, w) in [0, 1] by caption. plot: a PNG.
    pictures: the files of the trials' pictures, by the trials' numbers.
    """
    figures = "".join(
        f"<figure>{thumbnail(picture, caption)}<br>{escape(caption)}</figure>"
        for caption, picture in inputs.items()
    )
    lines = "".join(f"<p>{escape(remark)}</p>" for remark in remarks)
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}{SORTABLE_STYLE}</style></head><body><h1>{escape(title)}</h1>{lines}{figures}"
        f'<p><img alt="Pareto front" src="{data_uri("image/png", plot.read_bytes())}"></p>'
        f'<div class="wide">{_table(trials, pictures)}</div><script>{SORTING}</script></body></html>\n'
    )
    write_bytes_atomically(path, text.encode())


def _table(trials: Sequence[Trial], pictures: Mapping[int, Path]) -> str:
    named, names = roles(trials), list(dict.fromkeys(name for trial in trials for name in trial.values))
    columns = [
        "trial",
        "picture",
        "role",
        "style ↓",
        "edge ↑",
        "distance ↓",
        "drift16 ↓",
        "doubt ↓",
        *map(heading, names),
        "seconds",
        "state",
    ]
    head = "".join(f"<th>{sort_button(column)}</th>" for column in columns)
    rows = []
    for trial in trials:
        role = " ".join(named.get(trial.number, ()))
        seen = role and trial.number in pictures
        shown = (
            thumbnail(read_image(pictures[trial.number], minimum=1).pixels, f"trial {trial.number}")
            if seen
            else ""
        )
        scores = (trial.style, trial.edge, trial.distance, trial.drift16, trial.doubt)
        cells = [
            _cell(f"{trial.number}"),
            f'<td data-key="{"" if not seen else trial.number}">{shown}</td>',
            _cell(role),
            *(_cell("" if trial.state != "complete" else f"{score:.4f}") for score in scores),
            *(_cell(f"{trial.values[name]:.4g}" if name in trial.values else "") for name in names),
            _cell(f"{trial.seconds:.1f}"),
            _cell(f"{trial.state}: {trial.failure}" if trial.failure else trial.state),
        ]
        rows.append(f'<tr class="{" ".join((role, trial.state))}">{"".join(cells)}</tr>')
    return f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _cell(text: str) -> str:
    return f'<td data-key="{escape(text)}">{escape(text)}</td>'


def sort_button(text: str) -> str:
    """The head of a column in a sortable table: see SORTING."""
    return f'<button type="button">{escape(text)}</button>'


def thumbnail(picture: Tensor, caption: str, quality: int = QUALITY, attributes: str = "") -> str:
    """An <img> of a picture (3, H, W) in [0, 1] at its own size, as a JPEG of that quality inside the page.

    attributes: more attributes of the element, as HTML.
    """
    buffer, levels = io.BytesIO(), (picture.cpu() * 255).round().byte()
    Image.fromarray(levels.permute(1, 2, 0).numpy()).save(
        buffer, format="JPEG", quality=quality, subsampling=0
    )
    source = data_uri("image/jpeg", buffer.getvalue())
    return f'<img{" " * bool(attributes)}{attributes} alt="{escape(caption)}" src="{source}">'


def data_uri(kind: str, data: bytes) -> str:
    """The content of a file as an address; kind: its media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
