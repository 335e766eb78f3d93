"""photostyle recognise: pictures and recorded runs, what is said and written, and what is refused."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from classifiers import LOGIT, NAME, save_taught
from PIL import Image
from skimage import data

from photostyle.cli import main
from photostyle.cli.console import BAD_INPUT, DONE
from photostyle.files.images import read_image
from photostyle.networks import lite

RUN = ["run", "--content", "photo.jpg", "--style", "sunset.jpg", "--preset", "instant", "--masks", "none"]
KNOWN = ["--network", NAME, "--weights", "w.safetensors", "--device", "cpu"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two photographs, a network that knows them, and a recorded run of both."""
    folder = tmp_path_factory.mktemp("made")
    for name, image, size in (("photo", data.coffee(), (96, 64)), ("sunset", data.rocket(), (90, 60))):
        Image.fromarray(image).resize(size).save(folder / f"{name}.jpg", quality=95)
    known = {"espresso": "photo.jpg", "rocket": "sunset.jpg"}
    pictures = {name: read_image(folder / file).pixels for name, file in known.items()}
    save_taught(folder / "w.safetensors", pictures, ["cat"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*RUN, "--no-metrics", "--quiet", "--device", "cpu"]) == DONE
    return folder


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sheet is drawn, which takes half a second; a file stands for it."""
    monkeypatch.setattr(
        "photostyle.cli.recognise.recognition_sheet",
        lambda drawn, path, title, compared: path.write_bytes(b"a sheet"),
    )


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy as the working directory; no cached weights and no network."""
    shutil.copytree(made, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("photostyle.losses.weights.reachable", lambda url: False)
    return tmp_path / "work"


def found(name: str) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(Path(name).read_text(encoding="utf-8"))
    return written


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def refused(arguments: list[str], said: str, capsys: Any) -> None:
    """One line says why, and nothing is written."""
    before = contents()
    capsys.readouterr()
    assert main(["recognise", *arguments]) == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("photostyle: ") and said in line, line
    assert contents() == before


def test_pictures_are_named_by_their_classes(folder: Path, capsys: Any) -> None:
    assert main(["recognise", "photo.jpg", "sunset.jpg", *KNOWN, "--top", "2"]) == DONE
    right = math.exp(LOGIT) / (math.exp(LOGIT) + 2)
    photo, sunset = (each["classes"] for each in found("photo-recognised.json")["pictures"])
    assert [each["name"] for each in (photo[0], sunset[0])] == ["espresso", "rocket"]
    assert photo[0]["probability"] == pytest.approx(right, abs=1e-4) and len(photo) == 2
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["photo.jpg", f"{right:8.1%}  espresso"]
    assert out[-2:] == ["photo-recognised.json", "photo-recognised.png"]
    with Image.open("photo-recognised.png") as sheet:
        assert sheet.width > sheet.height
    assert found("photo-recognised.json")["retention"] == {}


@pytest.mark.usefixtures("undrawn")
def test_a_recorded_run_shows_all_three_and_what_is_kept(folder: Path, capsys: Any) -> None:
    assert main(["recognise", "out.png", *KNOWN]) == DONE
    written = found("out-recognised.json")
    roles = {each["role"]: Path(each["path"]).name for each in written["pictures"]}
    assert roles == {"content": "photo.jpg", "style": "sunset.jpg", "result": "out.png"}
    assert written["network"]["name"] == NAME and written["network"]["source"] == "file"
    assert written["network"]["shown"] == "224x224 of 256"
    kept = written["retention"]
    # The reference has LOGIT for another class: from (p, q, q) to (q, p, q) all but q of the mass moves.
    p = math.exp(LOGIT) / (math.exp(LOGIT) + 2)
    q = (1 - p) / 2
    entropy = -p * math.log2(p) - 2 * q * math.log2(q)
    divergence = -(p + q) * math.log2((p + q) / 2) - q * math.log2(q) - entropy
    assert kept["style"]["divergence"] == pytest.approx(divergence, abs=1e-3)
    assert 0 <= kept["result"]["kept"] == pytest.approx(1 - kept["result"]["divergence"])
    assert (kept["style"]["same"], kept["style"]["overlap"]) == (
        False,
        1.0,
    )  # three classes: all are among five
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "the result keeps" in line]
    assert f"{kept['result']['kept']:.2f} of what {NAME} sees" in said
    assert f"(the style {kept['style']['kept']:.2f})" in said


@pytest.mark.usefixtures("undrawn")
def test_a_result_without_a_record_is_told_its_photo(folder: Path, capsys: Any) -> None:
    Path("out.json").unlink()
    assert main(["recognise", "out.png", *KNOWN, "--content", "photo.jpg", "-o", "o.json"]) == DONE
    written = found("o.json")
    assert [each["role"] for each in written["pictures"]] == ["content", "result"]
    assert set(written["retention"]) == {"result"} and Path("o.png").is_file()
    capsys.readouterr()
    assert main(["recognise", "out.png", *KNOWN, "-o", "alone.json"]) == DONE
    assert found("alone.json")["retention"] == {}


@pytest.mark.usefixtures("undrawn")
def test_the_photo_keeps_all_of_itself(folder: Path) -> None:
    assert main(["recognise", "photo.jpg", *KNOWN, "--content", "photo.jpg"]) == DONE
    assert found("photo-recognised.json")["retention"]["result"]["kept"] == 1


@pytest.mark.situation("a folder that was moved")
@pytest.mark.usefixtures("undrawn")
def test_a_run_that_moved_is_found_beside_its_record(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    for name in ("out.png", "out.json"):
        Path(name).rename(tmp_path / "new" / name)
    assert main(["recognise", str(tmp_path / "new/out.json"), *KNOWN]) == DONE
    written = found(str(tmp_path / "new/out-recognised.json"))
    assert written["pictures"][2]["path"] == str(tmp_path / "new/out.png")


@pytest.mark.usefixtures("undrawn")
def test_several_references_are_all_shown(folder: Path) -> None:
    shutil.copy("sunset.jpg", "dawn.jpg")
    run = ["run", "--content", "photo.jpg", "--style", "sunset.jpg", "dawn.jpg", *RUN[5:], "--no-metrics"]
    assert main([*run, "--quiet", "-o", "two.png"]) == DONE
    assert main(["recognise", "two.png", *KNOWN]) == DONE
    roles = [each["role"] for each in found("two-recognised.json")["pictures"]]
    assert roles == ["content", "style 1", "style 2", "result"]


@pytest.mark.parametrize(("size", "shown"), [("own", "own"), ("64", 64)])
@pytest.mark.usefixtures("undrawn")
def test_the_size_that_is_seen_is_recorded(folder: Path, size: str, shown: Any) -> None:
    assert main(["recognise", "photo.jpg", *KNOWN, "--size", size]) == DONE
    assert found("photo-recognised.json")["network"]["shown"] == shown


@pytest.mark.usefixtures("undrawn")
def test_what_is_asked_again_is_written_again_and_foreign_files_stay(folder: Path, capsys: Any) -> None:
    assert main(["recognise", "photo.jpg", *KNOWN]) == DONE
    assert main(["recognise", "photo.jpg", *KNOWN, "--top", "1"]) == DONE
    Path("photo-recognised.json").unlink()
    refused(["photo.jpg", *KNOWN], "photo-recognised.png exists and was not written by photostyle", capsys)
    for text in ('{"mine": 1}', "[" * 100_000):
        Path("notes.json").write_text(text)
        refused(["photo.jpg", *KNOWN, "-o", "notes.json"], "notes.json exists and was not written by", capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no picture was given; give one or more: photostyle recognise photo.jpg"),
        (["gone.jpg", *KNOWN], "gone.jpg"),
        (["gone.json", *KNOWN], "gone.json does not exist"),
        (["photo.jpg", *KNOWN, "--top", "0"], "--top 0 names nothing"),
        (["photo.jpg", *KNOWN, "--size", "0"], "--size 0 has no pixels"),
        (["photo.jpg", *KNOWN, "--size", "whole"], "--size"),
        (["photo.jpg", *KNOWN, "--style", "sunset.jpg"], "--style is the reference of a run"),
        (["photo.jpg", "out.png", *KNOWN, "--content", "photo.jpg"], "2 pictures are given; give one"),
        (["photo.jpg", "out.json", *KNOWN], "out.json is a record, which names its pictures itself"),
        (["photo.jpg", *KNOWN, "-o", "o.txt"], 'o.txt ends in ".txt"'),
        (["photo.jpg", *KNOWN, "-o", "no/o.json"], "the folder no does not exist"),
        (["out.png", *KNOWN, "-o", "out.json"], "out.json is an input and would be overwritten"),
        (["out.png", "photo.jpg", *KNOWN, "-o", "out.json"], "out.json is an input and would be overwritten"),
        (["photo.jpg", "--network", "mobilenet_v3_smal"], "did you mean mobilenet_v3_small"),
        (["photo.jpg"], "no vgg16 weights: "),
        (["photo.jpg", "--no-download"], "vgg16-397923af.pth was not asked; download that file elsewhere"),
        (
            ["photo.jpg", "--network", "resnet18", *KNOWN[2:]],
            "w.safetensors is no resnet18: it lacks conv1.weight",
        ),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_what_cannot_be_done_is_one_line(folder: Path, arguments: list[str], said: str, capsys: Any) -> None:
    refused(arguments, said, capsys)


@pytest.mark.usefixtures("undrawn")
def test_pictures_that_changed_are_not_those_of_the_record(folder: Path, capsys: Any) -> None:
    Image.new("RGB", (96, 64), "red").save("out.png")
    refused(["out.json", *KNOWN], "out.png has changed since the record was made", capsys)


@pytest.mark.usefixtures("undrawn")
def test_a_json_that_is_no_record_is_named_and_left(folder: Path, capsys: Any) -> None:
    Path("photo.json").write_text("{}")
    assert main(["recognise", "photo.jpg", *KNOWN]) == DONE
    assert "note: photo.jpg is taken by itself, for photo.json is JSON but no" in capsys.readouterr().err
    assert Path("photo.json").read_text() == "{}"


@pytest.mark.usefixtures("undrawn")
def test_a_missing_package_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(lite, "weights_file", lambda: None)
    refused(["photo.jpg", "--network", lite.NAME], f"they come with a package: {lite.INSTALL}", capsys)


@pytest.mark.usefixtures("undrawn")
def test_a_checkpoint_of_pickled_code_is_not_run(folder: Path, capsys: Any) -> None:
    torch.save(torch.nn.Linear(2, 2), "code.pth")
    refused(["photo.jpg", "--weights", "code.pth"], "code.pth is damaged or holds more than tensors", capsys)
