"""The sheet of what was recognised: bars as long as probabilities, coloured where the first picture has the class."""

import numpy as np
import pytest
import torch
from PIL import Image

from photostyle.errors import PhotostyleError
from photostyle.recognition.recognise import Guess
from photostyle.recognition.sheet import Recognised, recognition_sheet

GREY = torch.full((3, 30, 40), 0.5)


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def bars(sheet: np.ndarray, coloured: bool) -> list[int]:
    """Lengths in pixels of the bars from above, each where it is longest."""
    colour = (120, 173, 210) if coloured else (217, 217, 217)  # tab:blue and 0.75, at 0.6 of them over paper
    found = (abs(sheet - colour) < 4).all(-1)
    lengths = [int(np.ptp(np.nonzero(row)[0])) + 1 if row.sum() > 20 else 0 for row in found]
    starts = [at for at in range(1, len(lengths)) if lengths[at] and not lengths[at - 1]]
    return [max(lengths[at : at + 10]) for at in starts]


def test_bars_are_as_long_as_probabilities_and_tell_what_is_kept(tmp_path):
    first = Recognised("content", GREY, [Guess("cat", 0.8), Guess("dog", 0.4)])
    other = Recognised("result", GREY, [Guess("sofa", 0.6), Guess("cat", 0.2)])
    recognition_sheet([first, other], tmp_path / "two.png", compared=True)
    left, right = np.array_split(pixels(tmp_path / "two.png"), 2, axis=1)
    long, short = bars(left, coloured=True)
    assert long / short == pytest.approx(2, abs=0.05)
    (foreign,), (shared,) = bars(right, coloured=False), bars(right, coloured=True)
    assert foreign / shared == pytest.approx(3, abs=0.1)


def test_pictures_that_are_not_compared_are_all_coloured(tmp_path):
    each = [Recognised("a", GREY, [Guess("cat", 0.8)]), Recognised("b", GREY, [Guess("sofa", 0.4)])]
    recognition_sheet(each, tmp_path / "sheet.png")
    sheet = pixels(tmp_path / "sheet.png")
    left, right = (bars(half, coloured=True) for half in np.array_split(sheet, 2, axis=1))
    assert left[0] / right[0] == pytest.approx(2, abs=0.05) and not bars(sheet, coloured=False)


@pytest.mark.slow
def test_a_fifth_picture_begins_a_row(tmp_path):
    each = Recognised("costs $5 or $6 {x}_1", GREY, [Guess("cat", 1.0)])
    sizes = []
    for count in (1, 5):
        recognition_sheet([each] * count, tmp_path / "sheet.png", "title")
        sizes.append(pixels(tmp_path / "sheet.png").shape[:2])
    (low, narrow), (high, wide) = sizes
    assert wide == 4 * narrow and high > 1.8 * low


def test_the_same_sheet_has_the_same_bytes(tmp_path):
    each = Recognised("content", GREY, [Guess("cat", 0.8)])
    for name in ("a.png", "b.png"):
        recognition_sheet([each], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_no_pictures_are_an_error(tmp_path):
    with pytest.raises(PhotostyleError, match="no pictures were given"):
        recognition_sheet([], tmp_path / "sheet.png")
