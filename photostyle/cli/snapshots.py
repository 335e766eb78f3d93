"""Unfinished pictures of a run, which carry a mark: they are known as ours before there is a record that names them."""

import zlib
from pathlib import Path

from torch import Tensor

from photostyle.files.atomic import write_bytes_atomically
from photostyle.files.images import encode_image

# Where the first chunk of a PNG ends: a signature of 8 bytes, and IHDR, which has 13 bytes of data and 12 about them.
# https://www.w3.org/TR/png-3/#5Chunk-layout
FIRST_END = 33


def _text(keyword: bytes, text: bytes) -> bytes:
    """A chunk of text: length, type, data, CRC-32. https://www.w3.org/TR/png-3/#11tEXt"""
    data = keyword + b"\0" + text
    body = b"tEXt" + data
    return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


MARK = _text(b"Comment", b"unfinished picture of a photostyle run")


def write_snapshot(path: Path, pixels: Tensor) -> None:
    """Write pixels, (3, H, W) in [0, 1], as a PNG with the mark. Raises ComputationError where the disk fails."""
    picture = encode_image(path, pixels)
    write_bytes_atomically(path, picture[:FIRST_END] + MARK + picture[FIRST_END:])


def is_snapshot(path: Path) -> bool:
    """Whether a file has the mark."""
    try:
        with path.open("rb") as file:
            return file.read(FIRST_END + len(MARK))[FIRST_END:] == MARK
    except OSError:
        return False
