"""One list of dependencies, one version, one environment for both commands."""

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from importlib.metadata import packages_distributions
from importlib.metadata import version as metadata_version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.version import Version

from photostyle.version import __version__

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
COMMANDS = ("scripts/check", "scripts/demo", ".ci/run")
lowest: Callable[[dict[str, Any]], list[str]] = runpy.run_path(str(ROOT / "scripts/lowest.py"))["lowest"]


def normal(requirement: str) -> str:
    """The package's name alone, as package indexes compare names."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


DEPENDENCIES = {normal(each) for each in PROJECT["dependencies"]}
EXTRAS = {normal(each) for extra in ("cluster", "onnx") for each in PROJECT["optional-dependencies"][extra]}
ALL = DEPENDENCIES | {normal(each) for extra in PROJECT["optional-dependencies"].values() for each in extra}


def imports(path: Path) -> set[str]:
    """Top-level names that a file imports from outside the standard library and the project."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"photostyle", "segmentation", "experiments"}


@pytest.mark.slow
def test_what_the_code_imports_is_declared():
    sources = [
        path
        for folder in ("photostyle", "segmentation", "scripts", "experiments")
        for path in ROOT.glob(f"{folder}/**/*.py")
    ]
    distributions = packages_distributions()
    brought = {"triton"}  # by torch, where it is for CUDA
    for path in sources:
        for name in imports(path):
            # An extra need not be installed: it is called as it is imported.
            providers = {normal(each) for each in distributions.get(name, [name])}
            # Scripts are run by developers, who have every extra.
            declared = ALL if path.is_relative_to(ROOT / "scripts") else DEPENDENCIES | EXTRAS
            assert providers & (declared | brought), (
                f"{path.name} imports {name}, which pyproject.toml does not declare"
            )


def test_the_environment_file_names_no_dependency_of_its_own():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = {normal(each) for each in environment["dependencies"] if isinstance(each, str)}
    pip = [line for each in environment["dependencies"] if isinstance(each, dict) for line in each["pip"]]
    assert not conda & ALL
    assert pip == ["--editable .[semantic]"]


# A Python that makes environments of commands that only say what they were asked, and fail where FAILING says so.
STUB = """#!/usr/bin/env bash
if [ "${1:-} ${2:-}" = "-m venv" ]; then
    mkdir -p "$3/bin"
    for name in python ruff mypy lint-imports; do cp "$0" "$3/bin/$name"; done
else
    echo "$(basename "$(dirname "$(dirname "$0")")") $(basename "$0") $*"
    case "$(basename "$0") $*" in "${FAILING:-nothing}"*) exit 3 ;; esac
fi
"""
INSTALL, DEV = ".venv python -m pip install --quiet --editable ", ".[dev]"
CHECKS = (".venv ruff format", ".venv ruff check", ".venv lint-imports", ".venv mypy")


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., tuple[int, list[str]]]:
    """Runs one of the commands in a copy of the project without its code: its exit code, and what it has run."""
    project = tmp_path / "project"
    for name in (*COMMANDS, "pyproject.toml"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project / name)
    (tmp_path / "python").write_text(STUB)
    (tmp_path / "python").chmod(0o755)

    def run(name: str, *options: str, **environment: str) -> tuple[int, list[str]]:
        ended = subprocess.run(
            [project / name, *options],
            env=os.environ | {"PYTHON": str(tmp_path / "python")} | environment,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        return ended.returncode, ended.stdout.splitlines()

    return run


def assert_in_turn(said: list[str], beginnings: Sequence[str]) -> None:
    assert len(said) == len(beginnings), said
    assert all(line.startswith(beginning) for line, beginning in zip(said, beginnings, strict=True)), said


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        (["scripts/check"], ""),
        (["scripts/check", "--slow"], "-m not gpu and not shared"),
        ([".ci/run"], "-m not gpu and not shared"),
    ],
)
def test_the_check_and_the_continuous_integration_install_what_they_need_and_check_all(
    command, given, chosen
):
    code, said = command(*given)
    assert code == 0
    assert_in_turn(said, (INSTALL + DEV, *CHECKS, ".venv python -m pytest"))
    assert said[-1].rpartition("--durations=5")[2].strip() == chosen
    code, said = command(*given)
    assert_in_turn(said, (*CHECKS, ".venv python -m pytest"))  # nothing is installed twice


def test_all_is_everything_but_what_needs_a_gpu_and_the_lowest_versions_too(command):
    code, said = command("scripts/check", "--all")
    assert code == 0
    with_old = (
        ".venv-lowest python -m pip install --quiet --editable .[dev] --constraint",
        ".venv-lowest python -m pytest",
    )
    assert_in_turn(said, (INSTALL + ".[dev,cluster]", *CHECKS, ".venv python -m pytest", *with_old))
    assert said[5].endswith("-m not gpu")
    assert_in_turn(command("scripts/check", "--lowest")[1], with_old[1:])
    # What the cluster needs comes with what the check needs.
    assert_in_turn(command("scripts/check")[1], (*CHECKS, ".venv python -m pytest"))


@pytest.mark.parametrize(
    "failing", ["python -m pip", "ruff check", "lint-imports", "mypy", "python -m pytest"]
)
def test_the_check_stops_at_the_first_failure(command, failing):
    code, said = command("scripts/check", FAILING=failing)
    assert code == 3 and failing in said[-1]
    if failing == "python -m pip":
        assert (
            INSTALL + DEV in command("scripts/check")[1]
        )  # what was not installed is installed the next time


def test_an_option_that_is_none_is_refused(command):
    assert command("scripts/check", "--al") == (2, [])


def test_the_demonstration_needs_no_more_than_the_project_and_takes_the_check_s_environment(command):
    assert_in_turn(command("scripts/demo")[1], (INSTALL + ".", ".venv python scripts/demo.py"))
    assert_in_turn(command("scripts/demo", "--a", "b")[1], (".venv python scripts/demo.py --a b",))
    (pytest_run,) = [line for line in command("scripts/check")[1] if "pytest" in line]
    assert pytest_run
    assert_in_turn(command("scripts/demo")[1], (".venv python scripts/demo.py",))


def test_the_lowest_versions_are_those_of_the_bounds():
    """Every dependency has one, and of the lowest versions nothing is left to pip's choice."""
    pinned = dict(line.split("==") for line in lowest(PROJECT))
    assert DEPENDENCIES <= {normal(name) for name in pinned}
    assert {"pytest", "hypothesis", "pymatting"} <= pinned.keys()
    for each in PROJECT["dependencies"]:
        name, _, version = each.partition(">=")
        assert pinned[name] == version


def test_what_is_installed_is_not_below_the_bounds():
    for line in lowest(PROJECT):
        name, _, version = line.partition("==")
        assert Version(metadata_version(name)) >= Version(version), name


def test_what_the_commands_make_is_ignored_by_git():
    patterns = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert ".venv/" in patterns and "/out*/" in patterns
    assert 'FOLDER = Path("out-demo")' in (ROOT / "scripts/demo.py").read_text(encoding="utf-8")


def test_the_version_stands_in_one_place():
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "photostyle.version.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert first and first[1] == __version__


def test_the_citation_is_of_this_version_and_of_the_method():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["cff-version"], citation["title"]) == ("1.2.0", PROJECT["name"])
    assert (citation["version"], citation["license"]) == (__version__, PROJECT["license"])
    assert citation["message"] and citation["authors"]
    cited = {(each["authors"][0]["family-names"], each["year"]) for each in citation["references"]}
    assert cited == {("Luan", 2017), ("Levin", 2008), ("Elnekave", 2022), ("Pitié", 2007), ("He", 2010)}


def test_the_licence_is_shipped():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0" and PROJECT["license-files"] == ["LICENSE"]
    assert "Apache License" in text and "Version 2.0" in text


def test_the_command_starts_the_command_line():
    assert PROJECT["scripts"] == {"photostyle": "photostyle.cli:main"}


def test_the_types_are_shipped():
    assert (ROOT / "photostyle/py.typed").is_file()
    assert PYPROJECT["tool"]["setuptools"]["package-data"] == {
        "photostyle": ["*.pyi", "py.typed", "feedforward/models/*.safetensors"],
        "segmentation": ["groups.toml", "py.typed"],
    }


def test_the_wheel_holds_both_packages_and_nothing_else():
    found = PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert found == ["photostyle*", "segmentation*"]
    assert all((ROOT / pattern.rstrip("*") / "__init__.py").is_file() for pattern in found)


def test_the_extras_are_the_tools_of_the_check_of_the_documents_of_a_cluster_and_of_segmenters():
    extras = {
        name: {normal(each) for each in names} for name, names in PROJECT["optional-dependencies"].items()
    }
    assert extras.keys() == {"dev", "docs", "cluster", "onnx", "semantic", "tensorboard"}
    assert {"ruff", "mypy", "import-linter", "pytest", "pytest-xdist"} <= extras["dev"]
    # The tests build the documents and run graphs that they make.
    assert {"photostyle[docs]", "photostyle[onnx]"} <= set(PROJECT["optional-dependencies"]["dev"])
    assert not extras["dev"] & DEPENDENCIES
