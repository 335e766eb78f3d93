"""Pixels for the tests of files, the 16-bit PNG that nothing installed writes, and colour profiles."""

import struct
import zlib
from pathlib import Path

import numpy as np

from photostyle.files.images import read_image

HEIGHT, WIDTH = 40, 50
# Columns are the XYZ of red, green and blue, adapted to D50: the colorants of Adobe's profile.
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
ADOBE_GAMMA = 563 / 256


def noise(channels: int, dtype: type = np.uint8, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """An alpha channel among 2 or 4 hides nothing entirely: colours that are hidden are not read."""
    top = np.iinfo(dtype).max
    drawn = np.random.default_rng(channels).integers(0, top, (height, width, channels), dtype, endpoint=True)
    if channels in (2, 4):
        drawn[..., -1] = np.maximum(drawn[..., -1], 1)
    return drawn


def values(path: Path) -> np.ndarray:
    """(H, W, 3) float64 of what was read."""
    return read_image(path).pixels.permute(1, 2, 0).double().numpy()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(samples: np.ndarray, *extra: bytes) -> bytes:
    """A 16-bit PNG by the specification, the five filters in turn: nothing that is installed writes one."""
    height, width, channels = samples.shape
    step = 2 * channels
    rows = samples.astype(">u2").view(np.uint8).reshape(height, width * step).astype(int)
    data = b""
    for y, row in enumerate(rows):
        up = rows[y - 1] if y else np.zeros_like(row)
        left, corner = (np.concatenate([np.zeros(step, int), r[:-step]]) for r in (row, up))
        nearest = np.argmin(np.abs(np.stack([up - corner, left - corner, left + up - 2 * corner])), axis=0)
        paeth = np.choose(nearest, [left, up, corner])
        guess = (0 * row, left, up, (left + up) // 2, paeth)[y % 5]
        data += bytes([y % 5]) + ((row - guess) % 256).astype(np.uint8).tobytes()
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(extra)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(n * 65536)) for n in numbers)


def gamma_curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def profile(tags: dict[bytes, bytes], space: bytes = b"RGB ") -> bytes:
    """An ICC version 2 display profile with these tags."""
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(4 + 4 + 2 + 1 + 67),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249),
        **tags,
    }
    table, data, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(tag))
        data += tag + bytes(-len(tag) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(data), b"none", 0x02400000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1, 0.8249) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + data


def rgb_profile(primaries: np.ndarray, curve: bytes) -> bytes:
    columns = {
        c + b"XYZ": b"XYZ \0\0\0\0" + fixed(*primaries[:, i]) for i, c in enumerate((b"r", b"g", b"b"))
    }
    return profile(columns | {c + b"TRC": curve for c in (b"r", b"g", b"b")})
