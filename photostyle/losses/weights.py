"""VGG weights: a file given, the torch hub cache, or a checked download; tensors only, never code.

A file holds a state dict of torchvision's VGG-16 or VGG-19, bare or under "state_dict", with the keys
"features.N.weight" and "features.N.bias" ("N.weight" as saved from `vgg.features`). The classifier, 468 of
VGG-19's 548 MB, is ignored.
"""

import hashlib
import re
import secrets
import shutil
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.request import Request, urlopen

import torch
from safetensors.torch import load_file
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.files.reading import path_exists

# Convolutions in each of the five blocks: Simonyan & Zisserman (ICLR 2015), Table 1, configurations D and E.
BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}

# torchvision's VGG16_Weights.IMAGENET1K_V1.url and VGG19's, as a test holds: importing it costs every start a second.
URLS = {
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "vgg19": "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
}

# A server that answers does so in a few round trips (0.6 s each by satellite).
PROBE_SECONDS = 3.0
# Without a byte for this long a download has stalled: pip waits 15 s, and twice that spares a slow mirror.
STALL_SECONDS = 30.0
PIECE = 1 << 20  # bytes of a download in memory at once

SUFFIXES = (".pth", ".pt", ".safetensors")

Say = Callable[[str], None]
Source = Literal["file", "cache", "download"]


class WeightsNotFound(PhotostyleError):
    """No weights in any of the places looked at; without them the Gram losses cannot run."""


@dataclass(frozen=True, eq=False)
class Weights:
    """The convolutional part of a VGG, and where it came from.

    state: "features.N.weight" (out, in, 3, 3) and "features.N.bias" (out,), float32; N as torchvision
    counts its `features`.
    sha256: of the whole file, for the record; a file given or cached is not refused for it.
    """

    state: dict[str, Tensor]
    path: Path
    sha256: str
    source: Source


def find(
    file: Path | Weights | None,
    architecture: str = "vgg19",
    *,
    download: bool = True,
    progress: Say | None = None,
) -> Weights:
    """The weights of an architecture ("vgg16", "vgg19"): the file given, else the hub cache, else a download.

    Weights that an earlier call has found are checked for the architecture, and returned. progress is told, one line
    each, when a download starts and where it went. Raises WeightsNotFound where
    there are none (within seconds when offline), PhotostyleError for a file that cannot be used.
    """
    convolutions(architecture)  # an unknown architecture is an error here too
    if isinstance(file, Weights):
        _check_positions(file.state, list(file.state), file.path, architecture)
        return file
    path, source = obtain(architecture, URLS[architecture], file, download=download, progress=progress)
    digest = hash_of(path)
    return Weights(_features(read_state(path), path, architecture), path, digest, source)


def locate(file: Path | Weights | None, architecture: str = "vgg19", download: bool = True) -> Path | None:
    """Where `find` would read the weights, without reading them; None where it would raise WeightsNotFound.

    A path that does not exist yet is the cache file that a download would fill: its server answers now.
    A file that was given and is missing raises, rather than letting the cache stand in for it.
    """
    convolutions(architecture)
    if isinstance(file, Weights):
        return file.path
    return _place(architecture, URLS[architecture], file, download)


def obtain(
    name: str, url: str, file: Path | None, *, download: bool, progress: Say | None = None
) -> tuple[Path, Source]:
    """The file with a network's weights, and where it came from: the one given, else the cache's, else a download.

    name: the network's, for messages. Raises WeightsNotFound where there is none, within seconds when offline.
    """
    path = _place(name, url, file, download)
    if path is None:
        why = "cannot be reached" if download else "was not asked"
        cached = _cache_file(url)
        raise WeightsNotFound(
            f"no {name} weights: {cached} is not there and {url} {why}; "
            f"download that file elsewhere and put it at {cached}, or give its path"
        )
    if path_exists(path):
        return path, "cache" if file is None else "file"
    download_file(url, path, progress or (lambda line: None))
    return path, "download"


def _place(name: str, url: str, file: Path | None, download: bool) -> Path | None:
    """Where the weights are, or will be; see `locate`."""
    if file is not None:
        if not path_exists(file):
            raise WeightsNotFound(
                f"{file} does not exist: give the path of a {_or(SUFFIXES)} file with {name} weights"
            )
        return file
    cached = _cache_file(url)
    if path_exists(cached) or (download and reachable(url)):
        return cached
    return None


def convolutions(architecture: str) -> dict[str, int]:
    """Position of each convolution in torchvision's `features`, in order: "conv4_2" is 21 in "vgg19"."""
    if architecture not in BLOCKS:
        raise PhotostyleError(f'unknown architecture "{architecture}": give {_or(BLOCKS)}')
    positions, index = {}, 0
    for block, depth in enumerate(BLOCKS[architecture], start=1):
        for number in range(1, depth + 1):
            positions[f"conv{block}_{number}"] = index
            index += 2  # the convolution and its ReLU
        index += 1  # the pool that closes the block
    return positions


def _cache_file(url: str) -> Path:
    # The directory is asked for at every call: TORCH_HOME may change, and `torch.hub.set_dir` too.
    return Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(url).name


def reachable(url: str) -> bool:
    """Whether the server has the file, decided within PROBE_SECONDS.

    In a thread of its own, because no timeout bounds the look-up of a host name: it can hang for minutes.
    """
    answers: list[bool] = []
    probe = threading.Thread(target=lambda: answers.append(_answers(url)), daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    return any(answers)


def _answers(url: str) -> bool:
    try:
        with urlopen(Request(url, method="HEAD"), timeout=PROBE_SECONDS):
            return True
    except (OSError, HTTPException):
        return False


def download_file(url: str, target: Path, progress: Say) -> None:
    """Through a partial file beside the target, kept only if its SHA-256 starts with the name's digits.

    torch.hub's own download takes no time-out but the whole process's, so that a lost connection would wait for ever.
    """
    progress(f"downloading {url} to {target}")
    digits = target.stem.rpartition("-")[2]
    partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with urlopen(Request(url), timeout=STALL_SECONDS) as answer, partial.open("xb") as file:
            shutil.copyfileobj(answer, file, PIECE)
        found = hash_of(partial)
        if not found.startswith(digits):
            raise OSError(f'invalid hash value (expected "{digits}", got "{found}")')
        partial.replace(target)
    except (OSError, HTTPException) as error:
        raise WeightsNotFound(
            f"the download of {url} to {target} failed ({error}); "
            "try again, or fetch the file elsewhere and give its path"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    progress(f"downloaded {target} ({target.stat().st_size / 1e6:.0f} MB), its SHA-256 checked")


def hash_of(path: Path) -> str:
    """SHA-256 of a file of weights. Raises PhotostyleError where it cannot be read."""
    if not path.is_file():  # a folder, a device or a pipe, of which there is no end
        what = "is a directory" if path.is_dir() else "is no ordinary file"
        raise PhotostyleError(f"{path} {what}: give a {_or(SUFFIXES)} file of weights")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PhotostyleError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def read_state(path: Path) -> object:
    """What a .pth or .safetensors file holds: tensors only, pickled code is never run."""
    if path.suffix.lower() not in SUFFIXES:
        raise PhotostyleError(f'{path} ends in "{path.suffix}": weights are read from {_or(SUFFIXES)} files')
    if path.stat().st_size == 0:
        raise PhotostyleError(f"{path} is empty (0 bytes): delete it or replace it with a file of weights")
    try:
        return load_file(path) if path.suffix.lower() == ".safetensors" else _unpickled(path)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in the two parsers, with any exception
        raise PhotostyleError(
            f"{path} is damaged or holds more than tensors ({type(error).__name__}), "
            "and pickled code is never run: get the file again, or save the model's state_dict() alone"
        ) from error


def _unpickled(path: Path) -> object:
    with warnings.catch_warnings():
        # Of a newer pickle protocol torch warns that it may fail; where it does, that is an error.
        warnings.simplefilter("ignore", UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def state_dict_in(contents: object, path: Path) -> Mapping[object, object]:
    """The state dict in a file's contents, bare or under "state_dict". Raises PhotostyleError where there is none."""
    if isinstance(contents, Mapping) and isinstance(contents.get("state_dict"), Mapping):
        contents = contents["state_dict"]
    if not isinstance(contents, Mapping):
        raise PhotostyleError(
            f"{path} holds a {type(contents).__name__}, not a state dict: save the model's state_dict()"
        )
    return contents


def _features(contents: object, path: Path, architecture: str) -> dict[str, Tensor]:
    """The convolutions in a file's contents, under torchvision's names, checked against the architecture."""
    contents = state_dict_in(contents, path)
    found = {}
    for key, value in contents.items():
        if match := re.fullmatch(r"(?:features\.)?(\d+\.(?:weight|bias))", str(key)):
            found[f"features.{match[1]}"] = value
    _check_positions(found, list(contents), path, architecture)
    tensors = _checked_tensors(found, path, architecture)
    return {key: value.detach().to(torch.float32) for key, value in tensors.items()}


def _check_positions(found: Mapping[str, object], keys: list[object], path: Path, architecture: str) -> None:
    """The convolutions are the architecture's first ones; how many is up to the file (it may be cut)."""
    positions = _positions(found)
    if not positions:
        some = ", ".join(map(str, keys[:3])) or "nothing"
        raise PhotostyleError(
            f'{path} holds no VGG features (found {some}): expected keys like "features.0.weight"'
        )
    fitting = [name for name in BLOCKS if positions == list(convolutions(name).values())[: len(positions)]]
    if architecture not in fitting:
        remedy = f"use it as {_or(fitting)}" if fitting else f"give the weights of a plain {architecture}"
        raise PhotostyleError(
            f"{path} is no {architecture}: its layers are features {', '.join(map(str, positions))}; {remedy}"
        )


def _checked_tensors(found: Mapping[str, object], path: Path, architecture: str) -> dict[str, Tensor]:
    """Each convolution is 3×3 and takes the channels of the one before; the widths are the file's own."""
    tensors, channels = dict[str, Tensor](), 3
    for name, position in zip(convolutions(architecture), _positions(found), strict=False):
        weight, bias = (_tensor(found, f"features.{position}.{part}", path) for part in ("weight", "bias"))
        if weight.ndim != 4 or weight.shape[1:] != (channels, 3, 3) or bias.shape != weight.shape[:1]:
            raise PhotostyleError(
                f"{path}: {name} has weight {tuple(weight.shape)} and bias {tuple(bias.shape)}, "
                f"expected (n, {channels}, 3, 3) and (n,): give the weights of a plain {architecture}"
            )
        channels = weight.shape[0]
        tensors |= {f"features.{position}.weight": weight, f"features.{position}.bias": bias}
    return tensors


def _positions(found: Mapping[str, object]) -> list[int]:
    return sorted({int(key.split(".")[1]) for key in found})


def _tensor(found: Mapping[str, object], key: str, path: Path) -> Tensor:
    if key not in found:
        raise PhotostyleError(f"{path} lacks {key}: save the whole state_dict() again")
    value = found[key]
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
        raise PhotostyleError(
            f"{path}: {key} is {kind}, expected a tensor of floats: save the state_dict() again"
        )
    if not bool(value.isfinite().all()):
        raise PhotostyleError(f"{path}: {key} holds NaN or infinity: get the file again")
    return value


def _or(choices: Mapping[str, object] | tuple[str, ...] | list[str]) -> str:
    return " or ".join(choices)
