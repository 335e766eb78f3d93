"""What lies beside the pixels of a PNG, and must not keep them from being read: PNG third edition, 5 and 11.3."""

import struct
import zlib
from collections.abc import Iterator

MAGIC = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_COLOURS = (b"cICP", b"sRGB", b"gAMA", b"cHRM", b"iCCP")
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# Bytes of one text that are read at most, as Pillow does: an orientation in XMP has a few thousand.
_MOST_TEXT = 1 << 20
_MOST_PROFILE = 1 << 24  # bytes of a colour profile: those of printing presses have up to 4 MB


def read_beside(data: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """A PNG without what a decoder could stumble over, and its colour chunks by type, the profile in iCCP unpacked.

    Left out are long texts, all chunks beside the pixels whose checksum is wrong, and the colours.
    """
    kept, colours, start = [MAGIC], dict[bytes, bytes](), len(MAGIC)
    for kind, body, whole, sound in _chunks(data):
        start += len(whole)
        wanted = kind in _PIXELS or (sound and not (kind in _TEXTS and _is_long(kind, body)))
        if kind in _COLOURS and sound:
            content = _unpacked_profile(body) if kind == b"iCCP" else body
            if content is not None:
                colours.setdefault(kind, content)
        if wanted and kind not in _COLOURS:
            kept.append(whole)
    return b"".join((*kept, data[start:])), colours


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes, bool]]:
    """Type, content, all bytes of each whole chunk, and whether its checksum is right."""
    at = len(MAGIC)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            return
        body = data[at + 8 : end - 4]
        sound = kind in _PIXELS or zlib.crc32(body, zlib.crc32(kind)) == int.from_bytes(
            data[end - 4 : end], "big"
        )
        yield kind, body, data[at:end], sound
        at = end


def _is_long(kind: bytes, body: bytes) -> bool:
    if len(body) > _MOST_TEXT:
        return True
    after = body.partition(b"\0")[2]
    if kind == b"zTXt":
        packed = after[1:]
    elif kind == b"iTXt" and after[:1] == b"\1":
        packed = after[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        return False
    return _inflated(packed, _MOST_TEXT) is None


def _unpacked_profile(body: bytes) -> bytes | None:
    return _inflated(body.partition(b"\0")[2][1:], _MOST_PROFILE)


def _inflated(packed: bytes, most: int) -> bytes | None:
    """None where the bytes are damaged, or more than the most."""
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(packed, most)
    except zlib.error:
        return None
    return data if stream.eof else None
