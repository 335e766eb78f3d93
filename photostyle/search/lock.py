"""Optuna's lock of a journal, by a file that names its owner: nobody waits for a process that is gone."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileOpenLock

from photostyle.files.lock import alone_in
from photostyle.search.owners import is_gone, this_process

PATIENCE = 5.0  # seconds to wait for another process that removes the lock, which takes milliseconds


class OwnedLock(JournalFileOpenLock):
    """Optuna takes a lock away that nobody has touched for half a minute; this one also where its owner was killed."""

    def __init__(self, journal: str) -> None:
        super().__init__(journal)
        self.file = Path(f"{journal}.lock")  # as Optuna calls it

    def acquire(self) -> bool:
        """As Optuna's, and says in the file who has it."""
        if is_gone(self._owner()):
            with alone_in(self.file.parent, "search", PATIENCE):
                if is_gone(
                    self._owner()
                ):  # still: another may have removed it, and a third have taken its own
                    self.file.unlink(missing_ok=True)
        taken = super().acquire()
        with suppress(OSError):  # a full disk: then it is a lock of nobody's
            self.file.write_text(json.dumps(this_process()), encoding="utf-8")
        return taken

    def _owner(self) -> dict[str, Any]:
        """Who has it; nothing where nobody has, or it is not known."""
        try:
            owner = json.loads(self.file.read_bytes())
        except (OSError, ValueError):
            return {}
        return owner if isinstance(owner, dict) and isinstance(owner.get("pid"), int) else {}
