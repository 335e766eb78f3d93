"""Style folders to a style encoder, its space, and the nearest styles."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from photostyle.errors import PhotostyleError
from photostyle.feedforward.embeddings import Embeddings, map_of
from photostyle.feedforward.encoder import StyleEncoder, style_network
from photostyle.feedforward.settings import ModelSettings
from photostyle.feedforward.style_classes import KEY, Classes, ClassSettings, load_encoder
from photostyle.feedforward.style_space import ENCODER, MAP, RECORD, SPACE, nearest_styles, style_space
from photostyle.files.tensors import tensors_of, write_tensors
from photostyle.training.pictures import find_pictures

SMALL = ClassSettings(
    style_network="small", dimension=8, size=64, batch=4, epochs=4, learning_rate=1e-3, head_rate=1e-2
)


@pytest.fixture(scope="module")
def movements(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes across, stripes down: six of each, one a folder deeper, in colours that say nothing of it."""
    folder = tmp_path_factory.mktemp("movements")
    random = np.random.default_rng(0)
    for number in range(6):
        stripes = (np.indices((72, 72))[0] // 4 % 2)[..., None] * random.uniform(100, 255, 3)
        for name, each in (("across", stripes), ("down", stripes.swapaxes(0, 1))):
            place = folder / name / ("deeper" if number == 0 else "")
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(each.astype(np.uint8)).save(place / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def tuned(movements: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("tuned")
    style_space(movements, output, SMALL)
    return output


def test_a_pictures_class_is_the_first_folder_on_its_way(movements: Path) -> None:
    classes = Classes.of(find_pictures(movements))
    assert classes.names == ("across", "down")
    assert classes.labels == (0,) * 6 + (1,) * 6


def test_of_each_class_a_share_is_held_out_but_never_all() -> None:
    classes = Classes(("a", "b"), (0,) * 10 + (1,))
    learnt, held = classes.split(0.2, seed=1)
    assert sorted(learnt + held) == list(range(11))
    assert len(held) == 2 and 10 in learnt


def test_pictures_in_no_folder_are_refused(movements: Path) -> None:
    with pytest.raises(PhotostyleError, match="a folder for each style"):
        Classes.of(find_pictures(movements / "across"))


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\3\4 cut", pickle.dumps([1])])
def test_embeddings_that_are_none_are_one_line_and_no_pickle_is_read(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / SPACE
    path.write_bytes(damage)
    with pytest.raises(PhotostyleError, match="holds no embeddings") as caught:
        Embeddings.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_it_tells_the_movements_apart_and_lays_them_out(tuned: Path) -> None:
    space = Embeddings.load(tuned / SPACE)
    assert space.z.shape == (12, 8)
    # z has one length for all styles: alpha.
    lengths = space.z.norm(dim=1)
    torch.testing.assert_close(lengths, lengths[0].expand(12), rtol=1e-4, atol=0)
    with Image.open(tuned / MAP) as picture:
        assert picture.width > 500


@pytest.mark.slow
def test_what_was_tuned_is_not_tuned_again(movements: Path, tuned: Path) -> None:
    before, lines = (tuned / RECORD).read_bytes(), list[str]()
    style_space(movements, tuned, SMALL, say=lines.append)
    assert "nothing to do again" in lines[-1]
    assert (tuned / RECORD).read_bytes() == before
    encoder = (tuned / ENCODER).read_bytes()
    (tuned / ENCODER).unlink()
    style_space(movements, tuned, SMALL)
    assert (tuned / ENCODER).read_bytes() == encoder, "what is gone is made again"


def test_a_known_picture_is_nearest_to_itself(movements: Path, tuned: Path) -> None:
    found = nearest_styles(movements / "down" / "3.png", tuned, SMALL, count=3)
    assert found[0][:2] == ("down/3.png", "down")
    assert found[0][2] == pytest.approx(1.0, abs=1e-4)
    assert [each[1] for each in found] == ["down"] * 3


def test_a_model_begins_with_the_tuned_encoder(tuned: Path) -> None:
    encoder = StyleEncoder(style_network("small"), 8)
    load_encoder(tuned / ENCODER, encoder, ModelSettings(style_network="small", dimension=8))
    again = StyleEncoder(style_network("small"), 8)
    load_encoder(tuned / ENCODER, again, SMALL)
    assert all(torch.equal(each, again.state_dict()[name]) for name, each in encoder.state_dict().items())


@pytest.mark.parametrize(
    "wanted", [ModelSettings(dimension=8), ModelSettings(style_network="small", dimension=9)]
)
def test_an_encoder_of_another_shape_is_refused(tuned: Path, wanted: ModelSettings) -> None:
    with pytest.raises(PhotostyleError, match="tuned with"):
        load_encoder(tuned / ENCODER, StyleEncoder(style_network("small"), 8), wanted)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ("{", "is no JSON file"),
        ("[" * 100_000, "nested too deeply"),
        ("3", "says of itself what no such file says"),
        (f'{{"dimension": "{"9" * 5000}", "style_network": "small"}}', "has dimension '999"),
    ],
)
def test_a_file_that_is_no_encoder_is_one_line(about: str, message: str, tmp_path: Path) -> None:
    encoder = StyleEncoder(style_network("small"), 8)
    write_tensors(tmp_path / ENCODER, tensors_of(encoder), {KEY: about})
    with pytest.raises(PhotostyleError, match=message) as error:
        load_encoder(tmp_path / ENCODER, encoder, SMALL)
    assert str(tmp_path) in str(error.value) and len(str(error.value)) < 500


def test_a_map_puts_what_is_alike_together() -> None:
    random = torch.Generator().manual_seed(0)
    centres = torch.eye(3).repeat_interleave(8, 0)
    places = map_of(centres + 0.05 * torch.randn(24, 3, generator=random))
    groups = places.reshape(3, 8, 2)
    within = np.linalg.norm(groups - groups.mean(1, keepdims=True), axis=-1).max()
    between = min(np.linalg.norm(groups[a].mean(0) - groups[b].mean(0)) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert between > 2 * within


def test_three_pictures_make_no_map() -> None:
    with pytest.raises(PhotostyleError, match="at least 4"):
        map_of(torch.rand(3, 2))
