"""Which warnings fail a test: ours, and of other libraries' those that are no deprecations."""

import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DEPRECATIONS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
OURS = sorted(
    ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
    for folder, pattern in (
        (ROOT, "photostyle/**/*.py"),
        (ROOT, "segmentation/**/*.py"),
        (ROOT, "experiments/**/*.py"),
    )
    for path in folder.glob(pattern)
) + sorted(path.stem for path in (ROOT / "tests").glob("*.py"))


def warn(kind: type[Warning], module: str) -> None:
    """As `warnings.warn` in the module would."""
    warnings.warn_explicit("it will go", kind, f"{module}.py", 1, module)


@pytest.mark.parametrize("kind", DEPRECATIONS)
def test_a_deprecation_that_our_own_code_is_told_of_fails(kind: type[Warning]) -> None:
    for module in OURS:
        with pytest.raises(kind):
            warn(kind, module)


@pytest.mark.parametrize("kind", DEPRECATIONS)
@pytest.mark.parametrize(
    "module", ["timm.models", "photostyles", "matplotlib._mathtext", "_pytest.python", "sys"]
)
def test_one_of_another_library_does_not(kind: type[Warning], module: str) -> None:
    warn(kind, module)


@pytest.mark.parametrize("kind", [UserWarning, RuntimeWarning, ResourceWarning, SyntaxWarning])
def test_any_other_warning_fails_wherever_it_comes_from(kind: type[Warning]) -> None:
    for module in ("photostyle.files.images", "scipy.sparse", "torch.nn"):
        with pytest.raises(kind):
            warn(kind, module)
