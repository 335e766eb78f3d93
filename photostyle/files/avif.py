"""What Pillow does not say of an AVIF: its coding points and depth (ISO/IEC 14496-12 and 23008-12: meta, colr)."""

import struct

from photostyle.files.colour_spaces import Said, said_by_points

_UNSPECIFIED = 2  # ITU-T H.273, tables 2 and 3


def said_in_avif(data: bytes) -> Said:
    """What the box colr says in numbers; nothing where there is an ICC profile, or the numbers say nothing."""
    meta = _meta(data)
    at = meta.find(b"colrnclx")
    if at < 0 or len(meta) < at + 12 or b"colrprof" in meta or b"colrrICC" in meta:
        return None, ()
    primaries, curve = struct.unpack_from(">HH", meta, at + 8)
    if _UNSPECIFIED in (primaries, curve):
        return None, ()
    return said_by_points("nclx", primaries, curve)


def bits_in_avif(data: bytes) -> tuple[str, ...]:
    """A note where it has more than 8 bits: AV1 Codec ISO Media File Format Binding, 2.3.3."""
    meta = _meta(data)
    at = meta.find(b"av1C")
    deep = at >= 0 and len(meta) > at + 6 and meta[at + 6] & 0x40
    return ("has more than 8 bits a channel and is read with 8",) if deep else ()


def _meta(data: bytes) -> bytes:
    """The content of the box meta; empty where there is none."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"meta":
            return data[at + 8 : at + size]
        if size < 8:  # to the end, or 64 bits of it: no meta box comes after such
            return b""
        at += size
    return b""
