"""What lies beside the pixels of a PNG, and must not keep them from being read: PNG third edition, 5 and 11.3."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# What is read beside them: colours, density and animation, each with the bytes of its content (None: any).
_SAID = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32, b"iCCP": None, b"pHYs": 9, b"acTL": 8}
# Texts that may hold an orientation: XMP, and EXIF as ImageMagick writes it.
_TURNS = (b"XML:com.adobe.xmp", b"Raw profile type exif")
# Bytes of one text that are read at most, as Pillow does: an orientation in XMP has a few thousand.
_MOST_TEXT = 1 << 20
_MOST_PROFILE = 1 << 24  # bytes of a colour profile: those of printing presses have up to 4 MB


@dataclass(frozen=True)
class Beside:
    """A PNG taken apart.

    pixels: a PNG of the pixels, with what may say which way is up, and nothing else that a decoder could stumble over.
    said: the chunks of _SAID that are sound, by type, the profile in iCCP unpacked. damaged: those that are not.
    transparent: the content of tRNS. frames: of an animation; 1 where it is none.
    """

    pixels: bytes
    said: dict[bytes, bytes]
    damaged: tuple[str, ...] = ()
    transparent: bytes = b""
    frames: int = 1

    @property
    def bits(self) -> int:
        """Of a sample: PNG third edition, 11.2.1."""
        return self.pixels[24]

    @property
    def bits_per_pixel(self) -> int:
        """Of all samples of a pixel."""
        return self.bits * {2: 3, 4: 2, 6: 4}.get(self.pixels[25], 1)

    @property
    def is_grey(self) -> bool:
        """Whether there is one channel, and it is no palette's."""
        return self.pixels[25] == 0

    @property
    def resolution(self) -> tuple[float, float] | None:
        """Dots per inch, across and down; None where they are not said in a unit."""
        across, down, unit = struct.unpack(">IIB", self.said.get(b"pHYs", bytes(9)))
        return (across * 0.0254, down * 0.0254) if unit == 1 else None


def taken_apart(data: bytes) -> Beside:
    """A PNG's pixels, and what is read of all that lies beside them."""
    kept, start, frames = [MAGIC], len(MAGIC), 0
    said, damaged, turns, transparent = dict[bytes, bytes](), list[str](), set[bytes](), b""
    for kind, body, whole, sound in _chunks(data):
        start += len(whole)
        turn = _turn(kind, body) if sound else b""
        if kind in _PIXELS or (turn and turn not in turns):
            kept.append(whole)
        turns.add(turn)
        frames += kind == b"fcTL"
        transparent = body if kind == b"tRNS" else transparent
        if kind in _SAID and kind not in said:
            content = _content(kind, body) if sound else None
            if content is None:
                damaged.append(kind.decode())
            else:
                said[kind] = content
    frames = max(frames, 1) if b"acTL" in said else 1
    pixels = b"".join((*kept, data[start:]))
    return Beside(pixels, said, tuple(dict.fromkeys(damaged)), transparent, frames)


def _turn(kind: bytes, body: bytes) -> bytes:
    """Which of the chunks that may say an orientation it is; b"" where none, or longer than any such."""
    if kind == b"eXIf":
        return kind
    keyword = body.partition(b"\0")[0] if kind in _TEXTS else b""
    return keyword if keyword in _TURNS and not _is_long(kind, body) else b""


def _content(kind: bytes, body: bytes) -> bytes | None:
    """What a chunk says, the profile in iCCP unpacked; None where it is damaged."""
    if kind == b"iCCP":
        return _inflated(body.partition(b"\0")[2][1:], _MOST_PROFILE)
    return body if len(body) == _SAID[kind] else None


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


def _inflated(packed: bytes, most: int) -> bytes | None:
    """None where the bytes are damaged, or more than the most."""
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(packed, most)
    except zlib.error:
        return None
    return data if stream.eof else None
