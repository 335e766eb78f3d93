"""What may know what: the design as a list, read from the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# A module imports only from those before it. The command line is last: it alone prints and chooses file names.
LIBRARY = (
    "version",
    "errors",
    "config",
    "mixture",
    "icc",
    "decoding",
    "images",
    "legend",
    "masks",
    "filters",
    "lightness",
    "guidance",
    "colour",
    "canvas",
    "strength",
    "weights",
    "presets",
    "settings",
    "encoders",
    "validate",
    "matting",
    "multigrid",
    "schedule",
    "sliced",
    "patches",
    "texture",
    "losses",
    "objective",
    "optimise",
    "render",
    "transfer",
    "metrics",
    "artefacts",
    "record",
    "report",
    "pool",
    "ray_pool",
    "space",
    "trials",
    "storage",
    "search",
    "pareto",
    "page",
    "arguments",
    "progress",
)
COMMAND_LINE = ("console", "command_masks", "command_run", "command_score", "command_search", "cli")
# From networks to groups of classes, from pictures to clusters, what is done with either, and the story.
SEGMENTATION = (
    "groups",
    "hub",
    "architectures",
    "networks",
    "inference",
    "superpixels",
    "cluster",
    "labels",
    "files",
    "refine",
    "make",
)
ORDER = [f"photostyle.{name}" for name in (*LIBRARY, *COMMAND_LINE)] + [
    f"segmentation.{name}" for name in SEGMENTATION
]
STORY = 70  # lines: transfer.transfer, which tells the whole story straight down with its docstring
FUNCTION = 60  # lines of any other: what a screen shows at once

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {
    f"{package}.{path.stem}": ast.parse(path.read_text(encoding="utf-8"))
    for package in ("photostyle", "segmentation")
    for path in sorted((ROOT / package).glob("*.py"))
}
MODULES = sorted(name for name in SOURCES if not name.endswith(".__init__"))
PHOTOSTYLE = [name for name in MODULES if name.startswith("photostyle.")]


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that the source imports, by its full dotted name; modules taken from a package itself too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here, or the order could not be read from them"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names]
            yield from names if module in ("photostyle", "segmentation") else [module]


def of_the_project(module: str) -> set[str]:
    return {name for name in imported(SOURCES[module]) if name.startswith(("photostyle.", "segmentation."))}


def functions(module: str) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(SOURCES[module]) if isinstance(node, ast.FunctionDef))


def test_the_order_names_every_module_once():
    assert sorted(ORDER) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_those_before_it(module):
    known = of_the_project(module)
    if module.startswith("photostyle.command_"):  # the segmenters, inside a function: see below
        known = {name for name in known if name.startswith("photostyle.")}
    assert known <= set(ORDER[: ORDER.index(module)])


@pytest.mark.parametrize("module", ["version", "errors", "config"])
def test_what_everything_reads_imports_nothing_of_the_project(module):
    assert not of_the_project(f"photostyle.{module}")


@pytest.mark.parametrize("module", MODULES)
def test_only_the_command_line_prints(module):
    names = {node.id for node in ast.walk(SOURCES[module]) if isinstance(node, ast.Name)}
    streams = {
        node.attr
        for node in ast.walk(SOURCES[module])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys"
    }
    prints = "print" in names or streams & {"stdout", "stderr"}
    assert bool(prints) == (module in [f"photostyle.{name}" for name in COMMAND_LINE])


@pytest.mark.parametrize("module", PHOTOSTYLE)
def test_the_library_does_not_know_the_segmenters(module):
    # The commands may, inside the function that needs one.
    known = [name for name in imported(SOURCES[module]) if name.startswith("segmentation")]
    inside = [
        name for each in functions(module) for name in imported(each) if name.startswith("segmentation")
    ]
    assert known == (inside if module.startswith("photostyle.command_") else [])


@pytest.mark.parametrize("module", MODULES)
def test_a_function_fits_on_a_screen(module):
    for function in functions(module):
        limit = STORY if (module, function.name) == ("photostyle.transfer", "transfer") else FUNCTION
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= limit, f"{module}.{function.name} has {length} lines"


@pytest.mark.parametrize("module", MODULES)
def test_what_is_public_says_what_it_is(module):
    defined = [
        node
        for node in SOURCES[module].body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    silent = [node.name for node in defined if not ast.get_docstring(node)]
    assert ast.get_docstring(SOURCES[module]) and not silent
