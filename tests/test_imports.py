"""What is imported only where it is needed: each of these libraries costs a part of a second, or is an extra."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import HANGS

pytestmark = pytest.mark.slow  # a process that imports nearly everything

IMPORTS = """
import importlib, json, sys
loaded = {}
for name in sys.argv[1:]:
    importlib.import_module(name)
    loaded[name] = sorted(sys.modules)
print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def loaded(root: Path) -> dict[str, set[str]]:
    """Which modules a new process has once it has imported this one and those before it."""
    names = [
        "segmentation",
        "photostyle.cli.run",
        "segmentation.networks",
        "segmentation.inference",
        "photostyle.cli.search",
    ]
    command = [sys.executable, "-c", IMPORTS, *names, "experiments.framework"]
    ended = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, timeout=HANGS, check=True)
    return {name: set(modules) for name, modules in json.loads(ended.stdout).items()}


@pytest.mark.slow
def test_the_segmenters_package_imports_none_of_the_heavy_libraries(loaded: dict[str, set[str]]) -> None:
    assert not {"torch", "segmentation_models_pytorch", "timm"} & loaded["segmentation"]


def test_a_run_does_not_wait_for_what_it_may_not_need(loaded: dict[str, set[str]]) -> None:
    # Plots, scores, and masks that are not to be made: 1.2 s in all before the first step.
    later = {
        "matplotlib",
        "skimage",
        "sklearn",
        "scipy.ndimage",
        "scipy.spatial",
        "scipy.stats",
        "segmentation.make",
    }
    compiling = {"torch._dynamo", "torchvision", "timm", "optuna", "photostyle.evaluation.scores"}
    assert not (later | compiling) & loaded["photostyle.cli.run"]


def test_segmenters_libraries_wait_until_they_are_needed(loaded: dict[str, set[str]]) -> None:
    heavy = {"segmentation_models_pytorch", "timm", "huggingface_hub"}
    assert not heavy & loaded["segmentation.inference"] and "torch" in loaded["segmentation.networks"]


def test_nothing_but_a_search_imports_optuna(loaded: dict[str, set[str]]) -> None:
    assert not {"optuna", "sqlalchemy"} & loaded["photostyle.cli.search"]


def test_only_a_cluster_imports_ray(loaded: dict[str, set[str]]) -> None:
    assert "ray" not in loaded["experiments.framework"] | loaded["photostyle.cli.search"]
