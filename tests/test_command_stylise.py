"""photostyle stylise: the picture, its record, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from photostyle.cli.console import BAD_INPUT, DONE
from photostyle.cli.program import main
from photostyle.feedforward.injection import InjectionName
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.settings import ModelSettings, Origin
from photostyle.feedforward.stylise import Manner, stylise
from photostyle.files.images import read_image, sha256_of, write_image

ORIGIN = Origin("nothing: random weights", "CC0")


def save_model(path: str, injection: InjectionName = "film") -> Path:
    torch.manual_seed(0)
    settings = ModelSettings(injection, channels=2, blocks=1, dimension=4, style_network="small")
    StyleModel(settings, origin=ORIGIN).save(Path(path))
    return Path(path)


@pytest.fixture
def model(photographs) -> Path:
    """In the folder of photo.jpg and sunset.jpg a model, too."""
    return save_model("model.safetensors")


def run(*words: str) -> int:
    return main(["stylise", "photo.jpg", "--style", "sunset.jpg", "--model", "model.safetensors", *words])


def test_it_writes_the_picture_at_the_photos_size_and_a_record(model, capsys):
    assert run("--strength", "0.5", "--size", "48") == DONE
    picture = Path("photo-sunset-stylised.png")
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{picture}  96x64  ") and said[1] == str(picture.with_suffix(".json"))
    photo, style, painted = (read_image(each) for each in (Path("photo.jpg"), Path("sunset.jpg"), picture))
    expected = stylise(StyleModel.load(model), photo.pixels, [style.pixels], Manner(strength=0.5, size=48))
    # 8 bits: half a level, and what float32 adds
    torch.testing.assert_close(painted.pixels, expected, atol=0.51 / 255, rtol=0)
    record = json.loads(picture.with_suffix(".json").read_text())
    assert record["photostyle"]["command"] == "stylise" and record["ended"] == "done"
    assert record["settings"] == {
        "style_weights": [],
        "strength": 0.5,
        "photorealistic": False,
        "size": 48,
        "worked_at": {"width": 48, "height": 32},
    }
    where = {"path": str(Path("sunset.jpg").absolute()), "relative": "sunset.jpg"}
    assert record["inputs"]["style 1"] == where | {"sha256": style.sha256}
    assert record["model"]["sha256"] == sha256_of(model)
    assert record["model"]["origin"]["licence"] == "CC0" and record["model"]["settings"]["blocks"] == 1
    assert record["output"]["sha256"] == sha256_of(picture)


def test_it_may_write_over_its_own_picture_and_writes_the_same_bytes(model):
    assert run() == DONE
    before = Path("photo-sunset-stylised.png").read_bytes()
    assert run("--quiet") == DONE
    assert Path("photo-sunset-stylised.png").read_bytes() == before


@pytest.mark.parametrize("injection", ["film", "patch"])
def test_several_styles_and_photorealistic(photographs, injection):
    save_model("model.safetensors", injection)
    words = ["stylise", "photo.jpg", "--style", "sunset.jpg", "photo.jpg", "--model", "model.safetensors"]
    assert main([*words, "--photorealistic", "-o", "out.jpg"]) == DONE
    assert (read_image(Path("out.jpg")).width, read_image(Path("out.jpg")).height) == (96, 64)
    assert len(json.loads(Path("out.json").read_text())["inputs"]) == 3


def test_alpha_and_16_bits_of_a_photo_are_kept(model):
    photo = read_image(Path("photo.jpg"))
    alpha = torch.arange(64 * 96).remainder(65536).view(64, 96).to(torch.int32).numpy().astype("uint16")
    write_image(Path("photo.tif"), photo.pixels, alpha=alpha, depth=16)
    words = ["stylise", "photo.tif", "--style", "sunset.jpg", "--model", "model.safetensors"]
    assert main([*words, "-o", "out.tif"]) == DONE
    written = read_image(Path("out.tif"))
    assert written.depth == 16 and written.alpha is not None and (written.alpha == alpha).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "photo.jpg"], "photo.jpg is an input and would be overwritten"),
        (["-o", "model.safetensors"], "model.safetensors is an input"),
        (["-o", "out.gif"], 'ends in ".gif"'),
        (["--style-weights", "1", "2"], "1 styles have 2 weights"),
        (["--style-weights", "0"], "do not mix"),
        (["--strength", "2"], "--strength is 2.0; it must lie between"),
        (["--size", "3"], "--size is 3; it must be at least 32"),
        (["--strengt", "1"], "unknown option --strengt; did you mean --strength"),
        (["--model", "sunset.jpg"], "a model is a .safetensors file"),
        (["--model", "none.safetensors"], "none.safetensors does not exist"),
        (["--style", "none.jpg"], "--style is given 2 times"),
        (["-o", "foreign.png"], "foreign.json exists and is no photostyle record"),
    ],
)
def test_what_is_wrong_is_one_line(words, message, model, capsys):
    Path("foreign.json").write_text("{}")
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    assert run(*words) == BAD_INPUT
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


def test_a_foreign_picture_is_not_written_over(model, capsys):
    Image.new("RGB", (8, 8)).save("photo-sunset-stylised.png")
    assert run() == BAD_INPUT
    assert "has no photostyle record beside it" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["rerun"], ["adjust", "--strength", "0.5"]])
def test_commands_of_a_transfer_say_that_this_is_none(command, model, capsys):
    assert run("-o", "out.png") == DONE
    name, *options = command
    assert main([name, "out.json", *options]) == BAD_INPUT
    assert "is a record of photostyle 'stylise', not of photostyle run" in capsys.readouterr().err
    assert main(["score", "out.png"]) == BAD_INPUT
