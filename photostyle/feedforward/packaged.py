"""The model that comes with the package, if one does."""

from importlib import resources
from pathlib import Path

from photostyle.errors import PhotostyleError
from photostyle.feedforward.model import SUFFIX


def packaged_model() -> Path:
    """The file of the packaged model, the first by name where there are several.

    Raises PhotostyleError where this installation has none.
    """
    folder = resources.files("photostyle.feedforward") / "models"
    found = (
        sorted(str(each) for each in folder.iterdir() if each.name.endswith(SUFFIX))
        if folder.is_dir()
        else []
    )
    if not found:
        raise PhotostyleError(
            f"no model comes with this installation; give one that was trained: --model FILE{SUFFIX}"
        )
    return Path(found[0])
