"""Damaged files of every kind that is read: a result of numbers, or a refusal in one line."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from samples import ADOBE_GAMMA, ADOBE_RGB, gamma_curve, noise, png16, rgb_profile

from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import config_from_json, read_record
from photostyle.files.images import read_image
from photostyle.files.masks import read_masks
from photostyle.settings import read_settings

SAMPLE, ALL = 40, 2_500  # damaged files of each kind
# What breaks readers: giant and negative numbers, nesting, quotes, null bytes, line ends, another encoding.
TOKENS = (
    b"9" * 5000,
    b"-1",
    b"[" * 2000,
    b"{a=" * 500,
    b'"',
    b"\0",
    b"\n",
    b"\xff",
    b"nan",
    b"\xef\xbb\xbf",
    b"\\u0000",
)


def encoded(kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    Image.fromarray(noise(3)).save(buffer, kind, **options)
    return buffer.getvalue()


def deep_tiff() -> bytes:
    buffer = BytesIO()
    tifffile.imwrite(buffer, noise(4, np.uint16), photometric="rgb", extrasamples=["unassalpha"])
    return buffer.getvalue()


def profile() -> bytes:
    return rgb_profile(ADOBE_RGB, gamma_curve(ADOBE_GAMMA))


def palette() -> bytes:
    buffer = BytesIO()
    Image.fromarray(noise(3)).quantize(4).save(buffer, "PNG", transparency=1)
    return buffer.getvalue()


PICTURES: dict[str, Callable[[], bytes]] = {
    "png": lambda: encoded("PNG", icc_profile=profile()),
    "png16": lambda: png16(noise(2, np.uint16)),
    "jpg": lambda: encoded("JPEG", icc_profile=profile()),
    "webp": lambda: encoded("WEBP", lossless=True),
    "tif": lambda: encoded("TIFF", compression="tiff_lzw", icc_profile=profile()),
    "tif16": deep_tiff,
    "palette": palette,
}
NAMES = {"jpg": "JPEG", "webp": "WebP", "tif": "TIFF", "png16": "PNG of 16 bits", "tif16": "TIFF of 16 bits"}
NAMES |= {"palette": "PNG with a palette"}
Tried = Callable[[str, str, int], None]
LEGEND = b'kind = "soft"\n[regions]\nsky = { file = "a.png", colour = "#78b4ff", confidence = 0.5 }\n'
SETTINGS = b'size = 512\npreset = "patches"\nstrength = 0.5\niterations = [1, 2]\nprotect = ["skin"]\n'
FILE = {"path": "a.png", "sha256": "0"}
RECORD = {
    "photostyle": {"format": 1, "version": "0"},
    "ended": "done",
    "config": {"content": "a.png", "style": ["b.png"], "size": 64, "strength": 0.5, "iterations": [1]},
    "environment": {"threads": 1},
    "inputs": {"content": FILE},
    "stages": [],
    "output": FILE,
}


def damaged(whole: bytes, draw: np.random.Generator) -> bytes:
    """One to four changes: bytes, cuts, tokens, parts twice; headers, where the meaning is, more often."""
    data = bytearray(whole)
    for _ in range(draw.integers(1, 5)):
        at = int(draw.integers(0, max(1, min(len(data), 200 if draw.random() < 0.6 else len(data)))))
        what = draw.integers(5)
        if what == 0:
            data[at : at + 1] = draw.bytes(1)
        elif what == 1:
            data[at : at + 4] = draw.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
        elif what == 2:
            del data[at : at + int(draw.integers(1, 40))]
        elif what == 3:
            data[at:at] = TOKENS[draw.integers(len(TOKENS))]
        else:
            data[at:at] = data[at : at + 60]
    return bytes(data)


def read_or_refused(read: Callable[[], object]) -> object:
    try:
        return read()
    except PhotostyleError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return None


def amount(count: int) -> list[object]:
    return [count] if count < ALL else [pytest.param(count, marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", [*amount(SAMPLE), *amount(ALL)])
@pytest.mark.parametrize("kind", PICTURES)
def test_damaged_pictures_and_masks(tmp_path: Path, kind: str, count: int, tried: Tried) -> None:
    tried("bad-files", f"{NAMES.get(kind, kind.upper())} as a photograph and as a mask", count)
    whole, draw, path = PICTURES[kind](), np.random.default_rng(len(kind)), tmp_path / "a"
    for _ in range(count):
        path.write_bytes(damaged(whole, draw))
        picture = read_or_refused(lambda: read_image(path))
        if picture is not None:
            assert np.isfinite(picture.pixels.numpy()).all()  # type: ignore[attr-defined]
        masks = read_or_refused(lambda: read_masks(path, path, 40, 50))
        if masks is not None:
            assert masks.masks.sum(0).max() <= 1 + 1e-6  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [*amount(SAMPLE), *amount(ALL)])
@pytest.mark.parametrize("kind", ["legend", "settings", "record"])
def test_damaged_texts(tmp_path: Path, kind: str, count: int, tried: Tried) -> None:
    tried("bad-files", f"a {kind}" if kind != "settings" else "a file of settings", count)
    draw = np.random.default_rng(0)
    Image.fromarray(noise(1)[..., 0]).save(tmp_path / "a.png")
    name = {"legend": "legend.toml", "settings": "s.toml", "record": "r.json"}[kind]
    whole = {"legend": LEGEND, "settings": SETTINGS, "record": json.dumps(RECORD).encode()}[kind]
    path = tmp_path / name
    read: Callable[[], object] = {
        "legend": lambda: read_masks(tmp_path, path, 40, 50),
        "settings": lambda: read_settings(path),
        "record": lambda: config_from_json(read_record(path)["config"], path),
    }[kind]
    for _ in range(count):
        path.write_bytes(damaged(whole, draw))
        read_or_refused(read)
