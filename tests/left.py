"""What a run left in its folder, put down in another test's: a run that many tests begin with is made once."""

from collections.abc import Callable
from pathlib import Path

Options = tuple[str, ...]


class Left:
    """The files out* of runs by their options."""

    def __init__(self) -> None:
        self._of: dict[Options, tuple[Path, dict[Path, bytes]]] = {}

    def by(self, run: Callable[..., object], *options: str) -> None:
        """Leave in the working directory what run(*options) would; paths in the record name that directory."""
        here = Path.cwd()
        if options not in self._of:
            before = _files()
            run(*options)
            after = _files()
            self._of[options] = here, {path: after[path] for path in after if after[path] != before.get(path)}
        there, files = self._of[options]
        for path, content in files.items():
            moved = path.suffix == ".json"
            path.write_bytes(content.replace(str(there).encode(), str(here).encode()) if moved else content)


def _files() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().glob("out*") if path.is_file()}
