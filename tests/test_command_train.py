"""scripts/train.py: one line trains a model from two folders, and what is wrong is one line."""

import hashlib
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data
from vgg import narrow_vgg

from experiments.drawn_styles import drawn
from photostyle.cli.train import main
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.packaged import packaged_model

QUICK = (
    *("--size", "32", "--style-sizes", "32", "--style-crops", "2", "--epoch-contents", "4", "--batch", "2"),
    *("--epochs", "2", "--encoder-epochs", "1", "--channels", "2", "--blocks", "1", "--dimension", "4"),
    *("--every", "2", "--workers", "0", "--device", "cpu", "--threads", "1", "--no-download"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures" / "deep"
    pictures.mkdir(parents=True)
    Image.fromarray(data.coffee()).resize((96, 80)).save(pictures / "coffee.jpg")
    (pictures / "broken.png").write_bytes(b"\x89PNG")
    torch.save(narrow_vgg(), tmp_path / "vgg.pth")
    return tmp_path


def multistyle(folder: Path, *more: str) -> int:
    pictures = str(folder / "pictures")
    words = [
        "multistyle",
        "--tiny",
        "--contents",
        pictures,
        "--styles",
        pictures,
        *QUICK,
        "-o",
        str(folder / "out"),
    ]
    return main([*words, "--weights", str(folder / "vgg.pth"), *more])


@pytest.mark.slow
def test_one_line_trains_a_model_from_folders(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert multistyle(folder, "--licence", "CC0") == 0
    said = capsys.readouterr()
    assert "broken.png" in said.err and "1 of 2 pictures" in said.err
    assert "photostyle stylise PHOTO" in said.out
    model = StyleModel.load(folder / "out" / "model.safetensors")
    assert model.origin.licence == "CC0" and set(model.origin.hashes) == {
        "contents",
        "styles",
        "loss network",
    }
    assert {path.name for path in (folder / "out").iterdir()} == {
        *("model.safetensors", "record.json", "curves.png", "samples", "checkpoint.safetensors"),
    }
    # Again: it is done, and says the same.
    assert multistyle(folder, "--licence", "CC0") == 0
    assert "going on after step 4 of 4" in capsys.readouterr().err


def test_without_tensorboard_one_line_says_what_to_install(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    assert multistyle(folder, "--tensorboard") == 2
    assert "pip install 'photostyle[tensorboard]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["multistile"], "did you mean multistyle?"),
        (["multistyle", "--tiny", "--quick"], "give one of them"),
        (["multistyle", "--contents", "nowhere", "--styles", "nowhere", "--tiny"], "nowhere does not exist"),
        (["multistyle", "--contents", ".", "--styles", ".", "--batch", "0"], "batch is 0"),
        (["multistyle", "--contents", ".", "--styles", ".", "--channels", "0"], "channels"),
        (["multistyle", "--contents", ".", "--styles", ".", "--every", "0"], "--every is 0; it must be at"),
        (["multistyle", "--contents", ".", "--styles", ".", "--workers", "-2"], "--workers is -2"),
        (["style-classes", "nowhere"], "nowhere does not exist"),
        (["style-classes", ".", "--held-out", "nan"], "train: --held-out is nan"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0]


def test_without_a_command_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "multistyle --contents" in capsys.readouterr().out


def test_style_classes_answers_a_query(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = folder / "tree"
    for number, colour in enumerate(("red", "blue", "red", "blue")):
        (tree / colour).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (70, 70), colour).save(tree / colour / f"{number}.png")
    words = [
        "style-classes",
        str(tree),
        "-o",
        str(folder / "space"),
        "--style-network",
        "small",
        "--dimension",
        "4",
    ]
    words += ["--size", "32", "--batch", "2", "--epochs", "1", "--workers", "0", "--threads", "1"]
    assert main(words) == 0
    assert main([*words, "--query", str(tree / "red" / "0.png")]) == 0
    assert "red" in capsys.readouterr().out.splitlines()[-4]


@pytest.mark.slow
def test_a_model_that_may_be_passed_on_comes_with_the_package(root: Path) -> None:
    path = packaged_model()
    assert path.stat().st_size <= 4e6
    model = StyleModel.load(path)
    assert "CC BY 2.0" in model.origin.licence and "non-commercial" not in model.origin.licence
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest in (root / "docs/feedforward.md").read_text(encoding="utf-8")
    # Two styles it was trained on: their colours come out, whatever the photo's.
    grey = torch.full((1, 3, 64, 64), 0.5) + 0.05 * torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        night, gold = (
            model(grey, model.style(torch.from_numpy(drawn(name)).permute(2, 0, 1)[None] / 255)).mean(
                (0, 2, 3)
            )
            for name in ("swirls", "rings")
        )
    assert float(night[2] - night[0]) > 0.05 > -0.05 > float(gold[2] - gold[0])
