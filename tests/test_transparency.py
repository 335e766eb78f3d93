from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from photostyle.errors import PhotostyleError
from photostyle.files.arrays import mask_set_of, picture_of
from photostyle.files.images import read_image
from photostyle.files.transparency import covered, meant
from photostyle.materials import read_all_masks
from photostyle.pipeline import transfer
from photostyle.presets import configure

SIDE = 48


def disc(hidden: int) -> np.ndarray:
    """(48, 48, 4) uint8: a disc of a photograph, and one grey under zero alpha around it."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    alpha = np.where(x * x + y * y < 20**2, 255, 0).astype(np.uint8)
    picture = np.asarray(Image.fromarray(data.astronaut()).resize((SIDE, SIDE)))
    return np.dstack([np.where(alpha[..., None] > 0, picture, hidden), alpha]).astype(np.uint8)


@pytest.mark.situation("an opaque alpha channel")
def test_an_alpha_that_hides_nothing_is_none(tmp_path: Path) -> None:
    picture = disc(0)
    picture[..., 3] = 255
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").alpha is None
    assert picture_of(picture).alpha is None
    assert meant(np.full((2, 2), 65535, np.uint16), "a") is None


def test_a_picture_that_nobody_can_see_is_refused(tmp_path: Path) -> None:
    picture = disc(0)
    picture[..., 3] = 0
    Image.fromarray(picture).save(tmp_path / "a.png")
    with pytest.raises(PhotostyleError, match=r"a\.png is transparent everywhere"):
        read_image(tmp_path / "a.png")


def test_a_hidden_pixel_has_the_colour_of_the_nearest_visible_one() -> None:
    planes = np.arange(3 * 5, dtype=np.float32).reshape(3, 1, 5)
    covered(planes, np.array([[255, 0, 0, 1, 0]], np.uint8))
    assert planes[0, 0].tolist() == [0, 0, 3, 3, 3]


def test_what_is_hidden_is_not_read(tmp_path: Path) -> None:
    for hidden in (0, 255):
        Image.fromarray(disc(hidden)).save(tmp_path / f"{hidden}.png")
    assert torch.equal(*(read_image(tmp_path / f"{hidden}.png").pixels for hidden in (0, 255)))
    assert torch.equal(*(picture_of(disc(hidden)).pixels for hidden in (0, 255)))


@pytest.mark.parametrize("where", ["content", "style"])
@pytest.mark.situation("hidden pixels under alpha")
def test_what_is_hidden_decides_nothing(where: str) -> None:
    other = np.asarray(Image.fromarray(data.coffee()).resize((SIDE, SIDE)))
    results = []
    for hidden in (0, 255):
        pictures = {"content": other, "style": (other,)} | {
            where: disc(hidden) if where == "content" else (disc(hidden),)
        }
        results.append(transfer(configure("instant", masks="none", protect=("none",), **pictures)).image)
    assert torch.equal(*results)


def test_statistics_are_those_of_what_is_seen() -> None:
    """A reference cut out gives the colours that its visible pixels alone have."""
    photo = np.asarray(Image.fromarray(data.coffee()).resize((SIDE, SIDE)))
    reference = disc(0)
    seen = reference[reference[..., 3] > 0][:, :3] / 255
    made = transfer(
        configure(
            "instant",
            content=photo,
            style=(reference,),
            masks="none",
            protect=("none",),
            boldness=1.0,
            strength=1.0,
        )
    )
    # What the map leaves in [0, 1] has the mean of its target; a few pixels are clipped.
    np.testing.assert_allclose(made.image.mean((1, 2)).numpy(), seen.mean(0), atol=0.02)


def test_masks_in_memory_leave_out_what_is_hidden(tmp_path: Path) -> None:
    """As masks in files do: nobody sees what becomes of it, and it counts in no statistic."""
    photo = picture_of(disc(0))
    labels = np.zeros((SIDE, SIDE), int)
    whole, _ = read_all_masks((mask_set_of(labels), mask_set_of(labels)), photo, [photo])
    assert torch.equal(whole.masks[0] > 0, torch.from_numpy(photo.alpha > 0))
