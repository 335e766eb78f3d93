"""Write what the documents say and the code knows: tables of settings, costs, rooms, and the drawing of the layers.

`python docs/generate.py` puts each between its marks; tests/test_docs.py fails where one is not the code's.
"""

import ast
import inspect
import json
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from functools import cache
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the experiments are no installed package

import photostyle
from experiments.bench import bench_table
from photostyle.bounds import Above, AtLeast, Between
from photostyle.config import TERMS, Config
from photostyle.feedforward.costs import costs_of
from photostyle.feedforward.injection import INJECTIONS
from photostyle.feedforward.settings import ModelSettings
from photostyle.feedforward.stylise import STYLE_SIDE
from photostyle.losses.term import weights_of
from photostyle.presets import PRESETS, configure

ROOT = Path(__file__).resolve().parent.parent
README, SETTINGS, ARCHITECTURE = ROOT / "README.md", ROOT / "docs/settings.md", ROOT / "docs/architecture.md"
METHOD = ROOT / "docs/method.md"
FEEDFORWARD = ROOT / "docs/feedforward.md"
COUNTED_SIDE = 256  # pixels: the default of TrainingSettings.size
OWN_PHOTOS = ROOT / "docs/your-own-photos.md"
COSTS = ROOT / "experiments/007-cost/result.json"
CARD_COSTS = COSTS.with_name("gpu.json")
BENCH = COSTS.with_name("bench.json")
TREE = 88  # characters of a line that the site shows without scrolling
PROSE = 120  # characters of a line of text
ROW = 92  # characters of 12 px that fit beside a room's name
RELIABILITY = ROOT / "docs/reliability.md"
DRAWING = ROOT / "docs/images/layers.svg"

NO_DOCSTRING = {
    "__version__": "The version.",
    "TERMS": "The terms that an objective is made of, in their order.",
}
# Of a part that says more by itself than its own fields.
TITLES = {"Recipe": "Start, stages, optimiser, smoothing"}
# What the command line takes; from Python a picture or mask in memory may stand for a path.
KINDS = {int: "whole number", float: "number", bool: "yes or no", str: "text", Path: "path"}
NAMES = {"gram": "Gram"}  # that are written otherwise in a sentence


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def preset_table() -> str:
    """What every preset stands for, from presets.py."""
    rows = []
    for name in PRESETS:
        config = configure(name, content="c", style="s")
        optimised = any(config.iterations)
        rows.append(
            [
                f"`{name}`",
                f"{config.size}",
                {"colour": "recoloured photo"}.get(config.start, config.start),
                evaluations(config),
                {"mm": "majorise-minimise", "adam": "Adam", "lbfgs": "L-BFGS"}[config.optimiser]
                if optimised
                else "–",
                weighted_terms(config) if optimised else "–",
                f"{config.smooth_radius} / {config.smooth_edge:g}" if config.smooth_radius else "–",
            ]
        )
    return table(["", "size", "start", "evaluations", "optimiser", "terms", "smoothing"], rows)


def evaluations(config: Config) -> str:
    stages = ", ".join(f"{count}" for count in config.iterations)
    return f"{config.first_pass} + {stages}" if config.first_pass else stages


def weighted_terms(config: Config) -> str:
    """The terms that count, each with its weights; photorealism has one at each scale."""
    parts = []
    for term in TERMS:
        if term.weighed(config):
            weights = " ".join(f"{weight:g}" for _, weight in weights_of(term, config))
            parts.append(f"{NAMES.get(term.name, term.name)} {weights}")
    return ", ".join(parts)


def term_table() -> str:
    """The terms of the objective in their order, from `TERMS`."""
    rows = [
        [
            f"`{term.name}`",
            ", ".join(f"`{name}`" for name in term.weights),
            _cell(_paragraph(term.__doc__)),
            f"`{term.__module__.rpartition('.')[2]}.{term.__name__}`",
        ]
        for term in TERMS
    ]
    return table(["term", "weighed by", "what it is", "class"], rows)


def settings_tables() -> str:
    """Every setting of the configuration: its values, its default and its help, one table for each of its parts."""
    parts = []
    for part in reversed(Config.__mro__[:-1]):
        own = [field for field in fields(Config) if field.name in inspect.get_annotations(part)]
        if own:
            title = TITLES.get(part.__name__) or _title(part)
            rows = [[f"`{f.name}`", _values(part, f), _default(f), _help(part)[f.name]] for f in own]
            parts.append(f"### {title}\n\n{table(['setting', 'values', 'default', 'meaning'], rows)}")
    return "\n".join(parts)


def _title(part: type) -> str:
    """The first sentence of its docstring, up to a colon."""
    return " ".join((part.__doc__ or "").split()).split(". ")[0].split(":")[0].rstrip(".")


@cache
def _help(part: type) -> dict[str, str]:
    """The docstring below each field of a dataclass."""
    (body,) = (
        node.body
        for node in ast.walk(ast.parse(inspect.getsource(sys.modules[part.__module__])))
        if isinstance(node, ast.ClassDef) and node.name == part.__name__
    )
    return {
        field.target.id: _cell(" ".join(text.value.value.split()))
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def _cell(text: str) -> str:
    """Plain text for a cell: what Markdown would take for markup is escaped."""
    for sign in "\\|[]*_<":
        text = text.replace(sign, f"\\{sign}")
    return text


def _values(part: type, field: Field[Any]) -> str:
    return _kind(get_type_hints(part, include_extras=True)[field.name])


def _kind(kind: Any) -> str:
    """What values a type has, for people; the bounds of a number with it."""
    if get_origin(kind) is Annotated:
        inner, *remarks = get_args(kind)
        bounds = [
            str(each).removeprefix("must ") for each in remarks if isinstance(each, Above | AtLeast | Between)
        ]
        return ", ".join([_kind(inner), *(bound.replace("be ", "").replace("lie ", "") for bound in bounds)])
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is tuple:
        return f"{_kind(get_args(kind)[0])}, several"
    inner = [_kind(each) for each in get_args(kind) if each in KINDS]
    return " or ".join(inner) if inner else KINDS[kind]


def _default(field: Field[Any]) -> str:
    value = field.default
    if value is MISSING:
        return "(to be given)"
    if isinstance(value, tuple):
        return " ".join(f"`{each}`" for each in value) or "–"
    if value is None:
        return "–"
    if isinstance(value, bool):
        return f"`{'yes' if value else 'no'}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def cost_table() -> str:
    """Seconds and memory by size, as experiment 007 measured them; a run that was cut short has no seconds.

    On a card the memory is its own.
    """
    rows, on_cpu, on_card = (
        [],
        *(json.loads(path.read_text(encoding="utf-8")) for path in (COSTS, CARD_COSTS)),
    )
    card = {f"{name}, {on_card['card']}": figures for name, figures in on_card["figures"].items()}
    for name, figures in (on_cpu["figures"] | card).items():
        what, cut, _ = name.partition(", 4 evaluations")
        rows.append(
            [
                what,
                "–" if cut else f"{figures['seconds']:.{0 if figures['seconds'] >= 10 else 1}f} s",
                f"{figures['evaluation']:.2g} s" if figures["evaluation"] else "–",
                f"{figures['peak'] / 1024:.1f} GB",
            ]
        )
    return table(["on two CPU cores, or the card named", "in all", "one evaluation", "peak memory"], rows)


def bench_lines() -> str:
    """What scripts/bench.py timed side by side, each part of its file with its machine."""
    return bench_table(json.loads(BENCH.read_text(encoding="utf-8")))


def reliability() -> str:
    """What scripts/reliability.py counted: a section for each of its suites."""
    sections = []
    for path in sorted(RELIABILITY.with_suffix("").glob("*.json")):
        suite = json.loads(path.read_text(encoding="utf-8"))
        rows = [[_cell(row["what"]), f"{row['tried']:,}", f"{row['right']:,}"] for row in suite["rows"]]
        sums = [f"**{sum(row[name] for row in suite['rows']):,}**" for name in ("tried", "right")]
        counted = table(["", "tried", "right"], [*rows, ["**all**", *sums]])
        sections.append(f"### {suite['title']}\n\n{textwrap.fill(suite['about'], PROSE)}\n\n{counted}")
    return "\n".join(sections)


def contracts() -> list[dict[str, Any]]:
    """import-linter's, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return list(project["tool"]["importlinter"]["contracts"])


def layers() -> list[list[str]]:
    """The library's layers, the highest first; those on one line may not import each other either."""
    (contract,) = (each for each in contracts() if each.get("containers") == ["photostyle"])
    return [re.split(r" [|:] ", line) for line in contract["layers"]]


def tree() -> str:
    """The packages with their modules, in the order of a directory."""
    lines = ["```"]
    for package in ("photostyle", "segmentation", "experiments"):
        for folder in sorted(path.parent for path in ROOT.glob(f"{package}/**/__init__.py")):
            modules = sorted(path.stem for path in folder.glob("[a-z]*.py"))
            name = f"{'  ' * (len(folder.relative_to(ROOT).parts) - 1)}{folder.name}/"
            lines += textwrap.wrap(
                " ".join(modules), TREE, initial_indent=f"{name:17}", subsequent_indent=17 * " "
            )
    return "\n".join([*lines, "```", ""])


def layer_table() -> str:
    """The layers and who lives in each, from the contract and the docstrings; then the other contracts by name."""
    rows = [
        [f"`{name}`", _cell(_first_paragraph(f"photostyle.{name}"))] for line in layers() for name in line
    ]
    others = [f"* {each['name']}.\n" for each in contracts() if each.get("containers") != ["photostyle"]]
    return table(["", "who lives there"], rows) + "\nBeside the layers:\n\n" + "".join(others)


@cache
def _first_paragraph(module: str) -> str:
    path = ROOT.joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return _paragraph(ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))))


def _paragraph(docstring: str | None) -> str:
    """The first, in one line."""
    return " ".join((docstring or "").split("\n\n")[0].split())


def layers_drawing() -> str:
    """The layers as a picture: the command line above, errors below; imports point down."""
    width, height, gap, top = 700, 26, 5, 34
    lines = layers()
    bottom = top + len(lines) * (height + gap)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 28}" font-family="sans-serif" '
        'font-size="13">',
        f"<title>The layers of photostyle: {lines[0][0]} above, {lines[-1][0]} below</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>',
        '<text x="32" y="20" fill="#555">imports point down</text>',
        f'<path d="M16 {top} V{bottom}" stroke="#555" stroke-width="1.5" marker-end="url(#tip)"/>',
    ]
    for row, line in enumerate(lines):
        y, each = top + row * (height + gap), (width - 36) / len(line)
        for column, name in enumerate(line):
            x, module = 32 + column * each, f"photostyle.{name}"
            fill = "#dbe9f6" if ROOT.joinpath(*module.split(".")).is_dir() else "#f3ecd9"
            parts.append(
                f'<rect x="{x:g}" y="{y}" width="{each - 4:g}" height="{height}" rx="5" fill="{fill}"/>'
                f'<text x="{x + 12:g}" y="{y + 18}">{escape(name)}</text>'
            )
            if len(line) == 1:
                remark = _in_one_line(_first_paragraph(module))
                parts.append(f'<text x="160" y="{y + 18}" font-size="12" fill="#555">{escape(remark)}</text>')
    parts.append(f'<text x="32" y="{bottom + 18}" fill="#555">blue: packages, sand: single modules</text>')
    return "\n".join([*parts, "</svg>\n"])


def _in_one_line(paragraph: str) -> str:
    """Its first sentence where a row has room for that, else up to the first colon; a drawing knows no backticks."""
    sentence = re.split(r"\. |\.$", paragraph.replace("`", ""))[0]
    return sentence if len(sentence) <= ROW else sentence.split(":")[0]


def public_names() -> str:
    """The names that `import photostyle` gives, with what each is."""
    rows = []
    for name in sorted(photostyle.__all__, key=str.lower):
        each = getattr(photostyle, name)
        doc = NO_DOCSTRING.get(name) or inspect.getdoc(each)
        rows.append([f"`{name}`", _cell(_paragraph(doc))])
    return table(["name", "what it is"], rows)


def injection_table() -> str:
    """What each injection costs in the document's model, by `costs.costs_of`."""
    rows = []
    for name in INJECTIONS:
        costs = costs_of(ModelSettings(injection=name), COUNTED_SIDE, STYLE_SIDE)
        rows.append(
            [
                f"`{name}`",
                f"{costs.generator / 1e6:.2f} million",
                f"{costs.encoder / 1e6:.2f} million" if costs.encoder else "–",
                f"{costs.multiply_adds / 1e9:.1f} billion",
            ]
        )
    return table(["injection", "generator", "style encoder", "multiply-adds of 256×256"], rows)


# What stands between `<!-- NAME: written by docs/generate.py -->` and `<!-- /NAME -->` in which document.
BLOCKS: list[tuple[Path, str, Callable[[], str]]] = [
    (README, "costs", cost_table),
    (README, "bench", bench_lines),
    (OWN_PHOTOS, "costs", cost_table),
    (METHOD, "terms", term_table),
    (FEEDFORWARD, "injections", injection_table),
    (SETTINGS, "presets", preset_table),
    (SETTINGS, "settings", settings_tables),
    (RELIABILITY, "figures", reliability),
    (ARCHITECTURE, "tree", tree),
    (ARCHITECTURE, "layers", layer_table),
    (ARCHITECTURE, "names", public_names),
]


def marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: written by docs/generate.py -->", f"<!-- /{name} -->"


def filled(text: str, name: str, block: str) -> str:
    """The document with the block between its marks."""
    begin, end = marks(name)
    before, rest = text.split(begin)
    return f"{before}{begin}\n\n{block}\n{end}{rest.split(end, 1)[1]}"


def documents() -> Iterator[tuple[Path, str]]:
    """Every file that is written here, and what it has to say."""
    texts: dict[Path, str] = {}
    for path, name, make in BLOCKS:
        texts[path] = filled(texts.get(path) or path.read_text(encoding="utf-8"), name, make())
    yield from texts.items()
    yield DRAWING, layers_drawing()


if __name__ == "__main__":
    for path, text in documents():
        path.write_text(text, encoding="utf-8")
