"""What may know what, read from the source; the layers themselves are import-linter's (pyproject.toml)."""

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

STORY = 70  # lines: pipeline.transfer, which tells the whole story straight down with its docstring
FUNCTION = 60  # lines of any other: what a screen shows at once

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for package in ("photostyle", "segmentation")
    for path in sorted((ROOT / package).rglob("*.py"))
}
MODULES = sorted(FILES)
PHOTOSTYLE = [name for name in MODULES if name.startswith("photostyle.")]


@cache
def source(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def for_each(modules: list[str]) -> Callable[[Callable[[str], None]], Callable[[], None]]:
    """One test for all of them, which names the module that fails: a test for each took seconds of book-keeping."""

    def over(check: Callable[[str], None]) -> Callable[[], None]:
        def test() -> None:
            for module in modules:
                try:
                    check(module)
                except AssertionError as error:
                    error.add_note(f"in {module}")
                    raise

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return over


def of_the_command_line(module: str) -> bool:
    return module.startswith("photostyle.cli.")


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that the source imports, by its full dotted name; modules taken from a package itself too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here, or the order could not be read from them"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(module: str) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(source(module)) if isinstance(node, ast.FunctionDef))


@for_each(MODULES)
def test_only_the_command_line_prints(module):
    names = {node.id for node in ast.walk(source(module)) if isinstance(node, ast.Name)}
    streams = {
        node.attr
        for node in ast.walk(source(module))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys"
    }
    prints = "print" in names or streams & {"stdout", "stderr"}
    assert not prints or of_the_command_line(module)


@for_each(PHOTOSTYLE)
def test_the_library_does_not_know_the_segmenters(module):
    # The commands may, inside the function that needs one.
    known = [name for name in imported(source(module)) if name.startswith("segmentation")]
    inside = [
        name for each in functions(module) for name in imported(each) if name.startswith("segmentation")
    ]
    assert known == (inside if of_the_command_line(module) else [])


@for_each(MODULES)
def test_a_function_fits_on_a_screen(module):
    for function in functions(module):
        limit = STORY if (module, function.name) == ("photostyle.pipeline", "transfer") else FUNCTION
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= limit, f"{module}.{function.name} has {length} lines"


@for_each(MODULES)
def test_what_is_public_says_what_it_is(module):
    defined = [
        node
        for node in source(module).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    silent = [node.name for node in defined if not ast.get_docstring(node)]
    assert ast.get_docstring(source(module)) and not silent
