"""Tensors and text in a .safetensors file: written whole or not at all, and equal contents are equal bytes."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from photostyle.errors import ComputationError, PhotostyleError, shortened
from photostyle.files.atomic import write_atomically
from photostyle.files.reading import parsed_json


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    before: Callable[[], object] = lambda: None,
) -> None:
    """Write a .safetensors file, atomically and flushed to disk.

    before: is called once the new file is written beside the old one, before it takes its place.
    Raises ComputationError where the disk fails.
    """

    def write(beside: Path) -> None:
        try:
            save_file(dict(tensors), beside, metadata=dict(metadata))
        except SafetensorError as error:  # above all a full disk, which its writer reports as text
            raise ComputationError(
                f"{path} cannot be written ({error}): check space and permissions"
            ) from error
        _order_metadata(beside)
        before()

    write_atomically(path, write)


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """A module's state as a file takes it: on the CPU, contiguous, without gradients."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}


def parsed_tensors(path: Path, data: bytes, key: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a .safetensors file, on the CPU, and the JSON object that its metadata have under a key.

    data: the file's bytes. An empty object where the metadata have no such key. Raises PhotostyleError, one line, where
    the file is damaged or something else.
    """
    try:
        tensors = load(
            data
        )  # which checks the header against the bytes behind it, and leaves the metadata out
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a type of numbers that torch has not
        raise PhotostyleError(
            f"{path} is damaged or no .safetensors file ({shortened(error)}): get the file again"
        ) from error
    about = parsed_json(path, metadata.get(key, "{}"))
    if not isinstance(about, dict):
        raise PhotostyleError(f"{path} says of itself what no such file says: get the file again")
    return tensors, about


def _order_metadata(path: Path) -> None:
    """Rewrite the header with its metadata in order: safetensors writes them in the random order of a hash table.

    The header is a length of 8 bytes, little-endian, and JSON of that length, padded with spaces.
    """
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > length:
            raise ValueError(f"{path}: the header in order has {len(text)} bytes, more than its {length}")
        file.seek(8)
        file.write(text.ljust(length))
