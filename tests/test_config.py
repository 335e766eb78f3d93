"""The configuration: every field is explained and does something."""

import ast
import inspect
import json
import os
import re
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from skimage import data
from skimage.transform import resize
from vgg import narrow_vgg

from photostyle import pipeline, resuming
from photostyle.cli import main
from photostyle.cli.console import BAD_INPUT
from photostyle.cli.run import execute
from photostyle.config import MASK_WORDS, TERMS, Config, Inputs, Recipe, RunOptions
from photostyle.errors import PhotostyleError
from photostyle.files.images import write_image
from photostyle.losses import weights as weight_files
from photostyle.memory import Work, estimate

# What the run of a field's test starts from: one small stage, few filters, no scores.
PLAIN: dict[str, Any] = {
    "output": "out.png",
    "size": 48,
    "coarsest": 48,
    "iterations": (2,),
    "boldness": 1.0,
    "patch_draws": 4,
    "metrics": False,
    "first_picture": False,
    "device": "cpu",
    "threads": 1,
}
GRAM = {"gram_weight": 1.0, "content_weight": 1.0}
RELEASED_UNITS = {"feature_scale": "released"}
ADAM = {"optimiser": "adam", "iterations": (3,)}
REGIONS = {"masks": ("content-mask.png", "style-mask.png")}

# field: (what has to be set for it to matter, its value, another value, where the difference shows)
CASES: dict[str, tuple[dict[str, Any], Any, Any, str]] = {
    "content": ({}, "content.png", "style.png", "picture"),
    "style": ({}, ("style.png",), ("style.png", "other.png"), "picture"),
    "style_weights": ({"style": ("style.png", "other.png")}, (), (0.9, 0.1), "picture"),
    "masks": ({}, ("none",), ("content-mask.png", "style-mask.png"), "picture"),
    "segmenter": ({"masks": ("auto",)}, "auto", "deeplab", "refusal"),  # no cache: auto clusters instead
    "segmenter_revision": ({"masks": ("auto",)}, None, "0123abcd", "refusal"),
    "refine_masks": ({"masks": ("cluster",)}, True, False, "picture"),
    "output": ({}, "out.png", "elsewhere.png", "files"),
    "preset": ({}, "patches", "search", "console"),
    "size": ({"coarsest": 32}, 64, 48, "picture"),
    "strength": ({}, 1.0, 0.5, "picture"),
    "boldness": ({}, 1.0, 0.5, "picture"),
    "consistency_weight": ({"boldness": 0.5}, 40.0, 0.0, "picture"),
    "consistency_bold": ({}, 0.006, 1.0, "picture"),
    "consistency_luma": ({"boldness": 0.5}, 0.3, 1.0, "picture"),
    "region_strength": (REGIONS, (), ("0000ff=0.5",), "picture"),
    "protect": (REGIONS, ("skin",), ("0000ff",), "picture"),
    "second_look": (
        {"content": "other.png", "style": ("green.png",), "boldness": None},
        True,
        False,
        "picture",
    ),
    "preserve_luminance": ({}, False, True, "picture"),
    "weights": (GRAM, "narrow.pth", "wide.pth", "picture"),
    "encoder": (GRAM, "vgg19", "vgg16", "picture"),
    "pooling": (GRAM, "max", "average", "picture"),
    "precision": (GRAM, "float32", "bfloat16", "picture"),
    "download": (GRAM | {"encoder": "vgg16"}, True, False, "network"),
    "content_weight": ({"weights": "narrow.pth"}, 0.0, 1.0, "picture"),
    "content_layers": (GRAM, ("relu4_2",), ("relu4_2", "relu1_2"), "picture"),
    "gram_weight": ({"weights": "narrow.pth"}, 0.0, 1.0, "picture"),
    "style_layers": (GRAM, ("relu1_1", "relu2_1"), ("relu1_1",), "picture"),
    "style_layer_weights": (GRAM, (), (1.0, 1.0, 1.0, 1.0, 9.0), "picture"),
    "gram_over": (GRAM | RELEASED_UNITS, "region", "positions", "picture"),
    "network_input": (GRAM | RELEASED_UNITS, "imagenet", "caffe", "picture"),
    "soft_regions": (GRAM | REGIONS, True, False, "picture"),
    "feature_scale": (GRAM, "relative", "released", "picture"),
    "patch_weight": ({}, 1.0, 0.0, "picture"),
    "patch_size": ({}, 5, 3, "picture"),
    "patch_levels": ({}, 5, 1, "picture"),
    "patch_bank": ({}, 96, 48, "picture"),
    "patch_draws": ({}, 24, 12, "picture"),
    "texture_weight": ({}, 2.0, 0.0, "picture"),
    "structure_weight": ({}, 0.04, 0.5, "picture"),
    "structure_window": ({}, 7, 5, "picture"),
    "variation_of": ({"variation_weight": 10.0}, "channels", "sum", "picture"),
    "variation_weight": ({}, 0.0, 10.0, "picture"),
    "photorealism_weight": ({}, 0.25, 25.0, "picture"),
    "photorealism_coarse": ({}, (0.25,), (0.25, 2.5), "picture"),
    "photorealism_laplacian": ({"photorealism_epsilon": 1e-12}, "exact", "naive", "picture"),
    "photorealism_of": (
        {"style": ("content.png",), "photorealism_weight": 44.0},
        "change",
        "picture",
        "picture",
    ),
    "photorealism_luma": ({"photorealism_coarse": (25.0,)}, 0.1, 1.0, "picture"),
    "photorealism_epsilon": ({}, 1e-7, 1e-3, "picture"),
    "energies": ({}, "mean", "sum", "picture"),
    "start": ({}, "colour", "content", "picture"),
    "start_file": ({"start": "file"}, "content.png", "other.png", "picture"),
    "feather": (REGIONS, 8, 0, "picture"),
    "coarsest": ({}, 64, 32, "picture"),
    "iterations": ({}, (2,), (3,), "picture"),
    "first_pass": ({}, 0, 1, "picture"),
    "optimiser": ({}, "adam", "lbfgs", "picture"),
    "learning_rate": ({"optimiser": "adam"}, 0.03, 0.01, "picture"),
    "rate_decay": (ADAM, True, False, "picture"),
    "moments": (ADAM, (0.9, 0.99), (0.5, 0.99), "picture"),
    "adam_epsilon": (ADAM, 1e-8, 1e-2, "picture"),
    "weight_decay": (ADAM, 0.0, 1e-2, "picture"),
    "keep": ({}, "last", "lowest", "picture"),
    "squeeze": ({}, (), (32, 48), "picture"),
    "enlarging": ({"size": 48}, "maps", "pixels", "picture"),
    "history": ({"optimiser": "lbfgs", "iterations": (12,)}, 10, 1, "picture"),
    "averaging": ({}, 0.0, 0.9, "picture"),
    "smooth_radius": ({}, 0, 2, "picture"),
    "smooth_edge": ({"smooth_radius": 2}, 0.01, 0.3, "picture"),
    "seed": ({}, 612, 613, "picture"),
    "device": ({}, "cpu", "cuda", "refusal"),
    "deterministic": ({}, False, True, "torch"),
    "threads": ({}, 1, 2, "record"),
    "checkpoints": ({"iterations": (5,)}, True, False, "files"),
    "resume": ({"quiet": False}, False, True, "console"),
    "fit": (
        {"size": 64, "coarsest": 40},
        False,
        True,
        "refusal",
    ),  # of no other case, whose run would stand in
    "save_every": ({}, 0, 1, "files"),
    "animate": ({}, None, "moving.gif", "files"),
    "show": ({"quiet": False}, False, True, "console"),
    "first_picture": ({"quiet": False}, True, False, "console"),
    "keep_solved": ({}, True, False, "files"),
    "region_sheet": (REGIONS, True, False, "files"),
    "plot": ({}, False, True, "files"),
    "metrics": ({}, False, True, "record"),
    "quiet": ({}, False, True, "console"),
}
# A weight that is not told above: with it and without it.
for _term in TERMS:
    for _name in _term.weights:
        _context = {"weights": "narrow.pth"} if _term.compares_features else {}
        CASES.setdefault(_name, (_context, 0.0, 1.0, "picture"))
WRITTEN = ("output", "animate")
_WORK = Work((48, 64), ((48, 64),), 1)
ENOUGH_FOR_48 = estimate(Recipe(), _WORK, 48)
PATHS = ("content", "output", "weights", "start_file", "animate")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small real photographs, their masks, and VGG weights as narrow as they come."""
    folder = tmp_path_factory.mktemp("inputs")
    for name, image in (("content", data.coffee()), ("style", data.rocket()), ("other", data.chelsea())):
        small = torch.from_numpy(resize(image, (48, 64), anti_aliasing=True)).permute(2, 0, 1).float()
        write_image(folder / f"{name}.png", small)
    green = small.mean(0) * torch.tensor([0.2, 1.0, 0.2])[:, None, None]  # the last: its fur turns green
    write_image(folder / "green.png", green)
    for name, column in (("content", 40), ("style", 24)):
        mask = torch.zeros(3, 48, 64)
        mask[2, :, :column], mask[0, :, column:] = 1, 1
        write_image(folder / f"{name}-mask.png", mask)
    torch.save(narrow_vgg("vgg19", 4), folder / "narrow.pth")
    torch.save(narrow_vgg("vgg19", 6), folder / "wide.pth")
    cache = folder / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    for architecture, url in weight_files.URLS.items():
        torch.save(narrow_vgg(architecture, 4), cache / url.rpartition("/")[2])
    return folder


@pytest.fixture(scope="module")
def baselines() -> dict[tuple[Config, str], dict]:
    """What was seen of a configuration with weights in such a folder."""
    return {}


@pytest.fixture
def run(
    inputs: Path,
    baselines: dict[tuple[Config, str], dict],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    one_start: None,
    capsys: Any,
) -> Callable[..., dict]:
    """Run a configuration in a folder of its own; returns everything of it that can be seen.

    As "one" it is run once for all tests: most begin with the same.
    """
    asked, set_up = list[str](), list[Any]()
    monkeypatch.setenv("TORCH_HOME", str(inputs))
    monkeypatch.setattr(weight_files, "reachable", lambda url: bool(asked.append(url)))
    monkeypatch.setattr(torch, "use_deterministic_algorithms", set_up.append)

    def observe(name: str, settings: dict[str, Any]) -> dict[str, Any]:
        folder = tmp_path / name
        folder.mkdir()
        values = {"content": "content.png", "style": ("style.png",)} | PLAIN | settings
        values["style"] = tuple(inputs / each for each in values["style"])
        for key in PATHS:
            if values.get(key) is not None:
                values[key] = (folder if key in WRITTEN else inputs) / values[key]
        if (masks := values.get("masks", ("none",)))[0] not in MASK_WORDS:
            values["masks"] = tuple(str(inputs / mask) for mask in masks)
        config = Config(**values)
        known = replace(config, output=config.output.relative_to(tmp_path)), os.environ["TORCH_HOME"]
        if name == "one" and known in baselines:
            return baselines[known]
        asked.clear()
        set_up.clear()
        refusal = None
        try:
            assert execute(config) == 0
        except PhotostyleError as error:
            refusal = str(error)
        said = capsys.readouterr()
        records = [json.loads(path.read_text()) for path in folder.glob("*.json")]
        seen = {
            "picture": [path.read_bytes() for path in folder.glob("out.png")],
            "record": [(each["environment"], each["metrics"]) for each in records],
            "files": sorted(path.name for path in folder.iterdir()),
            "console": (bool(said.out), said.err.count("note:"), "first picture" in said.err),
            "network": list(asked),
            "refusal": refusal,
            "torch": list(set_up),
        }
        if name == "one":
            baselines[known] = seen
        return seen

    return observe


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(field.name, marks=pytest.mark.slow) if field.name == "refine_masks" else field.name
        for field in fields(Config)
    ],
)
def test_every_field_changes_what_comes_out(
    name: str, run: Callable[..., dict], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A field without an entry above fails here: add one that shows what it does."""
    context, value, other, where = CASES[name]
    if name in ("download", "preset", "segmenter"):  # what they change shows where there are no weights
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    if name == "checkpoints":  # as a run leaves them that does not end
        monkeypatch.setattr(resuming, "INTERVAL", 0.0)
        monkeypatch.setattr(resuming.Checkpoints, "remove", lambda self: None)
    if name == "fit":  # memory that suffices for less than the size asked for
        monkeypatch.setattr(pipeline, "free_memory", lambda device: ENOUGH_FOR_48)
    if where == "refusal" and torch.cuda.is_available():
        where = "record"
    one, two = run("one", context | {name: value}), run("two", context | {name: other})
    assert one[where] != two[where]


def test_the_same_configuration_twice_gives_the_same_everything(run: Callable[..., dict]) -> None:
    """Without this the test above could be passed by noise."""
    assert run("one", GRAM | REGIONS) == run("two", GRAM | REGIONS)


def explanations() -> dict[str, str]:
    """The string below each field, wherever in the parts of the configuration and in the terms it stands."""
    texts = {}
    for part in Config.__mro__[:-1]:
        (definition,) = ast.parse(inspect.getsource(part)).body
        for field, text in pairwise(definition.body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                texts[field.target.id] = ast.literal_eval(text.value)
    return texts


def test_every_field_is_documented() -> None:
    texts = explanations()
    assert texts.keys() == {field.name for field in fields(Config)}
    assert all(len(text) > 10 for text in texts.values())


def test_help_shows_every_field_with_its_explanation(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # so that explanations are not broken over lines
    assert main(["run", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, explanation in explanations().items():
        assert re.search(f"--{name.replace('_', '-')}[, ]", text), name
        assert " ".join(explanation.split())[:50] in text, name


def test_the_three_parts_have_each_field_once() -> None:
    parts = [{field.name for field in fields(part)} for part in (Inputs, Recipe, RunOptions)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(fields(Config))


def test_the_recipe_is_what_decides_the_pixels_and_nothing_else() -> None:
    """By the cases above: what shows in the picture is of the recipe, or is read; the preset's name apart."""
    pixels = {name for name, case in CASES.items() if case[3] == "picture"}
    read = {field.name for field in fields(Inputs)} | {
        "refine_masks"
    }  # which decides the masks that are read
    assert pixels - read == {field.name for field in fields(Recipe)} - {"preset"}


def test_a_term_s_settings_are_among_the_recipe_s() -> None:
    for term in TERMS:
        assert set(term.weights) <= {field.name for field in fields(Recipe)}, term.name
    assert len({term.name for term in TERMS}) == len(TERMS)


def test_it_cannot_be_changed_after_it_was_made() -> None:
    with pytest.raises(AttributeError, match="size"):
        Config(Path("a.png"), (Path("b.png"),)).size = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("option", "value", "bound"),
    [
        ("size", "8", "at least 32"),
        ("size", "-5", "at least 32"),
        ("coarsest", "1", "at least 32"),
        ("patch-size", "1", "at least 2"),
        ("patch-levels", "0", "at least 1"),
        ("structure-window", "2", "at least 3"),
        ("threads", "-1", "at least 0"),
        ("strength", "1.5", "between 0 and 1"),
        ("strength", "nan", "between 0 and 1"),
        ("patch-bank", "1000000000", "between 1 and 4096"),
        ("seed", "-1", "between 0 and 4294967295"),
        ("learning-rate", "0", "between 1e-06 and 1"),
        ("photorealism-epsilon", "inf", "between 1e-12 and 1"),
        ("smooth-edge", "1e-30", "between 1e-05 and 1"),
        ("patch-weight", "nan", "not negative"),
        ("photorealism-coarse", "-1", "not negative"),
        ("averaging", "1", "0.99 or less"),
        ("patch-draws", "97", "draw fewer"),
        ("iterations", "-1", "0 or more"),
    ],
)
def test_a_number_out_of_range_is_refused_with_the_range(
    option: str, value: str, bound: str, inputs: Path, tmp_path: Path, capsys: Any
) -> None:
    files = [f"--content={inputs}/content.png", f"--style={inputs}/style.png", f"--output={tmp_path}/out.png"]
    assert main(["run", *files, "--preset", "patches", f"--{option}", value]) == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--{option} is" in line and bound in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"masks": "none"}, "masks is 'none'; give a tuple"),
        ({"masks": None}, "masks is None"),
        ({"masks": (None, None)}, "masks is"),
        ({"size": "64"}, "size = '64'; expected a whole number"),
        ({"strength": "0.5"}, "strength = '0.5'; expected a number"),
        ({"iterations": 3}, "iterations = 3; expected a list"),
        ({"start": "nowhere"}, "start = 'nowhere'; expected one of"),
        ({"content": None}, "content is a NoneType; give a path"),
        ({"style": (b"a.png",)}, "style 1 is a bytes"),
        ({"style": None}, "name one reference"),
    ],
)
@pytest.mark.situation("a setting of another type")
def test_a_setting_of_another_type_is_refused(settings: dict[str, Any], said: str) -> None:
    """A configuration that is made without `configure` is checked at the same door."""
    config = Config(**({"content": Path("a.png"), "style": (Path("b.png"),)} | settings))
    with pytest.raises(PhotostyleError, match=re.escape(said)):
        pipeline.transfer(config)
