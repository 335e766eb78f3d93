"""The documents are executed: commands run, examples run, names exist, tables are the code's.

`python tests/test_docs.py` writes the table of presets into the README.
"""

import importlib
import importlib.util
import re
import shlex
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image
from skimage import data

from photostyle.cli import program as cli
from photostyle.cli.arguments import parse_config
from photostyle.cli.console import BAD_INPUT, DONE, FAILED, INTERRUPTED
from photostyle.cli.masks import MasksCommand, SegmentCommand
from photostyle.cli.run import RerunCommand
from photostyle.cli.score import ScoreCommand
from photostyle.cli.search import SearchCommand
from photostyle.config import Config
from photostyle.files.images import read_image
from photostyle.files.masks import read_masks
from photostyle.losses.weights import convolutions
from photostyle.presets import PRESETS, configure
from photostyle.regions.guidance import pair_regions
from segmentation import make
from segmentation.groups import GROUPS
from segmentation.networks import Segmenter

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8") if README.is_file() else ""
DOCUMENTS = sorted([README, ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("experiments/*.md")])
COMMANDS = re.findall(r"^(?:photostyle|python scripts/\w+\.py) .+$", TEXT, re.M)

BEGIN = "<!-- presets: written by `python tests/test_docs.py` from photostyle/presets.py -->\n"
END = "<!-- /presets -->"


def preset_table() -> str:
    """What every preset stands for, from presets.py."""
    rows = [
        "| | size | start | evaluations | optimiser | terms | smoothing |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in PRESETS:
        config = configure(name, content="c", style="s")
        cells = (
            f"`{name}`",
            f"{config.size}",
            {"colour": "recoloured photo"}.get(config.start, config.start),
            evaluations(config),
            {"adam": "Adam", "lbfgs": "L-BFGS"}[config.optimiser] if any(config.iterations) else "–",
            terms(config) if any(config.iterations) else "–",
            f"{config.smooth_radius} / {config.smooth_edge:g}" if config.smooth_radius else "–",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def evaluations(config: Config) -> str:
    stages = ", ".join(f"{count}" for count in config.iterations)
    return f"{config.first_pass} + {stages}" if config.first_pass else stages


def terms(config: Config) -> str:
    named = {
        "content": config.content_weight,
        "Gram": config.gram_weight,
        "patches": config.patch_weight,
        "texture": config.texture_weight,
        "structure": config.structure_weight,
        "variation": config.variation_weight,
    }
    parts = [f"{name} {weight:g}" for name, weight in named.items() if weight]
    scales = (config.photorealism_weight, *config.photorealism_coarse)
    parts.append("photorealism " + " ".join(f"{weight:g}" for weight in scales))
    return ", ".join(parts)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```$", TEXT, re.M | re.S)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Where the README's files lie: two photographs, their masks, a network of two channels; and no cached weights."""
    for name, photo in (("photo", data.coffee()), ("sunset", data.chelsea()), ("harbour", data.rocket())):
        small = Image.fromarray(photo).resize((72, 48))
        small.save(tmp_path / f"{name}.jpg")
        mask = Image.new("RGB", small.size, "#0000ff")
        mask.paste("#00ff00", (0, 24, 72, 48))
        mask.save(tmp_path / f"{name}_mask.png")
    Image.new("RGB", (72, 48), "#0000ff").save(tmp_path / "sky.png")
    Image.new("RGB", (72, 48), "#00ff00").save(tmp_path / "land.png")
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
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(make, "find_segmenter", lambda *_, **__: SEGMENTER)
    monkeypatch.setattr(make, "group_probabilities", strips)
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


def test_every_command_in_the_readme_works_in_turn(folder):
    names = {arguments_of(command)[0] for command in COMMANDS}
    assert names == cli.COMMANDS.keys(), "the README shows every command"
    for command in COMMANDS:
        # Two evaluations and no network: what is tested is that the command is understood and does its job.
        name, *arguments = arguments_of(command)
        short = ["--iterations", "2", "--no-download"] if name in ("run", "search") else []
        assert cli.main([name, *arguments, *short]) == 0, command
        if name == "run":
            output = parse_config([*arguments, *short]).output
            assert output.is_file() and output.with_suffix(".json").is_file(), command
    assert not (folder / "torch").exists(), "nothing was downloaded"


def test_the_python_example_runs(folder, capsys):
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    assert (folder / "out.png").is_file()
    assert "#0000ff takes its style from #0000ff" in capsys.readouterr().out


def test_the_legends_are_read(folder):
    labels, painting, soft = blocks("toml")
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


def test_every_option_that_is_mentioned_exists():
    dataclasses = (Config, MasksCommand, SegmentCommand, SearchCommand, ScoreCommand, RerunCommand)
    known = {field.name.replace("_", "-") for each in dataclasses for field in fields(each)} | {"help"}
    known |= {
        "data",
        "part",
        "full",
        "config",
    }  # of scripts/experiment.py, and what run takes beside its fields
    for document in DOCUMENTS:
        mentioned = re.findall(r"(?<![\w!-])--(?:no-)?([a-z][a-z-]+)", document.read_text(encoding="utf-8"))
        assert set(mentioned) <= known, document.name


def test_every_preset_is_explained():
    section = TEXT.partition("## Presets")[2]
    explained = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", section, re.M)
    assert set(explained) == {"auto", *PRESETS}


def test_the_table_of_presets_is_the_code_s():
    assert BEGIN + preset_table() + END in TEXT, "run `python tests/test_docs.py`"


def test_the_exit_codes_are_the_code_s():
    table = re.search(r"^\| Exit code \|.+?(?=\n\n)", TEXT, re.M | re.S)
    assert table
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", table[0], re.M)]
    assert codes == [DONE, FAILED, BAD_INPUT, INTERRUPTED]


def test_every_function_that_is_named_exists():
    modules: dict[str, list[ModuleType]] = {}
    for path in (*ROOT.glob("photostyle/**/[a-z]*.py"), *ROOT.glob("segmentation/*.py")):
        dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        modules.setdefault(path.stem, []).append(importlib.import_module(dotted))
    named = 0
    for document in DOCUMENTS:
        for module, name in re.findall(r"`(\w+)\.(\w+)`", document.read_text(encoding="utf-8")):
            if module in modules and name not in ("py", "toml", "png", "html"):
                assert any(hasattr(each, name) for each in modules[module]), f"{module}.{name}"
                named += 1
    assert named > 20  # the table of method.md alone has more


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_files_resolve(document):
    links = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_pictures_are_small_enough_for_a_repository():
    for picture in ROOT.glob("docs/images/*"):
        assert picture.suffix == ".jpg" and picture.stat().st_size < 150_000, picture.name


def test_the_first_screen_has_the_two_commands_and_the_picture():
    screen = "\n".join(TEXT.splitlines()[:20])
    for expected in ("scripts/demo", "scripts/check", "docs/images/demo.jpg"):
        assert expected in screen
        assert (ROOT / expected).is_file()


def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", ROOT / "scripts/demo.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_demonstration_s_masks_pair_region_by_region(folder):
    files = demo().write_inputs()
    sets, pictures = [], []
    for name in ("content", "style"):
        picture = read_image(files[name])
        sets.append(read_masks(files[f"{name}_mask"], picture.path, picture.height, picture.width))
        pictures.append(picture.pixels)
    guidance = pair_regions(pictures[0], sets[0], pictures[1], sets[1])
    assert len(guidance.pairs) == 4
    assert not any(pair.orphan for pair in guidance.pairs) and not guidance.notes


def test_the_demonstration_ends_with_picture_record_and_sheet(folder, capsys):
    assert demo().demonstrate(["--preset", "instant"]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[-3:])
    assert said.keys() == {"picture", "record", "sheet"}
    assert all(Path(path).is_file() for path in said.values())


if __name__ == "__main__":
    before, rest = TEXT.split(BEGIN)
    README.write_text(before + BEGIN + preset_table() + END + rest.split(END, 1)[1], encoding="utf-8")
