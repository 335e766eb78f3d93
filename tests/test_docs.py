"""The documents are executed: commands run, examples run, names exist, tables and drawings are the code's.

docs/generate.py writes what is the code's; tests/test_site.py builds the site.
"""

import importlib
import importlib.util
import json
import re
import shlex
import shutil
import tomllib
from dataclasses import fields
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
import torch
from classifiers import NAME as CLASSIFIER
from PIL import Image
from skimage import data

from photostyle import configure, transfer
from photostyle.cli import program as cli
from photostyle.cli.adjust import AdjustCommand
from photostyle.cli.arguments import parse_config
from photostyle.cli.batch_jobs import BatchCommand
from photostyle.cli.candidates import TryCommand
from photostyle.cli.console import BAD_INPUT, DONE, FAILED, INTERRUPTED
from photostyle.cli.finetune import FinetuneCommand
from photostyle.cli.masks import MasksCommand, SegmentCommand
from photostyle.cli.photographs import named_after, split
from photostyle.cli.recognise import RecogniseCommand
from photostyle.cli.rerun import RerunCommand
from photostyle.cli.score import ScoreCommand
from photostyle.cli.search import SearchCommand
from photostyle.cli.stylise import StyliseCommand
from photostyle.cli.train import ClassesCommand, MultistyleCommand
from photostyle.config import TERMS, Config
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.settings import ModelSettings
from photostyle.files.images import read_image
from photostyle.files.masks import read_masks
from photostyle.losses.weights import convolutions
from photostyle.networks.network import random_network
from photostyle.presets import PRESETS
from photostyle.regions.guidance import pair_regions
from photostyle.scene import Scene
from photostyle.solver import colour_maps
from segmentation import make, onnx_file
from segmentation.groups import GROUPS
from segmentation.networks import Segmenter

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted(ROOT.glob("docs/*.md"))]
DOCUMENTS = [*PAGES, ROOT / "CHANGELOG.md", *sorted(ROOT.glob("experiments/*.md"))]
COMMAND = re.compile(
    r"^(?:\.venv/bin/)?(?:photostyle|python scripts/(?!experiment|finetune|train|export_onnx)\w+\.py) [^#\n]+",
    re.M,
)
EXAMPLES = sorted(ROOT.glob("docs/examples/*.py"))
SUFFIXES = {
    "py",
    "toml",
    "png",
    "jpg",
    "json",
    "html",
    "md",
    "svg",
    "safetensors",
    "onnx",
    "npz",
}  # what a word with a dot may be beside a name


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def load(path: str) -> ModuleType:
    """A module of the repository that is in no package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands_of(documents: list[Path]) -> list[str]:
    """Every command that is shown, in the order of the documents, once."""
    texts = [text_of(each).replace(" \\\n    ", " ") for each in documents]
    shown = [command.strip() for text in texts for command in COMMAND.findall(text)]
    return list(dict.fromkeys(command.removeprefix(".venv/bin/") for command in shown))


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```$", text_of(document), re.M | re.S)


@pytest.fixture
def folder(tmp_path, monkeypatch, one_start) -> Path:
    """Where the README's files lie: two photographs, their masks, a network of two channels; and no cached weights."""
    for name, photo in (("photo", data.coffee()), ("sunset", data.chelsea()), ("harbour", data.rocket())):
        small = Image.fromarray(photo).resize((72, 48))
        small.save(tmp_path / f"{name}.jpg")
        mask = Image.new("RGB", small.size, "#0000ff")
        mask.paste("#00ff00", (0, 24, 72, 48))
        mask.save(tmp_path / f"{name}_mask.png")
    Image.new("RGB", (72, 48), "#0000ff").save(tmp_path / "sky.png")
    Image.new("RGB", (72, 48), "#00ff00").save(tmp_path / "land.png")
    shutil.copy(tmp_path / "photo.jpg", tmp_path / "other.png")  # what another tool made of it
    (tmp_path / "album").mkdir()
    shutil.copy(tmp_path / "harbour.jpg", tmp_path / "album/harbour.jpg")
    (pairs,) = blocks(ROOT / "docs/batch.md", "text")
    (tmp_path / "pairs.csv").write_text(pairs, encoding="utf-8")
    state, channels = {}, 3
    generator = torch.Generator().manual_seed(0)
    for position in convolutions("vgg19").values():
        # A mean of its inputs, roughly: features neither vanish nor explode on the way down.
        state[f"features.{position}.weight"] = torch.rand(2, channels, 3, 3, generator=generator) / (
            4.5 * channels
        )
        state[f"features.{position}.bias"] = torch.zeros(2)
        channels = 2
    torch.save(state, tmp_path / "vgg19.pth")
    torch.save(random_network(CLASSIFIER, classes=2).module.state_dict(), tmp_path / "classifier.pth")
    tiny = ModelSettings(channels=2, blocks=1, dimension=4, style_network="small")
    StyleModel(tiny).save(tmp_path / "model.safetensors")
    monkeypatch.setattr("photostyle.cli.stylise.packaged_model", lambda: tmp_path / "model.safetensors")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(make, "find_segmenter", lambda *_, **__: SEGMENTER)
    monkeypatch.setattr(make, "group_probabilities", strips)
    monkeypatch.setitem(
        PRESETS["search"], "iterations", (2,)
    )  # of photostyle try, which takes no option for it
    monkeypatch.chdir(tmp_path)
    return tmp_path


SEGMENTER = Segmenter(
    "stand-in",
    "folder",
    "",
    "",
    "MIT",
    "ade20k",
    512,
    32,
    False,
    (0,),
    (1,),
    torch.nn.Identity(),
    torch.device("cpu"),
)


def strips(segmenter: Segmenter, photo: torch.Tensor) -> torch.Tensor:
    """What a network would say of the README's photographs: sky over water over a building and a wall."""
    height, width = photo.shape[1:]
    names = [group.name for group in GROUPS]
    maps = torch.zeros(len(names), height, width)
    maps[names.index("sky"), : height // 2] = 1
    maps[names.index("water"), height // 2 : 3 * height // 4] = 1
    maps[names.index("building"), 3 * height // 4 :, : width // 2] = 1
    maps[names.index("wall"), 3 * height // 4 :, width // 2 :] = 1
    return maps


def arguments_of(command: str) -> list[str]:
    words = shlex.split(command)
    return words[1:] if words[0] == "photostyle" else [Path(words[1]).stem, *words[2:]]


def run_command(command: str) -> None:
    """In two evaluations and without a network: what is tested is that the command is understood and does its job."""
    name, *arguments = arguments_of(command)
    runs = name == "run" or name not in cli.COMMANDS
    short = ["--iterations", "2", "--no-download"] if runs or name == "search" else []
    if "instant" in arguments:
        short = []
    if name == "recognise":
        short = ["--network", CLASSIFIER, "--weights", "classifier.pth"]
    assert cli.main([name, *arguments, *short]) == 0, command
    if runs:
        output = output_of([name, *arguments])
        assert output.is_file() and output.with_suffix(".json").is_file(), command


def output_of(words: list[str]) -> Path:
    """The picture that a run is to write; without a command it is named after its photographs."""
    if words[0] == "run":
        return parse_config(words[1:]).output
    photographs, options = split(words)
    named = [value for word, value in pairwise(options) if word in ("-o", "--output")]
    return Path(*named) if named else named_after(photographs)


def test_every_command_in_the_readme_works_in_turn(folder):
    commands = commands_of([README])
    assert len(commands) > 5
    for command in commands:
        run_command(command)
    assert not (folder / "torch").exists(), "nothing was downloaded"


@pytest.mark.slow
def test_every_command_of_the_other_pages_works_too(folder):
    rest = [each for each in commands_of(PAGES) if each not in commands_of([README])]
    # What a page goes on with, another page may have made.
    for command in [*commands_of([README])[:1], *rest]:
        run_command(command)


def test_every_command_of_the_program_is_shown():
    shown = {arguments_of(command)[0] for command in commands_of(PAGES)}
    assert shown == {*cli.COMMANDS, "photo.jpg"}  # and without a command, photographs


def test_the_python_example_runs(folder, monkeypatch, capsys):
    monkeypatch.setitem(PRESETS["patches"], "iterations", (2,))  # what is tested is that it runs
    (example,) = blocks(README, "python")
    exec(compile(example, "README.md", "exec"), {})
    assert (folder / "out.png").is_file()
    assert "#0000ff takes its style from #0000ff" in capsys.readouterr().out


def test_without_masks_instant_is_one_affine_map_of_colours():
    # What the README says of LUTs.
    result = transfer(configure("instant", content=data.coffee(), style=data.chelsea(), boldness=1.0))
    photo = result.photo.pixels
    ((*slopes, offset),) = colour_maps(Scene.of(photo, result.reference.pixels)).float().permute(0, 2, 1)
    mapped = torch.einsum("jc,jhw->chw", torch.stack(slopes), photo) + offset[:, None, None]
    # Three products and a sum of numbers up to a few units in float32, in another order.
    torch.testing.assert_close(mapped.clamp(0, 1), result.image, atol=1e-5, rtol=0)


def test_the_legends_are_read(folder):
    labels, painting, soft = [each for each in blocks(ROOT / "docs/masks.md", "toml") if "kind" in each]
    numbers = Image.new("L", (72, 48), 2)
    numbers.paste(17, (0, 24, 72, 48))
    numbers.save("labels.png")
    Path("legend.toml").write_text(labels, encoding="utf-8")
    assert read_masks(Path("labels.png"), Path("photo.jpg"), 48, 72).names == ("sky", "old wall")
    Path("painting").mkdir()
    Path("painting/legend.toml").write_text(painting, encoding="utf-8")
    painted = Image.new("RGB", (72, 48), "#78b4ff")
    painted.paste("#5a8c3c", (0, 24, 72, 48))
    painted.save("painting/masks.png")
    assert read_masks(Path("painting"), Path("photo.jpg"), 48, 72).names == ("sky", "ground")
    Path("soft").mkdir()
    Path("soft/legend.toml").write_text(soft, encoding="utf-8")
    for name, value in (("sky", 100), ("ground", 155)):
        Image.new("L", (72, 48), value).save(f"soft/{name}.png")
    assert read_masks(Path("soft"), Path("photo.jpg"), 48, 72).names == ("sky", "ground")


def test_the_description_of_a_graph_has_every_key_there_is():
    (said,) = [each for each in blocks(ROOT / "docs/masks.md", "toml") if "kind" not in each]
    assert set(tomllib.loads(said)) == {*onnx_file.REQUIRED, *onnx_file.OPTIONAL}


def test_every_option_that_is_mentioned_exists():
    dataclasses = (
        *(Config, MasksCommand, SegmentCommand, SearchCommand, ScoreCommand, RerunCommand),
        *(TryCommand, AdjustCommand, RecogniseCommand, StyliseCommand, FinetuneCommand),
        *(MultistyleCommand, ClassesCommand, BatchCommand),
    )
    known = {field.name.replace("_", "-") for each in dataclasses for field in fields(each)} | {"help"}
    # Of scripts/experiment.py, and what run takes beside its fields.
    known |= {"data", "part", "full", "config"}
    known |= {"tiny", "quick", "standalone", "nproc-per-node"}  # presets of training, and torchrun's own
    known |= set(re.findall(r"^#   --(\w+)", text_of(ROOT / "scripts/check"), re.M))
    for document in DOCUMENTS:
        mentioned = re.findall(r"(?<![\w!-])--(?:no-)?([a-z][a-z-]+)", text_of(document))
        assert set(mentioned) <= known, document.name


def test_every_preset_is_explained():
    section = text_of(README).partition("## Which preset when")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `([\w-]+)` \| [^|]+ \|$", section, re.M)
    assert set(explained) == {"auto", *PRESETS}


GENERATED = dict(load("docs/generate.py").documents())


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_what_is_generated_is_the_code_s(path):
    assert text_of(path) == GENERATED[path], "run `python docs/generate.py`"


def test_the_situations_of_the_page_are_those_that_are_tested():
    """And all of what the figures count came out right."""
    suites = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))["rows"]
        for path in (ROOT / "docs/reliability").glob("*.json")
    }
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    marked = set(re.findall(r'^@pytest\.mark\.situation\("(.+)"\)', tests, re.M))
    assert {row["what"] for row in suites["situations"]} == marked, "run `python scripts/reliability.py`"
    assert all(row["tried"] == row["right"] > 0 for rows in suites.values() for row in rows)


def test_every_setting_is_explained():
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", text_of(ROOT / "docs/settings.md"), re.M)
    explained = {name for name, meaning in rows if len(meaning) > 10}
    assert {field.name for field in fields(Config)} <= explained


def test_the_exit_codes_are_the_code_s():
    table = re.search(r"^\| Exit code \|.+?(?=\n\n)", text_of(README), re.M | re.S)
    assert table
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", table[0], re.M)]
    assert codes == [DONE, FAILED, BAD_INPUT, INTERRUPTED]


def names_in(document: Path) -> set[tuple[str, str]]:
    """Every `module.name` in backticks that is no file's name."""
    return {
        (module, name)
        for module, name in re.findall(r"`([^\W\d]\w*)\.(\w+)`", text_of(document))
        if name not in SUFFIXES
    }


@cache
def modules() -> dict[str, list[ModuleType]]:
    """The project's packages and modules by the last part of their names."""
    found: dict[str, list[ModuleType]] = {}
    for package in ("photostyle", "segmentation"):
        for path in ROOT.glob(f"{package}/**/*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            dotted = ".".join(parts[:-1] if path.stem == "__init__" else parts)
            found.setdefault(dotted.rpartition(".")[2], []).append(importlib.import_module(dotted))
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_function_that_is_named_exists(document):
    for module, name in sorted(names_in(document)):
        assert module in modules(), f"`{module}.{name}`: there is no module {module}"
        assert any(hasattr(each, name) for each in modules()[module]), f"`{module}.{name}`"


def test_the_method_names_its_functions_and_every_term():
    named = names_in(ROOT / "docs/method.md")
    assert len(named) > 50  # one for each row of its tables
    assert {(term.__module__.rpartition(".")[2], term.__name__) for term in TERMS} <= named


def test_the_drawing_of_the_flow_names_modules():
    shown = re.findall(r'<text class="code"[^>]*>([^<]+)<', text_of(ROOT / "docs/images/flow.svg"))
    assert {name for names in shown for name in names.split(", ")} <= modules().keys()
    assert len(shown) > 5


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_files_resolve(document):
    links = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", text_of(document))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_pictures_are_small_enough_for_a_repository():
    for picture in ROOT.glob("docs/images/*"):
        assert picture.suffix in (".jpg", ".svg") and picture.stat().st_size < 150_000, picture.name


def test_the_pictures_can_be_made_again():
    made = {f"{name}.jpg" for name in load("docs/strips.py").STRIPS} | {"demo.jpg"}
    assert {picture.name for picture in ROOT.glob("docs/images/*.jpg")} == made


def test_the_first_screen_has_the_picture_and_the_commands():
    screen = "\n".join(text_of(README).splitlines()[:20])
    for expected in ("scripts/demo", "scripts/check", "docs/images/demo.jpg"):
        assert expected in screen
        assert (ROOT / expected).is_file()
    assert "photostyle photo.jpg sunset.jpg\n" in screen, "one command for one's own photographs"


def test_there_are_eleven_questions():
    questions = text_of(README).partition("<!-- questions -->")[2].partition("<!-- /questions -->")[0]
    assert len(re.findall(r"^\*\*[^*]+\?\*\*", questions, re.M)) == 11


def test_the_demonstration_s_masks_pair_region_by_region(folder):
    files = load("scripts/demo.py").write_inputs()
    sets, pictures = [], []
    for name in ("content", "style"):
        picture = read_image(files[name])
        sets.append(read_masks(files[f"{name}_mask"], picture.path, picture.height, picture.width))
        pictures.append(picture.pixels)
    guidance = pair_regions(pictures[0], sets[0], pictures[1], sets[1])
    assert len(guidance.pairs) == 4
    assert not any(pair.orphan for pair in guidance.pairs) and not guidance.notes


def test_the_demonstration_ends_with_picture_record_and_sheet(folder, capsys):
    assert load("scripts/demo.py").demonstrate(["--preset", "instant"]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[-3:])
    assert said.keys() == {"picture", "record", "sheet"}
    assert all(Path(path).is_file() for path in said.values())
