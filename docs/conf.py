"""The site: `sphinx-build -W docs docs/_build/html`.

Everything it shows is in this repository; building fetches nothing, and neither do the pages.
"""

import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import is_dataclass
from inspect import getsource
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))  # the project of this checkout, installed or not

from photostyle.version import __version__  # noqa: E402

project = "photostyle"
author = "The photostyle authors"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "examples", "images", "static"]
myst_heading_anchors = 3
highlight_language = "none"  # blocks without a language are commands and what they print
smartquotes = False  # "--strength" is an option and no dash
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"photostyle {__version__}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

EXPERIMENTS = DOCS / "experiments"  # copies, not under version control


def gather_experiments() -> None:
    """Copy the experiments' pages and sheets below docs, where Sphinx finds them; their links stay as they are."""
    if EXPERIMENTS.exists():
        shutil.rmtree(EXPERIMENTS)
    for page in sorted(ROOT.glob("experiments/*/README.md")):
        folder = EXPERIMENTS / page.parent.name
        folder.mkdir(parents=True)
        shutil.copy(page, folder)
        for sheet in (*page.parent.glob("*.jpg"), *page.parent.glob("*.png")):
            shutil.copy(sheet, folder)
    index = (ROOT / "experiments/README.md").read_text(encoding="utf-8").replace("](../docs/", "](../")
    pages = "```{toctree}\n:hidden:\n:glob:\n\n*/README\n```\n"
    (EXPERIMENTS / "README.md").write_text(f"{index}\n{pages}", encoding="utf-8")


def lower_indices(app: object, name: str, source: list[str]) -> None:
    """In formulas, plain in the source: m_k has a lower index, A^½ an upper one."""
    if name in ("method", "feedforward", "differences"):
        text = re.sub(r"\^(−?½)", r"<sup>\1</sup>", source[0])
        source[0] = re.sub(LOWER_INDEX, lambda found: f"<sub>{found[1].strip('{}')}</sub>", text)


# Of one letter that stands alone: x_i,j+1, argmin_{a,b} and mean_f, but not relu4_2.
LOWER_INDEX = r"(?:(?<=\b[^\W\d_])|(?<=argmin)|(?<=\bmean))_(\{[^}]+\}|[A-Za-z0-9]+(?:[,+][a-z0-9]+)*)"


def link_to_copies(app: object, name: str, source: list[str]) -> None:
    """The pages link to the experiments where they are in the repository; the site, to its copies."""
    source[0] = source[0].replace("](../experiments/", "](experiments/")


def plain_text(app: object, what: str, name: str, object: object, options: object, lines: list[str]) -> None:
    """Docstrings here are plain sentences with names in backticks: nothing else in them is markup."""
    lines[:] = [_escaped(line.strip()) for line in lines]
    if what == "class" and is_dataclass(object):
        lines += [
            "",
            *(f"* ``{field}``: {_escaped(remark)}" for field, remark in FIELD.findall(getsource(object))),
        ]


# A dataclass's field with a remark beside it; a setting has a docstring instead, and a table of its own.
FIELD = re.compile(r"^    (\w+): [^#\n]+  # (.+)$", re.M)


def no_signature(app: object, what: str, name: str, object: object, *rest: object) -> tuple[str, None] | None:
    """A dataclass's fields are named below it."""
    return ("", None) if what == "class" and is_dataclass(object) else None


def _escaped(line: str) -> str:
    return "".join(f"``{part}``" if code else _without_markup(part) for part, code in _parts(line))


def _parts(line: str) -> Iterable[tuple[str, bool]]:
    """A line's pieces and whether each stood in backticks."""
    for position, part in enumerate(re.split(r"`+([^`]+)`+", line)):
        if part:
            yield part, bool(position % 2)


def _without_markup(text: str) -> str:
    return re.sub(r"([\\*_|])", r"\\\1", text)


def setup(app) -> None:  # type: ignore[no-untyped-def]
    gather_experiments()
    app.connect("source-read", link_to_copies)
    app.connect("source-read", lower_indices)
    app.connect("autodoc-process-docstring", plain_text)
    app.connect("autodoc-process-signature", no_signature)
