"""Presets: named settings over the configuration's defaults."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from vgg import narrow_vgg

from photostyle.config import ITERATIONS, Config
from photostyle.errors import PhotostyleError
from photostyle.losses import weights as weight_files
from photostyle.presets import PRESETS, configure, recipe, resolve_preset
from photostyle.validate import check

PHOTOS = {"content": "photo.jpg", "style": "sunset.jpg"}


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No network and an empty torch hub cache; the list holds the addresses that were asked for."""
    asked: list[str] = []
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(weight_files, "reachable", lambda url: bool(asked.append(url)))
    return asked


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """VGG-19 weights, one channel wide, where torch hub would put them."""
    path = tmp_path / "hub" / "checkpoints" / weight_files.URLS["vgg19"].rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(narrow_vgg(width=1), path)
    return path


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_the_defaults_and_what_it_changes(name: str) -> None:
    config = configure(name, **PHOTOS)
    defaults = Config(Path("photo.jpg"), (Path("sunset.jpg"),))
    written_out = {"iterations": ITERATIONS["mm"]} | PRESETS[name]
    assert asdict(config) == asdict(defaults) | written_out | {"preset": name}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_passes_the_checks_of_its_settings(name: str) -> None:
    check(configure(name, **PHOTOS))


def test_what_is_given_comes_before_the_preset() -> None:
    config = configure("released", **PHOTOS, size=128, iterations=(7,))
    assert (config.size, config.iterations) == (128, (7,))
    assert config.gram_weight == PRESETS["released"]["gram_weight"]


def test_patches_are_the_configurations_own_defaults() -> None:
    assert PRESETS["patches"] == {}


def test_the_released_preset_has_the_numbers_of_the_released_code() -> None:
    """neuralstyle_seg.lua and deepmatting_seg.lua; feature weights times the change of input scale.

    Caffe's inputs are 255 times the mean deviation of ImageNet (0.226) of ours, so 57 times as large; a squared
    feature distance grows with the square of the input (released: 5), a squared Gram distance with the fourth power
    (released: 100). The preset's numbers are rounded to their first digits: 10 %.
    """
    config = configure("released", **PHOTOS)
    scale = 255 * (0.229 + 0.224 + 0.225) / 3
    assert config.content_weight == pytest.approx(5 * scale**2, rel=0.1)
    assert config.gram_weight == pytest.approx(100 * scale**4, rel=0.1)
    assert config.variation_weight == pytest.approx(1e-3 * 256**2, rel=0.001)
    assert (config.photorealism_weight, config.photorealism_coarse, config.energies) == (1e4, (), "sum")
    assert (config.first_pass, config.iterations, config.optimiser, config.start) == (
        1000,
        (1000,),
        "lbfgs",
        "noise",
    )
    assert (config.size, config.smooth_radius, config.smooth_edge, config.seed) == (700, 15, 0.01, 612)
    assert (config.patch_weight, config.texture_weight, config.structure_weight) == (0, 0, 0)


def test_auto_is_patches_where_there_are_no_weights(offline: list[str]) -> None:
    assert configure(**PHOTOS).preset == "patches"
    assert offline == [weight_files.URLS["vgg19"]]


def test_auto_asks_no_server_where_downloads_are_off(offline: list[str]) -> None:
    assert configure(**PHOTOS, download=False).preset == "patches"
    assert not offline


def test_auto_is_photoreal_with_weights_in_the_cache(cached: Path, offline: list[str]) -> None:
    config = configure(**PHOTOS)
    assert config.preset == "photoreal" and config.gram_weight == PRESETS["photoreal"]["gram_weight"]
    assert not offline


def test_the_cache_of_one_network_is_not_the_cache_of_another(cached: Path) -> None:
    assert configure(**PHOTOS, encoder="vgg16").preset == "patches"


def test_auto_is_photoreal_with_a_weights_file(cached: Path, tmp_path: Path) -> None:
    file = cached.rename(tmp_path / "mine.pth")
    config = configure(**PHOTOS, weights=str(file))
    assert (config.preset, config.weights) == ("photoreal", file)


def test_auto_is_photoreal_where_weights_can_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_files, "reachable", lambda url: True)
    assert configure(**PHOTOS).preset == "photoreal"


def test_auto_with_a_weights_file_that_is_missing_is_an_error() -> None:
    with pytest.raises(PhotostyleError, match=r"nowhere\.pth does not exist"):
        configure(**PHOTOS, weights="nowhere.pth")


def test_a_named_preset_asks_for_no_weights(offline: list[str]) -> None:
    assert [resolve_preset(name, None, "vgg19", True) for name in PRESETS] == list(PRESETS)
    assert not offline


def test_paths_may_be_strings() -> None:
    config = configure("patches", **PHOTOS, output="a.png", start="file", start_file="b.png")
    assert (config.content, config.style) == (Path("photo.jpg"), (Path("sunset.jpg"),))
    assert (config.output, config.start_file) == (Path("a.png"), Path("b.png"))


@pytest.mark.parametrize("style", [["a.jpg", "b.jpg"], (Path("a.jpg"), "b.jpg")])
def test_style_may_be_several_references(style: list[str] | tuple[Path | str, ...]) -> None:
    config = configure("patches", content="photo.jpg", style=style, style_weights=(0.7, 0.3))
    assert config.style == (Path("a.jpg"), Path("b.jpg")) and config.style_weights == (0.7, 0.3)


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(PhotostyleError, match='no preset "finest"; there are: auto, patches, best, instant'):
        configure("finest", **PHOTOS)


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(PhotostyleError, match=r"no setting named color, sizes; see photostyle\.Config"):
        configure("patches", **PHOTOS, sizes=3, color=1)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"size": "64"}, "size = '64'; expected a whole number"),
        ({"iterations": 3}, "iterations = 3; expected a list, each entry a whole number"),
        ({"start": "middle"}, "start = 'middle'; expected one of colour, content, noise, file"),
        ({"weights": 3}, "weights = 3; expected a path"),
        ({"output": [1]}, r"output = \[1\]; expected a path"),
        ({"masks": None}, "masks is a NoneType; give a word or a list"),
        ({"masks": torch.zeros(40, 50)}, "masks is a Tensor; give a word or a list"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_is_expected(setting: dict, said: str) -> None:
    with pytest.raises(PhotostyleError, match=said):
        configure("patches", **PHOTOS, **setting)


def test_lists_and_whole_numbers_will_do_for_tuples_and_numbers() -> None:
    config = configure("patches", **PHOTOS, iterations=[3, 2], strength=1)
    assert config.iterations == (3, 2) and isinstance(config.strength, float)
    assert recipe(iterations=[3]).iterations == (3,)


def test_the_photos_have_no_default() -> None:
    with pytest.raises(PhotostyleError, match="needs content and style"):
        configure("patches")
