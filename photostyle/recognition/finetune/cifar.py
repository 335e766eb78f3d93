"""CIFAR-10 as its authors publish it and torchvision unpacks it: pickled batches, read without running what they say.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009): 50 000 pictures to train on in five batches
and 10 000 to test, 32×32, ten classes. A pickle can name any function to be called, so only what arrays are made of
may be named here.
"""

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from photostyle.errors import ComputationError, PhotostyleError, one_line
from photostyle.files.reading import path_is_file

FOLDER, ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"  # torchvision.datasets.CIFAR10's names
TRAIN, TEST, NAMES = tuple(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"
SIDE = 32
ROW = 3 * SIDE * SIDE  # bytes: red, green and blue, each row by row
MOST = 1 << 30  # bytes of a file: a batch has 31 MB, and an archive may unpack to anything

# NumPy moved these functions in version 2; the published batches name them as version 1 did.
ADMITTED: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (module, "_reconstruct"): np.zeros(0).__reduce__()[0]  # type: ignore[misc]
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    },
}


class _Unpickler(pickle.Unpickler):
    """Arrays, bytes, numbers, lists and dictionaries; anything else that a pickle names is an error."""

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no array needs")
        return ADMITTED[module, name]


def cifar_in(path: Path) -> Path | None:
    """The archive or the folder of batches that a path is, or holds; None where there is neither."""
    places = (path, path / FOLDER, path / ARCHIVE)
    return next((place for place in places if path_is_file(place / TEST) or _is_archive(place)), None)


def read_cifar(place: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Pictures to train on (N, 3, 32, 32) uint8 and their labels (N,) int64, those to test, and the class names.

    place: as `cifar_in` finds it. Raises PhotostyleError, one line, for a file that is missing, damaged or wrong.
    """
    files = _files(place)
    train = [_batch(place / name, files[name]) for name in TRAIN]
    pictures, labels = (np.concatenate(each) for each in zip(*train, strict=True))
    names = _contents(place / NAMES, files[NAMES]).get(b"label_names")
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise PhotostyleError(f"{place / NAMES} has no list label_names: unpack {ARCHIVE} again")
    tested = _batch(place / TEST, files[TEST])
    if max(labels.max(), tested[1].max()) >= len(names):
        raise PhotostyleError(f"{place}: labels go beyond the {len(names)} names: unpack {ARCHIVE} again")
    return pictures, labels, *tested, tuple(name.decode("utf-8", "replace") for name in names)


def _is_archive(path: Path) -> bool:
    return path_is_file(path) and path.name.endswith((".tar.gz", ".tgz"))


def _files(place: Path) -> dict[str, bytes]:
    """The contents of all files by name, of the folder or straight from the archive."""
    wanted = (*TRAIN, TEST, NAMES)
    try:
        found = _unpacked(place, wanted) if place.is_file() else _read(place, wanted)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise PhotostyleError(
            f"{place} is damaged or cut short ({one_line(error)}): get {ARCHIVE} again"
        ) from error
    if missing := [name for name in wanted if name not in found]:
        raise PhotostyleError(f"{place} lacks {', '.join(missing)}: unpack {ARCHIVE} again")
    return found


def _read(folder: Path, wanted: tuple[str, ...]) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in wanted if (folder / name).is_file()}


def _unpacked(archive: Path, wanted: tuple[str, ...]) -> dict[str, bytes]:
    found = {}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            name = Path(member.name).name
            if member.isfile() and name in wanted:
                if member.size > MOST:
                    raise PhotostyleError(f"{archive}: {name} has {member.size} bytes: get {ARCHIVE} again")
                contents = tar.extractfile(member)
                found[name] = contents.read() if contents else b""
    return found


def _batch(path: Path, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 3, 32, 32) uint8 and labels (N,) int64."""
    contents = _contents(path, data)
    rows, labels = contents.get(b"data"), contents.get(b"labels")
    if (
        not isinstance(rows, np.ndarray)
        or not isinstance(labels, list)
        or rows.dtype != np.uint8
        or rows.shape != (len(labels), ROW)
        or not labels
    ):
        raise PhotostyleError(f"{path} holds no pictures of {ROW} bytes with labels: unpack {ARCHIVE} again")
    if not all(isinstance(label, int) and label >= 0 for label in labels):
        raise PhotostyleError(f"{path} has labels that are no class numbers: unpack {ARCHIVE} again")
    return rows.reshape(-1, 3, SIDE, SIDE), np.array(labels, np.int64)


def _contents(path: Path, data: bytes) -> dict[bytes, object]:
    try:
        contents = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except MemoryError as error:
        raise ComputationError(f"{path} asks for more memory than there is") from error
    except Exception as error:  # on damaged bytes the unpickler raises whatever comes
        raise PhotostyleError(
            f"{path} is no batch of CIFAR-10 ({one_line(error)}): unpack {ARCHIVE} again"
        ) from error
    if not isinstance(contents, dict):
        raise PhotostyleError(f"{path} holds a {type(contents).__name__}: unpack {ARCHIVE} again")
    return contents
