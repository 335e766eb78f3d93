"""The record beside every picture: complete, readable, and enough to make the same bytes again."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from left import Left
from PIL import Image
from skimage import data
from skimage.transform import resize
from vgg import narrow_vgg

from photostyle.cli import main
from photostyle.cli.console import BAD_INPUT, DONE, FAILED
from photostyle.cli.shown import shown_of
from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.evaluation.artefacts import Artefacts
from photostyle.evaluation.doubt import doubt
from photostyle.evaluation.records import (
    config_from_json,
    config_to_json,
    read_record,
    write_record,
)
from photostyle.evaluation.signs import Signs
from photostyle.evaluation.whereabouts import found, located
from photostyle.files.images import write_image
from photostyle.presets import configure
from photostyle.version import __version__

SIZES = ["--size", "48", "--coarsest", "32", "--iterations", "3", "2", "--device", "cpu", "--threads", "1"]
PICTURE_ALONE = ["--no-region-sheet", "--no-first-picture"]  # a quarter of the time of so small a run


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small photographs with masks (the style's a soft set), and a narrow random VGG."""
    folder = tmp_path_factory.mktemp("inputs")
    for name, image in (("photo", data.coffee()), ("style", data.rocket())):
        small = torch.from_numpy(resize(image, (48, 64), anti_aliasing=True))
        write_image(folder / f"{name}.png", small.permute(2, 0, 1).float())
    soft, left = folder / "soft", torch.zeros(3, 48, 64)
    soft.mkdir()
    left[..., :30] = 1
    write_image(soft / "left.png", left)
    write_image(soft / "right.png", 1 - left)
    regions = (
        'left = { file = "left.png", colour = "#0000ff" }',
        'right = { file = "right.png", colour = "#ff0000" }',
    )
    (soft / "legend.toml").write_text("\n".join(('kind = "soft"', "[regions]", *regions)))
    write_image(folder / "mask.png", torch.stack((1 - left[0], 0 * left[0], left[0])))
    torch.save(narrow_vgg(), folder / "vgg.pth")
    return folder


@pytest.fixture
def folder(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the inputs in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Callable[..., dict[str, Any]]:
    """photostyle run with two masks and what is given besides; returns the record it writes."""

    def finish(*options: str, output: str = "out.png", code: int = DONE) -> dict[str, Any]:
        files = [
            "--content",
            "photo.png",
            "--style",
            "style.png",
            "--masks",
            "mask.png",
            "soft",
            "--no-download",
        ]
        assert main(["run", *files, *SIZES, *PICTURE_ALONE, "--output", output, *options]) == code
        record: dict[str, Any] = json.loads(Path(output).with_suffix(".json").read_text(encoding="utf-8"))
        return record

    return finish


@pytest.fixture(scope="module")
def left() -> Left:
    return Left()


@pytest.fixture
def record_of(left: Left, run: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Leaves what such a run leaves, and returns its record; each is made once for all tests."""

    def once(*options: str) -> dict[str, Any]:
        left.by(run, *options)
        record: dict[str, Any] = json.loads(Path("out.json").read_text(encoding="utf-8"))
        return record

    return once


def sha256(name: str) -> str:
    return hashlib.sha256(Path(name).read_bytes()).hexdigest()


# What is in it


def test_it_has_everything_that_a_reader_or_a_rerun_needs(
    record_of: Callable[..., dict], folder: Path
) -> None:
    record = record_of("--weights", "vgg.pth")
    assert set(record) == {
        "photostyle", "ended", "config", "environment", "inputs", "weights", "size", "regions", "notes",
        "seconds", "stages", "trace", "metrics", "artefacts", "output", "segmentation", "solved", "beside",
        "protected",
    }  # fmt: skip
    assert set(record["photostyle"]) == {"format", "version", "commit"}
    assert record["photostyle"]["version"] == __version__
    assert record["ended"] == "done" and record["seconds"] > 0
    assert record["size"] == {"width": 64, "height": 48}
    assert record["output"] == {"path": str(folder / "out.png"), "sha256": sha256("out.png")}


def test_it_names_the_versions_and_the_machine(record_of: Callable[..., dict]) -> None:
    environment = record_of()["environment"]
    assert set(environment) >= {"python", "machine", "device", "threads", "torch", "numpy", "pillow"}
    assert (environment["device"], environment["threads"]) == ("cpu", 1)
    assert environment["torch"] == version("torch")


def test_it_hashes_every_input_and_the_weights(run: Callable[..., dict], folder: Path) -> None:
    record = run("--weights", "vgg.pth", "--start", "file", "--start-file", "style.png", "--no-metrics")
    assert set(record["inputs"]) == {"content", "style", "content mask", "style mask", "start"}
    for name, file in (
        ("content", "photo.png"),
        ("style", "style.png"),
        ("start", "style.png"),
        ("content mask", "mask.png"),
    ):
        assert record["inputs"][name] == {
            "path": str(folder / file),
            "sha256": sha256(file),
            "relative": file,
        }
    assert record["inputs"]["style mask"]["path"] == str(folder / "soft")
    assert len(record["inputs"]["style mask"]["sha256"]) == 64
    assert record["weights"] == {
        "path": str(folder / "vgg.pth"),
        "sha256": sha256("vgg.pth"),
        "source": "file",
        "relative": "vgg.pth",
    }


def test_it_tells_what_each_of_several_references_gave(folder: Path) -> None:
    """The soft set's regions are no regions of the photo, the second reference's blue one is."""
    write_image(folder / "blue.png", torch.tensor([0.0, 0, 1])[:, None, None].expand(3, 48, 64))
    files = ["--content", "photo.png", "--style", "style.png", "photo.png"]
    masks = ["--masks", "mask.png", "soft", "blue.png"]
    options = [*SIZES, *PICTURE_ALONE, "--no-download", "--no-metrics"]
    assert main(["run", *files, "--style-weights", "1", "3", *masks, *options]) == DONE
    record = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert set(record["inputs"]) == {
        "content", "style 1", "style 2", "content mask", "style mask 1", "style mask 2",
    }  # fmt: skip
    assert record["inputs"]["style mask 2"] == {
        "path": str(folder / "blue.png"),
        "sha256": sha256("blue.png"),
        "relative": "blue.png",
    }
    assert record["config"]["style"] == [str(folder / "style.png"), str(folder / "photo.png")]
    one, other = record["references"]
    assert (one["sha256"], one["weight"]) == (sha256("style.png"), 1)
    assert (other["sha256"], other["weight"]) == (sha256("photo.png"), 3)
    assert other["gives"]["#0000ff"] == 1 and "#0000ff" not in one["gives"]
    assert all(any(name in each["gives"] for each in (one, other)) for name in ("#0000ff", "#ff0000"))
    assert main(["rerun", "out.json"]) == DONE
    write_image(folder / "blue.png", torch.zeros(3, 48, 64))
    with pytest.raises(PhotostyleError, match=r"blue\.png has changed"):
        located(read_record(Path("out.json")), Path("out.json"))


def test_one_reference_is_recorded_as_one_path(record_of: Callable[..., dict], folder: Path) -> None:
    record = record_of()
    assert record["config"]["style"] == str(folder / "style.png") and "references" not in record
    assert config_from_json(record["config"], folder / "out.json").style == (folder / "style.png",)


def test_without_masks_or_weights_it_says_so(record_of: Callable[..., dict]) -> None:
    record = record_of("--masks", "none")
    assert record["inputs"]["content mask"] == {"path": "none", "sha256": ""}
    assert record["weights"] is None


def test_it_tells_how_regions_were_paired_and_what_was_decided(record_of: Callable[..., dict]) -> None:
    """A colour mask against a soft set: the names differ, so both regions are orphans, said and recorded."""
    record = record_of()
    assert [region["name"] for region in record["regions"]] == ["#0000ff", "#ff0000"]
    for region in record["regions"]:
        assert set(region) == {
            "name",
            "colour",
            "partner",
            "content_share",
            "style_share",
            "orphan",
            "reason",
            "trust",
            "boldness",
            "strength",
        }
        assert region["orphan"] and region["partner"] in ("left", "right")
    assert any("no label is in both masks" in note for note in record["notes"])
    assert any("style by patches (training-free)" in note for note in record["notes"])


def test_the_notes_are_those_said_aloud(run: Callable[..., dict], capsys: Any) -> None:
    notes = run()["notes"]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert notes and said == [f"note: {note}" for note in notes]


def test_it_traces_every_term_of_every_evaluation(record_of: Callable[..., dict]) -> None:
    record = record_of()
    assert [(entry["stage"], entry["iteration"]) for entry in record["trace"]] == [
        (0, 1), (0, 2), (0, 3), (1, 1), (1, 2),
    ]  # fmt: skip
    assert all(
        {"patches", "structure", "photorealism", "seconds"} <= entry.keys() for entry in record["trace"]
    )
    assert [stage["evaluations"] for stage in record["stages"]] == [3, 2]
    assert all(stage["seconds"] > 0 for stage in record["stages"])


def test_it_holds_the_scores(record_of: Callable[..., dict]) -> None:
    scores = record_of()["metrics"]
    numbers = {"style", "colour", "edge", "grey", "matting", "drift4", "drift16"}
    assert set(scores) == numbers | {"style_features", "doubt", "signs"}
    assert doubt(Signs(**scores["signs"])) == scores["doubt"]
    assert all(math.isfinite(scores[name]) for name in numbers)
    assert 0 < scores["edge"] <= 1 and scores["style_features"].startswith("patches")
    assert record_of("--no-metrics")["metrics"] == {}


def test_it_holds_the_artefacts(record_of: Callable[..., dict]) -> None:
    found = record_of()["artefacts"]
    assert list(found) == list(Artefacts.__dataclass_fields__)
    assert all(math.isfinite(value) and value >= 0 for value in found.values())
    assert record_of("--no-metrics")["artefacts"] == {}


def test_scores_with_a_network_are_in_its_features(record_of: Callable[..., dict]) -> None:
    assert record_of("--weights", "vgg.pth")["metrics"]["style_features"].startswith("Gram")


def test_scores_that_cannot_be_taken_cost_no_picture(run: Callable[..., dict], folder: Path) -> None:
    """Weights cut after relu1_1 serve the run and not the score: that is said, and the rest is there."""
    state = torch.load("vgg.pth", weights_only=True)
    torch.save({key: state[key] for key in ("features.0.weight", "features.0.bias")}, "cut.pth")
    layers = ["--style-layers", "relu1_1", "--content-layers", "relu1_1"]
    record = run("--weights", "cut.pth", *layers)
    assert record["metrics"] == {} and record["ended"] == "done"
    assert any(note.startswith("no metrics: ") for note in record["notes"])
    assert record["output"]["sha256"] == sha256("out.png")


def test_the_preset_that_auto_stood_for_is_recorded_with_all_it_sets(record_of: Callable[..., dict]) -> None:
    record = record_of("--weights", "vgg.pth")
    assert record["config"]["preset"] == "photoreal" and record["config"]["gram_weight"] > 0
    assert set(record["config"]) == {field.name for field in fields(Config)}


def test_it_is_strict_json(record_of: Callable[..., dict]) -> None:
    record_of()

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    json.loads(Path("out.json").read_text(), parse_constant=refuse)


def test_a_number_that_is_not_finite_becomes_null(tmp_path: Path) -> None:
    write_record(
        tmp_path / "x.json",
        {"photostyle": {"format": 1}, "values": [math.nan, math.inf, 1.5, (2, -math.inf)]},
    )
    assert json.loads((tmp_path / "x.json").read_text())["values"] == [None, None, 1.5, [2, None]]


# Back to a configuration


def test_it_reads_back_to_the_same_configuration(run: Callable[..., dict], folder: Path) -> None:
    run("--weights", "vgg.pth", "--strength", "1", "--no-metrics")
    config = config_from_json(read_record(Path("out.json"))["config"], Path("out.json"))
    assert config == configure(
        "photoreal",
        content=folder / "photo.png", style=folder / "style.png", output=folder / "out.png",
        masks=(str(folder / "mask.png"), str(folder / "soft")), strength=1.0, weights=folder / "vgg.pth",
        download=False, size=48, coarsest=32, iterations=(3, 2), device="cpu", threads=1, metrics=False,
        region_sheet=False, first_picture=False,
    )  # fmt: skip


@pytest.mark.parametrize("preset", ["best", "instant", "patches", "photoreal", "released", "search"])
def test_every_preset_survives_json(preset: str) -> None:
    config = configure(preset, content="/a/b.png", style="/a/c.png", output="/a/out.png")
    entries = json.loads(json.dumps(config_to_json(config)))
    assert config_from_json(entries, Path("out.json")) == config


def test_a_record_that_is_older_than_a_setting_is_of_a_time_without_it() -> None:
    config = config_from_json({"content": "/a.png", "style": "/b.png", "size": 99}, Path("x.json"))
    without = {"texture_weight": 0.0, "photorealism_luma": 1.0, "boldness": 1.0, "consistency_weight": 0.0}
    without |= {"protect": ("none",), "photorealism_of": "picture", "second_look": False}
    assert config == Config(Path("/a.png"), (Path("/b.png"),), size=99, **without)
    # And one that has the setting keeps its own.
    entries = {"content": "/a.png", "style": "/b.png", "texture_weight": 3.0}
    assert config_from_json(entries, Path("x.json")).texture_weight == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sise": 3}, "settings this version .* does not know: sise; run it with the version it names"),
        ({"size": "big"}, "x.json has size = 'big'"),
        ({"size": True}, "x.json has size = True"),
        ({"size": 2.5}, "x.json has size = 2.5"),
        ({"optimiser": "sgd"}, "x.json has optimiser = 'sgd'"),
        ({"iterations": 3}, "x.json has iterations = 3"),
        ({"iterations": ["many"]}, "x.json has iterations ="),
        ({"style": None}, "x.json has style = None"),
        ({"feather": None}, "x.json has feather = None"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PhotostyleError, match=message):
        config_from_json({"content": "/a.png", "style": "/b.png"} | changes, Path("x.json"))


def test_a_record_without_its_photos_is_refused() -> None:
    with pytest.raises(PhotostyleError, match=r"x\.json lacks content"):
        config_from_json({"style": "/b.png"}, Path("x.json"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON file"),
        ("{", "is no JSON file"),
        ("[1, 2]", "is JSON but no photostyle record"),
        ('{"name": "something else"}', "is JSON but no photostyle record"),
        ('{"photostyle": 3}', "is JSON but no photostyle record"),
        ('{"photostyle": {"format": 99, "version": "9.0"}}', "is a record of format 99.*use version '9.0'"),
    ],
)
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(PhotostyleError, match=message):
        read_record(tmp_path / "x.json")


# The same bytes again


@pytest.mark.parametrize(
    "options",
    [
        [],
        pytest.param(["--weights", "vgg.pth"], marks=pytest.mark.slow),
        pytest.param(["--preset", "instant"], marks=pytest.mark.slow),
    ],
)
def test_a_rerun_gives_the_same_bytes_and_says_so(
    record_of: Callable[..., dict], options: list[str], capsys: Any
) -> None:
    record_of(*options)
    capsys.readouterr()
    assert main(["rerun", "out.json"]) == DONE
    assert f"the same bytes: SHA-256 {sha256('out.png')}" in capsys.readouterr().out
    assert Path("out-rerun.png").read_bytes() == Path("out.png").read_bytes()
    again = read_record(Path("out-rerun.json"))
    assert again["metrics"] == read_record(Path("out.json"))["metrics"]


def test_a_rerun_works_from_another_directory_and_lands_beside_the_record(
    record_of: Callable[..., dict], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_of()
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    (folder / "out.json").rename(folder / "elsewhere" / "mine.json")
    assert main(["rerun", "mine.json", "--quiet"]) == DONE
    assert (folder / "elsewhere" / "mine-rerun.png").read_bytes() == (folder / "out.png").read_bytes()


def test_a_quiet_rerun_is_quiet(record_of: Callable[..., dict], capsys: Any) -> None:
    record_of()
    capsys.readouterr()
    assert main(["rerun", "out.json", "--quiet", "--output", "again.png"]) == DONE
    assert tuple(capsys.readouterr()) == ("", "")
    assert Path("again.png").read_bytes() == Path("out.png").read_bytes()


def test_other_bytes_are_an_error_that_shows_both_hashes(record_of: Callable[..., dict], capsys: Any) -> None:
    record = record_of()
    record["output"]["sha256"] = "0" * 64
    write_record(Path("out.json"), record)
    assert main(["rerun", "out.json"]) == FAILED
    line = capsys.readouterr().err.splitlines()[-1]
    assert "differs from the record" in line and "0" * 64 in line and sha256("out-rerun.png") in line


CHANGED = ("photo.png", "style.png", "mask.png", "soft/left.png", "soft/legend.toml", "vgg.pth")


def change(file: Path) -> None:
    """So that it is still valid: another picture, another colour in the legend, another network."""
    if file.name == "vgg.pth":
        state = torch.load(file, weights_only=True)
        torch.save({key: 2 * value for key, value in state.items()}, file)
    elif file.suffix == ".toml":
        file.write_text(file.read_text().replace("#0000ff", "#00ffff"))
    else:
        other = {"photo.png": "style.png", "style.png": "photo.png"}.get(file.name, "soft/right.png")
        file.write_bytes(Path(other).read_bytes())


def test_a_changed_input_is_refused(run: Callable[..., dict], capsys: Any) -> None:
    run("--weights", "vgg.pth", "--no-metrics")
    for changed in map(Path, CHANGED):
        before = changed.read_bytes()
        change(changed)
        capsys.readouterr()
        assert main(["rerun", "out.json"]) == BAD_INPUT, changed
        (line,) = capsys.readouterr().err.splitlines()
        assert changed.parts[0] in line and "has changed since the record was made" in line
        assert not Path("out-rerun.png").exists(), changed
        changed.write_bytes(before)
    located(read_record(Path("out.json")), Path("out.json"))  # which were refused for what was changed alone


def test_an_input_that_is_gone_is_named(record_of: Callable[..., dict], capsys: Any) -> None:
    record_of()
    Path("photo.png").unlink()
    capsys.readouterr()
    assert main(["rerun", "out.json", "--quiet"]) == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert "photo.png does not exist" in line and "is not at" in line


def test_unchanged_inputs_pass_where_one_file_is_described_by_a_legend(folder: Path) -> None:
    """A label map's hash covers its legend too, so it is not the file's own."""
    legend = 'kind = "labels"\nfile = "mask.png"\n[regions]\nall = { value = 255, colour = "#0000ff" }\n'
    (folder / "legend.toml").write_text(legend)
    Image.fromarray(np.full((48, 64), 255, np.uint8)).save("mask.png")
    files = [
        "--content",
        "photo.png",
        "--style",
        "style.png",
        "--masks",
        "mask.png",
        "none",
        "--preset",
        "instant",
    ]
    assert main(["run", *files]) == DONE
    located(read_record(Path("out.json")), Path("out.json"))
    (folder / "legend.toml").write_text(legend.replace("#0000ff", "#00ff00"))
    with pytest.raises(PhotostyleError, match=r"mask\.png has changed"):
        located(read_record(Path("out.json")), Path("out.json"))


# Moved


@pytest.mark.slow
def test_a_moved_folder_is_scored_run_again_and_adjusted(
    run: Callable[..., dict], folder: Path, tmp_path_factory: pytest.TempPathFactory, capsys: Any
) -> None:
    """Files beside the record and below another folder; where the folder was there is nothing any more."""
    Path("results").mkdir()
    run("--weights", "vgg.pth", "--no-metrics", output="results/out.png")
    moved = tmp_path_factory.mktemp("elsewhere") / "moved"
    shutil.move(folder, moved)
    folder.mkdir()  # it is the working directory
    result, record = moved / "results" / "out.png", moved / "results" / "out.json"
    assert main(["score", str(result)]) == DONE
    capsys.readouterr()
    assert main(["rerun", str(record)]) == DONE
    assert "the same bytes" in capsys.readouterr().out
    assert main(["adjust", str(record), "--strength", "0.5", "-o", str(moved / "gentle.png")]) == DONE
    assert main(["adjust", str(moved / "gentle.json"), "--strength", "0.4"]) == DONE
    roles = {each.role: each.path for each in shown_of(result)}
    assert roles == {"content": moved / "photo.png", "style": moved / "style.png", "result": result}


def test_a_record_without_relative_paths_finds_what_lies_beside_it(run: Callable[..., dict]) -> None:
    record = run("--no-metrics")
    for entry in record["inputs"].values():
        assert entry.pop("relative") == Path(entry["path"]).name
        entry["path"] = entry["path"].replace("/", "/gone/", 1)
    here = located(record, Path("out.json"))
    assert {entry["path"] for entry in here["inputs"].values()} == {
        str(Path(name).absolute()) for name in ("photo.png", "style.png", "mask.png", "soft")
    }


def test_the_hash_decides_which_file_is_the_recorded_one(tmp_path: Path) -> None:
    """Other bytes at a better place are passed by; a foreign record reaches nothing but bytes that it knows."""
    far, near = tmp_path / "far" / "a.png", tmp_path / "records" / "a.png"
    far.parent.mkdir()
    near.parent.mkdir()
    far.write_bytes(b"other")
    near.write_bytes(b"wanted")
    entry = {
        "path": str(far),
        "relative": "../far/a.png",
        "sha256": hashlib.sha256(b"wanted").hexdigest(),
    }
    source = near.with_name("out.json")
    assert found(entry, source) == near
    far.write_bytes(b"wanted")
    assert found(entry, source) == far
    assert found(entry | {"sha256": hashlib.sha256(b"secret").hexdigest()}, source) is None
    assert found(entry | {"path": str(tmp_path / "gone" / "b.png")}, source) == far


def test_a_run_that_was_cut_short_is_not_run_again(record_of: Callable[..., dict], capsys: Any) -> None:
    record = record_of()
    write_record(Path("out.json"), record | {"ended": "interrupted"})
    capsys.readouterr()
    assert main(["rerun", "out.json"]) == BAD_INPUT
    assert "did not end (interrupted)" in capsys.readouterr().err


# What is not overwritten


def test_a_json_of_another_kind_is_never_overwritten(
    run: Callable[..., dict], folder: Path, capsys: Any
) -> None:
    Path("out.json").write_text('{"my": "notes"}')
    run(code=BAD_INPUT)
    (line,) = capsys.readouterr().err.splitlines()
    assert "out.json exists and is no photostyle record" in line and "choose another --output" in line
    assert Path("out.json").read_text() == '{"my": "notes"}' and not Path("out.png").exists()


def test_an_earlier_record_is_replaced_by_the_next(run: Callable[..., dict]) -> None:
    assert run("--seed", "1", "--no-metrics")["output"] != run("--seed", "2", "--no-metrics")["output"]
    assert read_record(Path("out.json"))["config"]["seed"] == 2
