"""Names that a file could not have: asked before any work is done for it."""

import os
from pathlib import Path

from photostyle.errors import PhotostyleError, one_line


def check_name(path: Path) -> None:
    """Refuse a path without a name, one too long for the file system, and one in a folder that may not be entered.

    Raises PhotostyleError.
    """
    if not path.name:
        raise PhotostyleError(f'"{path}" names no file to write: name one, such as out.png')
    if len(os.fsencode(path.name)) > (most := _longest_name(path.parent)):
        raise PhotostyleError(
            f"{path} cannot be written: its name has more than the {most} bytes that the file system allows: shorten it"
        )
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:  # a folder not to be entered, a loop of links, a null byte
        why = (isinstance(error, OSError) and error.strerror) or one_line(error)
        raise PhotostyleError(f"{path} cannot be written ({why}): choose another place") from None


def _longest_name(folder: Path) -> int:
    """Bytes of a file's name there; 255 where the system does not say, what all common file systems allow."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return 255
