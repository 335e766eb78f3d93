"""One list of dependencies, one version, one environment for both commands."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from photostyle.version import __version__

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
COMMANDS = ("scripts/check", "scripts/demo", ".ci/run")


def normal(requirement: str) -> str:
    """The package's name alone, as package indexes compare names."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


DEPENDENCIES = {normal(each) for each in PROJECT["dependencies"]}
CLUSTER = {normal(each) for each in PROJECT["optional-dependencies"]["cluster"]}
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


def test_what_the_code_imports_is_declared():
    sources = [
        path
        for folder in ("photostyle", "segmentation", "scripts", "experiments")
        for path in ROOT.glob(f"{folder}/**/*.py")
    ]
    distributions = packages_distributions()
    for path in sources:
        for name in imports(path):
            # An extra need not be installed: it is called as it is imported.
            providers = {normal(each) for each in distributions.get(name, [name])}
            assert providers & (DEPENDENCIES | CLUSTER), (
                f"{path.name} imports {name}, which pyproject.toml does not declare"
            )


def test_the_environment_file_names_no_dependency_of_its_own():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = {normal(each) for each in environment["dependencies"] if isinstance(each, str)}
    pip = [line for each in environment["dependencies"] if isinstance(each, dict) for line in each["pip"]]
    assert not conda & ALL
    assert pip == ["--editable ."]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_script_installs_the_project_and_names_no_package(command):
    text = (ROOT / command).read_text(encoding="utf-8")
    installed = [line.split("install ", 1)[1] for line in text.splitlines() if "pip install" in line]
    assert all(re.fullmatch(r"--quiet --editable (\.|'\.\[dev(,cluster)?\]')", each) for each in installed)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_executable_bash_that_stops_at_the_first_failure(command):
    path = ROOT / command
    assert os.access(path, os.X_OK)
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in path.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_both_commands_share_one_environment():
    check, demo = ((ROOT / f"scripts/{name}").read_text(encoding="utf-8") for name in ("check", "demo"))
    making = '[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv'
    assert making in check and making in demo
    # The demonstration needs less than the check installs, so the check's stamp serves it too.
    assert "installed-dev.toml" in check and {"installed.toml", "installed-dev.toml"} == set(
        re.findall(r"\.venv/(installed[\w-]*\.toml)", demo)
    )


def test_the_continuous_integration_runs_the_check():
    assert "/../scripts/check" in (ROOT / ".ci/run").read_text(encoding="utf-8")


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
        "photostyle": ["*.pyi", "py.typed"],
        "segmentation": ["groups.toml", "py.typed"],
    }


def test_the_wheel_holds_both_packages_and_nothing_else():
    found = PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert found == ["photostyle*", "segmentation*"]
    assert all((ROOT / pattern.rstrip("*") / "__init__.py").is_file() for pattern in found)


def test_the_extras_are_the_tools_of_the_check_and_of_a_cluster():
    extras = {
        name: {normal(each) for each in names} for name, names in PROJECT["optional-dependencies"].items()
    }
    assert extras.keys() == {"dev", "cluster"}
    assert {"ruff", "mypy", "pytest"} <= extras["dev"]
    assert not extras["dev"] & DEPENDENCIES
