"""The pictures of a folder, however deep: sorted, each read once; broken ones are skipped, counted and named."""

import hashlib
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from photostyle.errors import PhotostyleError
from photostyle.files.decoding import decode
from photostyle.files.images import SUFFIXES
from photostyle.files.reading import check_folder

NAMED = 10  # broken pictures that notes name one by one; the record names all
CHUNK = 32  # pictures that a process is handed at once: at 5 ms each, handing over is no cost


@dataclass(frozen=True)
class Broken:
    """A picture that is skipped, and why: a sentence that begins with its path."""

    path: Path
    why: str


@dataclass(frozen=True)
class Listing:
    """The pictures of a folder that can be read.

    files: by their path relative to the folder, sorted as text with "/", whatever the system. sizes: (height, width)
    of each, upright. sha256: of every file's path and bytes, so that two equal ones are the same data.
    """

    folder: Path
    files: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    broken: tuple[Broken, ...]
    sha256: str

    def notes(self) -> tuple[str, ...]:
        """What was skipped, one sentence each: how many, then the first of them."""
        if not self.broken:
            return ()
        count, total = len(self.broken), len(self.broken) + len(self.files)
        first = [f"skipped: {each.why}" for each in self.broken[:NAMED]]
        more = [f"skipped: {count - NAMED} more"] if count > NAMED else []
        return (f"{self.folder}: {count} of {total} pictures cannot be used", *first, *more)


def find_pictures(folder: Path, minimum: int = 1, workers: int = 0) -> Listing:
    """Every picture in a folder and the folders in it, by its suffix, each decoded once to see that it can be.

    minimum: the shortest side that is used, in pixels. workers: processes that decode; 0: this one (as many as there
    are cores pay from some hundred pictures on; their start takes seconds). Names that begin with a dot are no pictures
    of anybody's. Raises PhotostyleError where there is no such folder, or no picture in it that can be used.
    """
    paths = sorted(_walk(folder), key=Path.as_posix)
    found = list(_examined([folder / path for path in paths], minimum, workers))
    broken = tuple(
        Broken(folder / path, each) for path, each in zip(paths, found, strict=True) if isinstance(each, str)
    )
    good = [(path, each) for path, each in zip(paths, found, strict=True) if not isinstance(each, str)]
    if not good:
        first = f"; the first: {broken[0].why}" if broken else f"; expected {', '.join(SUFFIXES)}"
        raise PhotostyleError(f"{folder} holds {len(paths)} pictures and none that can be used{first}")
    digest = hashlib.sha256()
    for path, (_, _, sha256) in good:
        digest.update(f"{path.as_posix()}\0{sha256}\n".encode())
    sizes = tuple((height, width) for _, (height, width, _) in good)
    return Listing(folder, tuple(path for path, _ in good), sizes, broken, digest.hexdigest())


def _walk(folder: Path) -> Iterator[Path]:
    """Paths relative to the folder. Links to folders are followed, each folder once: a link may point up."""
    check_folder(folder, "pictures")
    seen = set[str]()
    for here, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        for name in names:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(here, name).relative_to(folder)


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed may hold half of the pictures: a training without them is another one."""
    raise PhotostyleError(
        f"{error.filename} cannot be read ({error.strerror}): check its permissions"
    ) from error


def _examined(paths: Sequence[Path], minimum: int, workers: int) -> Iterator[tuple[int, int, str] | str]:
    examine = partial(_examine, minimum=minimum)
    if not workers:
        yield from map(examine, paths)
        return
    # Spawned, not forked: a fork of a process that has used OpenMP or CUDA hangs.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as processes:
        yield from processes.map(examine, paths, chunksize=CHUNK)


def _examine(path: Path, minimum: int) -> tuple[int, int, str] | str:
    """(height, width, SHA-256 of the bytes), or why the picture is of no use."""
    try:
        raster = decode(path)
    except PhotostyleError as error:
        return str(error)
    height, width = raster.samples.shape[:2]
    if min(height, width) < minimum:
        return f"{path} is {width}x{height}; at least {minimum} pixels a side are needed"
    return height, width, raster.sha256
