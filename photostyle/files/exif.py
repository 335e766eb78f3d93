"""EXIF: which way is up, and how large a picture is to be printed. It keeps no picture from being read."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from PIL import Image

from photostyle.errors import shortened

# Tags of EXIF 2.32 and TIFF 6.0.
ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x0112, 0x011A, 0x011B, 0x0128
_PER_INCH = {2: 1.0, 3: 2.54}  # of the unit: inch, centimetre
# Dots per inch beyond which a number is no resolution; JFIF has 16 bits for it.
MOST_DOTS = 65535

Resolution = tuple[float, float]  # dots per inch, across and down


def exif_of(image: Image.Image) -> tuple[Image.Exif, tuple[str, ...]]:
    """The EXIF of an image, empty with a note where it cannot be read."""
    try:
        return image.getexif(), ()
    except MemoryError:
        raise
    except Exception as error:  # whatever comes of damaged bytes
        return Image.Exif(), (_unreadable(error),)


def exif_of_tiff(data: bytes, file: Any, page: Any) -> tuple[Image.Exif, tuple[str, ...]]:
    """The same for a page of a TIFF that tifffile has opened."""
    exif = Image.Exif()
    exif.endian, exif.bigtiff = file.byteorder, file.is_bigtiff
    try:
        exif.load_from_fp(BytesIO(data), page.offset)
    except MemoryError:
        raise
    except Exception as error:
        return Image.Exif(), (_unreadable(error),)
    return exif, ()


def orientation(exif: Mapping[int, Any]) -> int:
    """1 to 8, whatever type it was written as; 1 where it is not there or nothing that it can be."""
    value: Any = exif.get(ORIENTATION)
    try:
        number = int(value[0] if isinstance(value, tuple | bytes) else value)
    except (TypeError, ValueError, LookupError):
        return 1
    return number if 1 <= number <= 8 else 1


def resolution(given: Any, exif: Image.Exif) -> Resolution | None:
    """What the file's own format says, else EXIF; None where neither does, or it cannot be."""
    if given is None:
        try:
            unit = _PER_INCH[exif.get(RESOLUTION_UNIT, 2)]
            given = float(exif[X_RESOLUTION]) * unit, float(exif[Y_RESOLUTION]) * unit
        except (LookupError, TypeError, ValueError, ArithmeticError):
            return None
    try:
        across, down = map(float, given)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return (across, down) if 1 <= across <= MOST_DOTS and 1 <= down <= MOST_DOTS else None


def _unreadable(error: Exception) -> str:
    return f"has EXIF data that cannot be read ({shortened(error)}): what it says of orientation and colours is lost"
