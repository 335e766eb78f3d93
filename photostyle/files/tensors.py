"""Tensors and text in a .safetensors file: whole or not at all, and equal contents are equal bytes."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from photostyle.errors import ComputationError
from photostyle.files.atomic import write_atomically


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
