"""The lowest version of everything that pyproject.toml allows, as constraints for pip: for scripts/check --lowest."""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def lowest(project: dict) -> list[str]:
    """name==version for each name>=version among the dependencies and what the tests need.

    A bound has to be a version that was released: 2025.1 would allow 2025.1.10 and name nothing to install.
    """
    extras = project["optional-dependencies"]
    listed = project["dependencies"] + extras["dev"] + extras["docs"] + extras["onnx"]
    bounds = (re.fullmatch(r"([\w.-]+)(?:\[.*\])?>=([\w.]+)", each) for each in listed)
    return [f"{bound[1]}=={bound[2]}" for bound in bounds if bound]


if __name__ == "__main__":
    print("\n".join(lowest(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"])))
