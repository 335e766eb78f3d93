"""Settings as a file: what is written is read back, what is wrong is one line, and which comes before which."""

import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from photostyle.cli import main
from photostyle.cli.arguments import parse_config
from photostyle.cli.console import BAD_INPUT, DONE
from photostyle.config import ITERATIONS, Config, Inputs
from photostyle.errors import PhotostyleError
from photostyle.losses import weights as weight_files
from photostyle.presets import PRESETS
from photostyle.settings import KINDS, names_file, read_settings, write_settings

PHOTOS = ["--content", "photo.png", "--style", "style.png"]


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type, None left out: TOML has none."""
    origin, options = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return values_of(options[0])
    if origin is tuple:
        return st.lists(values_of(options[0]), max_size=4).map(tuple)
    if origin is Literal:
        return st.sampled_from(options)
    plain = {
        bool: st.booleans(),
        int: st.integers(),
        float: st.floats(allow_nan=False),
        str: st.text(st.characters(exclude_categories=["Cs"])),
    }
    return plain[kind]


SETTINGS = st.fixed_dictionaries(
    {}, optional={name: values_of(kind) for name, kind in KINDS.items() if not names_file(name)}
)


@given(given_settings=SETTINGS, comment=st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@pytest.mark.slow
def test_what_is_written_is_read_back_to_the_last_digit(
    tmp_path: Path, given_settings: dict[str, Any], comment: str
) -> None:
    path = tmp_path / "best.toml"
    write_settings(path, given_settings, comment)
    again = read_settings(path)
    assert again == given_settings
    assert {name: type(value) for name, value in again.items()} == {
        name: type(value) for name, value in given_settings.items()
    }


def test_the_file_is_one_that_a_person_can_read(tmp_path: Path) -> None:
    path = tmp_path / "best.toml"
    best = {
        "preset": "patches",
        "structure_weight": 0.1,
        "photorealism_coarse": (0.25, 1e-05),
        "iterations": (1,),
        "start": "colour",
        "quiet": False,
        "style_layers": ('a "b"\\\x7f\n',),
    }
    write_settings(path, best, "Trial 7\nstyle 0.1\t\x00\r\n")
    assert path.read_text(encoding="utf-8") == (
        "# Trial 7\n# style 0.1\\t\\x00\n"
        'preset = "patches"\nstructure_weight = 0.1\n'
        "photorealism_coarse = [\n    0.25,\n    1e-05,\n]\niterations = [\n    1,\n]\n"
        'start = "colour"\nquiet = false\nstyle_layers = [\n    "a \\"b\\"\\\\\\u007f\\n",\n]\n'
    )
    assert read_settings(path) == best


def test_every_field_is_either_a_setting_or_names_a_file() -> None:
    files = {name for name in KINDS if names_file(name)}
    assert files == {field.name for field in fields(Inputs)} | {"output", "animate"}
    assert KINDS.keys() == {field.name for field in fields(Config)}


def test_a_whole_number_will_do_for_a_weight(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("patch_weight = 2\nphotorealism_coarse = [1, 0.5]\n")
    read = read_settings(path)
    assert read == {"patch_weight": 2.0, "photorealism_coarse": (1.0, 0.5)}
    assert type(read["patch_weight"]) is float and type(read["photorealism_coarse"][0]) is float


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("structur_weight = 1.0", "unknown setting 'structur_weight'; did you mean structure_weight?"),
        ("patch-weight = 1.0", "did you mean patch_weight?"),
        ('"a\\nb" = 1', r"unknown setting 'a\nb'; photostyle run --help lists all"),
        ('content = "a.png"', "content, which names a file and is no setting; give --content instead"),
        ('start_file = "a.png"', "give --start-file instead"),
        ('masks = ["none"]', "give --masks instead"),
        ('size = "512"', "size = '512'; expected a whole number"),
        ("size = 512.0", "expected a whole number"),
        ("size = true", "expected a whole number"),
        ("strength = false", "strength = False; expected a number"),
        ("quiet = 1", "expected true or false"),
        ("content_layers = 3", "expected a list, each entry a word in quotes"),
        ("iterations = 3", "expected a list, each entry a whole number"),
        ("iterations = [1, 2.5]", "expected a list, each entry a whole number"),
        ("region_strength = 0.5", "expected a list, each entry a word in quotes"),
        ('pooling = "mean"', "expected one of max, average"),
        ('preset = "finest"', "expected one of auto, best, gatys-vgg16"),
        ("segmenter_revision = 3", "expected a word in quotes"),
        ("[photorealism_weight]\nx = 1", "expected a number"),
        ("size 512", "is no TOML"),
        ("size = 1\nsize = 2", "is no TOML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_file(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PhotostyleError) as caught:
        read_settings(path)
    assert str(path) in str(caught.value) and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_said_too(tmp_path: Path) -> None:
    with pytest.raises(
        PhotostyleError, match=r"nowhere\.toml does not exist: check the name; give a TOML file of settings"
    ):
        read_settings(tmp_path / "nowhere.toml")
    with pytest.raises(PhotostyleError, match=r"is a folder; expected a file"):
        read_settings(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'encoder = "\xe9"')
    with pytest.raises(PhotostyleError, match=r"latin\.toml is no TOML"):
        read_settings(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"segmenter_revision": None}, "cannot hold segmenter_revision = None; leave out what is not set"),
        ({"colour": 1}, "unknown setting 'colour'"),
        ({"content": Path("a.png")}, "names a file"),
        ({"size": 1.5}, "expected a whole number"),
    ],
)
def test_only_settings_are_written_and_an_older_file_survives(
    wrong: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "best.toml"
    write_settings(path, {"size": 99})
    with pytest.raises(PhotostyleError, match=said):
        write_settings(path, wrong)
    assert read_settings(path) == {"size": 99}
    assert list(tmp_path.iterdir()) == [path]


# --config


@pytest.fixture
def best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of settings in the working directory, no weights in any cache and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(weight_files, "reachable", lambda url: False)
    write_settings(Path("best.toml"), {"preset": "search", "structure_weight": 0.5, "strength": 0.75})
    return Path("best.toml")


@pytest.mark.parametrize("option", [["--config", "best.toml"], ["--config=best.toml"]])
@pytest.mark.parametrize("before", [True, False])
def test_the_file_comes_before_the_preset_and_after_the_options(
    option: list[str], before: bool, best: Path
) -> None:
    given = [*PHOTOS, "--strength", "0.5"]
    config = parse_config([*option, *given] if before else [*given, *option])
    assert (config.preset, config.size) == ("search", PRESETS["search"]["size"])  # the file names the preset
    assert (config.structure_weight, config.strength) == (0.5, 0.5)
    expected = parse_config([*given, "--preset", "search", "--structure-weight", "0.5"])
    assert asdict(config) == asdict(expected)


def test_an_option_comes_before_what_the_file_says(best: Path) -> None:
    write_settings(best, {"preset": "search", "size": 96, "structure_weight": 0.5})
    config = parse_config([*PHOTOS, "--config", "best.toml", "--preset", "patches", "--size", "700"])
    assert (config.preset, config.size) == ("patches", 700)
    assert (config.structure_weight, config.iterations) == (0.5, ITERATIONS["mm"])
    config = parse_config([*PHOTOS, "--config", "best.toml", "--preset", "patches"])
    assert config.size == 96


def test_a_file_without_a_preset_leaves_it_to_the_weights(best: Path) -> None:
    write_settings(best, {"encoder": "vgg16"})
    assert parse_config([*PHOTOS, "--config", "best.toml"]).preset == "patches"
    Path("vgg.pth").write_bytes(b"")
    config = parse_config([*PHOTOS, "--config", "best.toml", "--weights", "vgg.pth"])
    assert (config.preset, config.encoder, config.gram_weight) == (
        "photoreal",
        "vgg16",
        PRESETS["photoreal"]["gram_weight"],
    )


def test_masks_are_still_made_where_none_are_given(best: Path) -> None:
    assert parse_config([*PHOTOS, "--config", "best.toml"]).masks == ("auto",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config"], "--config needs a file of settings; give --config FILE"),
        (["--config="], "--config needs a file"),
        (["--config", "--size", "64"], "--config needs a file"),
        (["--config", "best.toml", "--config=best.toml"], "--config is given 2 times"),
        (["--config", "other.toml"], "other.toml does not exist"),
        (["--confg", "best.toml"], "unknown option --confg; did you mean --config?"),
    ],
)
def test_a_wrong_use_is_one_line(arguments: list[str], said: str, best: Path, capsys: Any) -> None:
    assert main(["run", *PHOTOS, *arguments]) == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_help_tells_of_it_and_shows_its_settings(best: Path, capsys: Any) -> None:
    assert main(["run", "--help"]) == DONE
    plain = capsys.readouterr().out
    assert "--config FILE" in plain and "0.75" not in plain
    assert main(["run", "--config", "best.toml", "--help"]) == DONE
    assert "0.75" in capsys.readouterr().out


def test_tomllib_reads_what_is_written(tmp_path: Path) -> None:
    """An oracle that knows nothing of Config."""
    path = tmp_path / "a.toml"
    write_settings(path, {"style_layers": ("ä", "\U0001f600"), "strength": 1e300, "seed": 7, "plot": True})
    assert tomllib.loads(path.read_text(encoding="utf-8")) == {
        "style_layers": ["ä", "\U0001f600"],
        "strength": 1e300,
        "seed": 7,
        "plot": True,
    }
