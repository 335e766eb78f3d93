"""A trial is the pipeline itself at low resolution; the space holds the preset; a study's name is what it is of."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from skimage import data
from skimage.transform import resize
from vgg import narrow_vgg

from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.evaluation.comparison import Comparison
from photostyle.evaluation.doubt import doubt
from photostyle.evaluation.scores import STYLE_LAYERS, drift, score
from photostyle.evaluation.signs import find_signs
from photostyle.files.images import as_kept, write_image
from photostyle.losses import weights as weight_files
from photostyle.losses.encoders import Encoder
from photostyle.pipeline import transfer
from photostyle.presets import PRESETS, configure
from photostyle.search.space import SPACE, Dimension, default_values, settings_of, space_of
from photostyle.search.trials import Trial, placed, prepare, scored_in, solve_with
from photostyle.settings import KINDS

# One stage of a tenth of a second.
SMALL: dict[str, Any] = {
    "size": 64,
    "iterations": (2,),
    "patch_draws": 4,
    "boldness": 1.0,
    "device": "cpu",
    "download": False,
}


def write_photo(path: Path, image: Any, height: int, width: int) -> None:
    small = torch.from_numpy(resize(image, (height, width), anti_aliasing=True))
    write_image(path, small.permute(2, 0, 1).float())


def write_mask(path: Path, height: int, width: int, column: int) -> None:
    mask = torch.zeros(3, height, width)
    mask[2, :, :column], mask[0, :, column:] = 1, 1
    write_image(path, mask)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small photographs, larger ones, masks, a narrow network."""
    folder = tmp_path_factory.mktemp("pair")
    write_photo(folder / "photo.png", data.coffee(), 48, 64)
    write_photo(folder / "style.png", data.rocket(), 48, 60)
    write_photo(folder / "large.png", data.coffee(), 90, 120)
    write_photo(folder / "large-style.png", data.rocket(), 80, 100)
    write_mask(folder / "mask.png", 48, 64, 40)
    write_mask(folder / "style-mask.png", 48, 60, 24)
    write_mask(folder / "other-mask.png", 48, 64, 30)
    torch.save(narrow_vgg(), folder / "vgg.pth")
    return folder


@pytest.fixture
def config(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """A configuration of the pair; no weights in any cache and no network."""
    monkeypatch.chdir(prepared)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(weight_files, "reachable", lambda url: False)

    def of(preset: str = "patches", **settings: Any) -> Config:
        given = {"content": "photo.png", "style": "style.png", "masks": ("mask.png", "style-mask.png")}
        return configure(preset, **{**given, **SMALL, **settings})

    return of


# A trial


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"coarsest": 32, "iterations": (2, 1)}, marks=pytest.mark.slow),
        {"preset": "photoreal", "weights": "vgg.pth", "pooling": "average"},
        {"region_strength": ("0000ff=0.5",), "smooth_radius": 2, "preserve_luminance": True},
        pytest.param({"protect": ("0000ff",)}, marks=pytest.mark.slow),
        {"masks": ("none",), "start": "noise"},
    ],
    ids=["patches", "two stages", "photoreal", "rendered", "protected", "no masks"],
)
def test_a_trial_makes_the_picture_that_transfer_makes(settings: dict, config: Callable[..., Config]) -> None:
    """The photo is as small as the search, so that both have the same pixels to write."""
    asked = config(**settings)
    changed = {"structure_weight": 0.5, "texture_weight": 0.5, "photorealism_coarse": (1.0, 0.5)}
    outcome = solve_with(prepare(asked), changed)
    assert torch.equal(outcome.picture, transfer(replace(asked, **changed)).image)
    assert not torch.equal(outcome.picture, transfer(asked).image)


@pytest.mark.slow
def test_of_larger_photographs_a_trial_is_the_run_at_that_size(config: Callable[..., Config]) -> None:
    asked = config(content="large.png", style="large-style.png", masks=("none",), coarsest=32)
    steps: list[torch.Tensor] = []
    transfer(asked, watch=lambda step: steps.append(step.image))
    assert steps[-1].shape == (3, 48, 64)
    assert torch.equal(solve_with(prepare(asked), {}).picture, as_kept(steps[-1]))


def test_a_trial_reads_no_file(config: Callable[..., Config], tmp_path: Path, prepared: Path) -> None:
    files = ("photo.png", "style.png", "mask.png", "style-mask.png", "vgg.pth")
    for name in files:
        (tmp_path / name).write_bytes((prepared / name).read_bytes())
    here = {
        "content": tmp_path / "photo.png",
        "style": tmp_path / "style.png",
        "masks": (str(tmp_path / "mask.png"), str(tmp_path / "style-mask.png")),
        "weights": tmp_path / "vgg.pth",
    }
    problem = prepare(config("photoreal", **here))
    for name in files:
        (tmp_path / name).unlink()
    first, second = solve_with(problem, {}), solve_with(problem, {})
    assert torch.equal(first.picture, second.picture)
    assert (first.style, first.edge) == (second.style, second.edge)


def test_a_problem_goes_to_another_device_with_all_it_holds(config: Callable[..., Config]) -> None:
    there = placed(prepare(config("photoreal", weights="vgg.pth", boldness=0.5)), "meta")
    scene, (reference,) = there.scene, there.scene.references
    held = [scene.content, scene.content_masks, reference.image, reference.masks, scene.anchor.image]
    assert {each.device.type for each in held} == {"meta"}
    assert there.encoder is not None and there.scorer is not None
    assert {each.device.type for each in (*there.encoder.buffers(), *there.scorer.parameters())} <= {"meta"}


@pytest.mark.parametrize(
    ("preset", "weights"), [("patches", None), ("patches", "vgg.pth"), ("photoreal", "vgg.pth")]
)
def test_its_scores_are_those_of_metrics_at_that_size(
    preset: str, weights: str | None, config: Callable[..., Config]
) -> None:
    problem = prepare(config(preset, weights=weights))
    outcome, scene = solve_with(problem, {}), problem.scene
    encoder = None if weights is None else Encoder(narrow_vgg(), "vgg19", layers=STYLE_LAYERS)
    regions = (scene.content_masks, scene.style_masks)
    expected = score(Comparison(outcome.picture, scene.content, scene.style, *regions), encoder)
    assert (outcome.style, outcome.edge) == (expected.style, expected.edge)
    # 16 px at 256 px are 4 px at 64.
    assert outcome.drift16 == drift(Comparison(outcome.picture, scene.content, scene.style, *regions), 4)
    assert outcome.doubt == doubt(
        find_signs(Comparison(outcome.picture, scene.content, scene.style, *regions))
    )
    assert problem.style_features == expected.style_features


def test_it_is_said_how_near_the_score_is_to_what_is_optimised(config: Callable[..., Config]) -> None:
    assert "relatives of the 5x5" in scored_in(prepare(config()))
    assert "no term optimises" in scored_in(prepare(config(weights="vgg.pth")))
    assert "the Gram term optimises too" in scored_in(prepare(config("photoreal", weights="vgg.pth")))


def test_cached_weights_score_without_a_download(
    config: Callable[..., Config], prepared: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "hub" / "checkpoints" / weight_files.URLS["vgg19"].rpartition("/")[2]
    cache.parent.mkdir(parents=True)
    cache.write_bytes((prepared / "vgg.pth").read_bytes())
    problem = prepare(config())
    assert problem.style_features == "Gram relu1_1-relu5_1" and problem.encoder is None


def test_a_setting_out_of_range_is_refused(config: Callable[..., Config]) -> None:
    with pytest.raises(PhotostyleError, match="--averaging is 2"):
        solve_with(prepare(config()), {"averaging": 2.0})


def test_without_evaluations_there_is_nothing_to_search(config: Callable[..., Config]) -> None:
    with pytest.raises(PhotostyleError, match="nothing to search; give 1 or more"):
        prepare(config(iterations=(0,)))


# What a study is of

ASIDE = {
    "threads": 1,
    "output": "elsewhere.png",
    "plot": True,
    "quiet": True,
    "save_every": 3,
    "metrics": False,
}
OTHERWISE = {
    "content": "large.png",
    "style": "large-style.png",
    "masks": ("other-mask.png", "style-mask.png"),
    "weights": "vgg.pth",
    "seed": 1,
    "size": 48,
    "iterations": (3,),
    "patch_size": 4,
}


def test_the_same_search_has_the_same_name_whatever_does_not_change_it(config: Callable[..., Config]) -> None:
    assert prepare(config()).name == prepare(config(**ASIDE)).name


@pytest.mark.parametrize("name", OTHERWISE)
def test_another_search_has_another_name(name: str, config: Callable[..., Config]) -> None:
    changed = {name: OTHERWISE[name]}
    if name in ("content", "style"):
        changed["masks"] = ("none",)
        assert prepare(config(masks=("none",))).name != prepare(config(**changed)).name
    assert prepare(config()).name != prepare(config(**changed)).name


def test_another_space_is_another_search(config: Callable[..., Config]) -> None:
    problem = prepare(config(), space=SPACE[:2])
    assert [dimension.field for dimension in problem.space] == ["structure_weight", "photorealism_weight"]
    assert problem.name != prepare(config()).name


# The space


@pytest.mark.parametrize("preset", ["patches", "photoreal"])
def test_the_preset_is_a_point_of_the_space_and_changes_nothing(preset: str) -> None:
    config = configure(preset, content="c", style="s", **PRESETS["search"])
    space = space_of(config)
    settings = settings_of(default_values(config, space), config)
    assert settings == {dimension.field: getattr(config, dimension.field) for dimension in space}


def test_only_terms_that_the_preset_has_are_varied() -> None:
    of = {
        name: [each.field for each in space_of(configure(name, content="c", style="s"))]
        for name in ("patches", "photoreal")
    }
    assert of["patches"] == [
        each.field for each in SPACE if each.field not in ("gram_weight", "content_weight")
    ]
    assert of["photoreal"] == [each.field for each in SPACE]
    config = configure("patches", content="c", style="s", photorealism_coarse=(0.0, 0.0))
    assert "photorealism_coarse" not in [each.field for each in space_of(config)]


def test_a_start_outside_the_space_is_refused() -> None:
    with pytest.raises(
        PhotostyleError, match=r"structure_weight is 5\.0, but a search looks from 0\.002 to 2"
    ):
        space_of(configure("patches", content="c", style="s", structure_weight=5.0))


@pytest.mark.parametrize("dimension", SPACE, ids=lambda each: each.field)
def test_a_dimension_is_a_range_of_numbers_that_carries_to_other_sizes(dimension: Dimension) -> None:
    assert 0 < dimension.low < dimension.high or (dimension.low == 0 and not dimension.log)
    assert KINDS[dimension.field] in (int, float, tuple[float, ...])
    # The unit of all weights; what belongs to the size; what could move the optimised onto the scored.
    unfit = {
        "patch_weight",
        "size",
        "coarsest",
        "iterations",
        "patch_levels",
        "structure_window",
        "patch_size",
    }
    assert dimension.field not in unfit


def test_a_value_is_what_the_file_will_show() -> None:
    config = configure("patches", content="c", style="s", photorealism_coarse=(0.25, 0.1))
    point = {"structure_weight": 0.012345678, "photorealism_coarse": 1.23456, "feather": 3.0}
    assert settings_of(point, config) == {
        "structure_weight": 0.01235,
        "photorealism_coarse": (0.3086, 0.1235),
        "feather": 3,
    }
    assert type(settings_of(point, config)["feather"]) is int


def test_the_distance_is_to_all_of_the_style_and_every_edge() -> None:
    trial = Trial(0, "complete", {}, {}, 1.0, style=0.3, edge=0.6)
    assert trial.distance == pytest.approx(0.5)
    assert Trial(0, "complete", {}, {}, 1.0, style=0.0, edge=1.0).distance == 0
