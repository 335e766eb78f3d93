"""A disk that is full under a command: one line, what was there is whole, and the same command goes on."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from test_command_stylise import save_model
from test_experiments import twice  # noqa: F401

from experiments.command import main as experiment
from photostyle.cli import main
from photostyle.cli.console import BAD_INPUT, DONE, FAILED
from photostyle.files.images import read_image
from photostyle.files.masks import read_masks

if sys.platform != "win32":
    import resource

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")

CPU = "--device cpu --threads 1".split()
SEARCH = "search --content photo.jpg --style sunset.jpg --size 48 --iterations 2 --boldness 1 -o out".split()
BATCH = "batch photo.jpg sunset.jpg --style sunset.jpg --preset instant --no-metrics -o out".split()
SEGMENT = "segment photo.jpg sunset.jpg --method cluster --no-refine-masks -o out".split()
STYLISE = "stylise photo.jpg --style sunset.jpg --model m.safetensors --size 48 -o a.png".split()
# What is done before, what is done on the full disk, and the bytes that a file may have there.
COMMANDS: dict[str, tuple[list[str], list[str], int]] = {
    "search begins": ([], [*SEARCH, *CPU, "--trials", "1"], 4000),
    "search goes on": ([*SEARCH, *CPU, "--trials", "1"], [*SEARCH, *CPU, "--trials", "2"], 6500),
    "segment": ([*SEGMENT, *CPU], [*SEGMENT, *CPU, "--depth", "16"], 1000),
    "batch": ([*BATCH, *CPU], [*BATCH, *CPU, "--strength", "0.5"], 3000),
    "stylise": ([*STYLISE, "--device", "cpu"], [*STYLISE, "--device", "cpu", "--strength", "0.5"], 1000),
}


@contextmanager
def full(most: int) -> Iterator[None]:
    """Files may have so many bytes: what a write beyond that gets is what it gets on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def check_whole(folder: Path) -> None:
    """Nothing is half-written, and nothing is left over."""
    assert not [*folder.rglob(".photostyle-*")]
    for path in folder.rglob("*"):
        if path.name == "legend.toml":
            read_masks(path.parent, path.parent)
        elif path.suffix in (".png", ".jpg"):
            read_image(path)
        elif path.suffix == ".json":
            json.loads(path.read_bytes())


def goes_on(command: Callable[[], int], most: int, folder: Path, capsys: Any) -> None:
    before = {path for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    with full(most):
        assert command() in (FAILED, BAD_INPUT)
    said = capsys.readouterr().err
    assert "File too large" in said and "Traceback" not in said
    assert len([line for line in said.splitlines() if line.startswith(("photostyle:", "experiment:"))]) == 1
    assert before <= {*folder.rglob("*")}
    check_whole(folder)
    assert command() == DONE
    check_whole(folder)


@pytest.mark.parametrize(
    "name",
    [name if name == "batch" else pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS],
)
def test_on_a_full_disk_a_command_loses_nothing(name: str, photographs: Path, capsys: Any) -> None:
    before, command, most = COMMANDS[name]
    save_model("m.safetensors")
    assert not before or main(before) == DONE
    goes_on(lambda: main(command), most, photographs, capsys)


def test_on_a_full_disk_an_experiment_loses_nothing(
    twice: tuple[Path, ModuleType],  # noqa: F811
    tmp_path: Path,
    capsys: Any,
) -> None:
    folder, _ = twice
    goes_on(lambda: experiment([str(folder), "--data", str(tmp_path)]), 100, tmp_path, capsys)
