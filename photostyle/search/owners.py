"""Who works on a trial or holds a lock, and whether they still do."""

import os
import platform
import time
from typing import Any


def this_process() -> dict[str, Any]:
    """Who works on a trial, and since when (seconds of the epoch), as JSON types."""
    return {"host": platform.node(), "pid": os.getpid(), "began": time.time()}


def is_gone(process: dict[str, Any]) -> bool:
    """Whether a process, as `this_process` describes it, is known to have ended. Only its own machine can tell."""
    # Elsewhere than on POSIX systems signal 0 is a signal like any other.
    if process.get("host") != platform.node() or os.name != "posix":
        return False
    try:
        os.kill(process["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
