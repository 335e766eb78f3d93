"""What may know what: the design as a list, read from the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# A module imports only from those before it. cli is last: it alone prints and chooses file names.
ORDER = (
    "version",
    "errors",
    "config",
    "images",
    "masks",
    "filters",
    "guidance",
    "colour",
    "canvas",
    "weights",
    "presets",
    "encoders",
    "validate",
    "matting",
    "schedule",
    "patches",
    "losses",
    "objective",
    "optimise",
    "render",
    "transfer",
    "metrics",
    "record",
    "report",
    "arguments",
    "progress",
    "cli",
)
STORY = 70  # lines: transfer.transfer, which tells the whole story straight down with its docstring
FUNCTION = 60  # lines of any other: what a screen shows at once

PACKAGE = Path(__file__).resolve().parent.parent / "photostyle"
SOURCES = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.glob("*.py"))}
MODULES = sorted(SOURCES.keys() - {"__init__"})


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that the source imports, by its full dotted name; names taken from photostyle itself too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here, or the order could not be read from them"
            module = node.module or ""
            yield from (
                (f"photostyle.{alias.name}" for alias in node.names) if module == "photostyle" else [module]
            )


def of_the_project(module: str) -> set[str]:
    return {name.split(".")[1] for name in imported(SOURCES[module]) if name.startswith("photostyle.")}


def functions(module: str) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(SOURCES[module]) if isinstance(node, ast.FunctionDef))


def test_the_order_names_every_module_once():
    assert sorted(ORDER) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_those_before_it(module):
    assert of_the_project(module) <= set(ORDER[: ORDER.index(module)])


@pytest.mark.parametrize("module", ["version", "errors", "config"])
def test_what_everything_reads_imports_nothing_of_the_project(module):
    assert not of_the_project(module)


@pytest.mark.parametrize("module", MODULES)
def test_only_the_command_line_prints(module):
    names = {node.id for node in ast.walk(SOURCES[module]) if isinstance(node, ast.Name)}
    streams = {
        node.attr
        for node in ast.walk(SOURCES[module])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys"
    }
    prints = "print" in names or streams & {"stdout", "stderr"}
    assert bool(prints) == (module == "cli")


@pytest.mark.parametrize("module", MODULES)
def test_the_library_does_not_know_the_segmenters(module):
    # The command line may, inside the function that needs one.
    tree = ast.Module(SOURCES[module].body, [])
    if module == "cli":
        tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
    assert not [name for name in imported(tree) if name.split(".")[0] == "segmentation"]


@pytest.mark.parametrize("module", MODULES)
def test_a_function_fits_on_a_screen(module):
    for function in functions(module):
        limit = STORY if (module, function.name) == ("transfer", "transfer") else FUNCTION
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
