"""Masks without painting from the command line: what is written, said and recorded, and how it ends."""

import json
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from PIL import Image
from skimage import data

from photostyle.cli import main
from photostyle.cli.console import BAD_INPUT, DONE
from photostyle.files.images import read_image
from photostyle.files.masks import read_masks
from photostyle.losses import weights as weight_files
from segmentation import make

SIZES = ["--size", "64", "--coarsest", "64", "--iterations", "2", "--no-metrics", "--device", "cpu"]
PHOTOS = ["--content", "photo.png", "--style", "style.png"]
RUN = ["run", *PHOTOS, "--preset", "patches", *SIZES]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights as smp saves a model: they prove the path, not the masks."""
    folder = tmp_path_factory.mktemp("checkpoint") / "upernet"
    torch.manual_seed(0)
    network = smp.UPerNet(
        "tu-test_convnext.r160_in1k", encoder_weights=None, classes=150, decoder_channels=16
    )
    network.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_start: None) -> Path:
    """The working directory with two photographs, no weights in any cache and no network."""
    Image.fromarray(data.coffee()).resize((96, 64)).save(tmp_path / "photo.png")
    Image.fromarray(data.rocket()).resize((90, 60)).save(tmp_path / "style.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(weight_files, "reachable", lambda url: False)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def record(name: str = "out.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(name).read_text(encoding="utf-8"))
    return found


def read(mask: str, photo: str) -> Any:
    picture = read_image(Path(photo))
    return read_masks(Path(mask), picture.path, picture.height, picture.width)


# run


def test_without_masks_they_are_made_and_said_and_recorded(folder: Path, capsys: Any) -> None:
    assert main(RUN) == DONE
    said = capsys.readouterr().err.splitlines()
    (fallen_back,) = [line for line in said if "no segmenter" in line]
    assert fallen_back.startswith("note: smp-hub/upernet-convnext-tiny could not be loaded")
    assert any("look at out-masks/preview.png" in line for line in said)
    assert Path("out-masks/preview.png").is_file()
    made = record()
    how = {
        "method": "none",
        "refined": True,
        "asked": "auto",
    }  # nothing is installed that tells what belongs together
    assert made["segmentation"] == how
    assert made["config"]["masks"] == [str(folder / "out-masks" / side) for side in ("content", "style")]
    assert made["inputs"]["content mask"]["sha256"] == read("out-masks/content", "photo.png").sha256
    assert {pair["name"] for pair in made["regions"]} == set(read("out-masks/content", "photo.png").names)


def test_a_rerun_needs_no_segmenter(folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    main(RUN)
    monkeypatch.setattr(make, "make_masks", lambda *_: pytest.fail("masks were made again"))
    assert main(["rerun", "out.json"]) == DONE
    assert "the same bytes" in capsys.readouterr().out
    assert record("out-rerun.json")["segmentation"] == record()["segmentation"]


@pytest.mark.slow
def test_the_same_run_again_replaces_its_own_masks(folder: Path) -> None:
    main([*RUN, "--masks", "cluster", "--quiet"])
    before = contents(folder / "out-masks")
    assert main([*RUN, "--masks", "cluster", "--quiet"]) == DONE
    assert contents(folder / "out-masks") == before


@pytest.mark.slow
def test_masks_that_were_edited_are_never_overwritten(folder: Path, capsys: Any) -> None:
    main([*RUN, "--masks", "cluster", "--quiet"])
    painted = next(Path("out-masks/content").glob("*.png"))
    Image.new("L", (96, 64), 90).save(painted)
    before = contents(folder)
    capsys.readouterr()
    assert main([*RUN, "--masks", "cluster", "--quiet"]) == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert "out-masks/content" in line and "choose another --output" in line
    assert contents(folder) == before


@pytest.mark.slow
def test_cluster_asks_for_no_network(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(make, "find_segmenter", lambda *_, **__: pytest.fail("a segmenter was asked for"))
    assert main([*RUN, "--masks", "cluster"]) == DONE
    assert record()["segmentation"]["asked"] == "cluster"


@pytest.mark.slow
def test_auto_runs_a_local_checkpoint_and_records_which(
    folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "MaskOptions", partial(make.MaskOptions, sure=0))
    assert main([*RUN, "--masks", "auto", "--segmenter", str(checkpoint), "--quiet"]) == DONE
    made = record()["segmentation"]
    assert made["method"] == "segmenter" and made["segmenter"] == str(checkpoint)
    assert len(made["sha256"]) == 64 and made["licence"] == "not stated" and made["asked"] == "auto"


def test_a_segmenter_that_is_named_must_be_had(folder: Path, capsys: Any) -> None:
    before = contents(folder)
    assert main([*RUN, "--segmenter", "strong", "--quiet"]) == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert "smp-hub/upernet-convnext-large could not be loaded" in line
    assert contents(folder) == before


def test_bad_weights_are_found_before_masks_are_made(folder: Path) -> None:
    Path("bad.pth").write_bytes(b"no weights")
    assert main([*RUN, "--weights", "bad.pth", "--gram-weight", "1", "--quiet"]) == BAD_INPUT
    assert not Path("out-masks").exists()


def test_a_segmenter_beside_given_masks_is_said_to_be_unused(folder: Path, capsys: Any) -> None:
    assert main([*RUN, "--masks", "none", "--segmenter", "light"]) == DONE
    assert "--segmenter is not used" in capsys.readouterr().err
    assert main([*RUN, "--masks", "cluster", "--segmenter", "light"]) == BAD_INPUT


# segment


def test_segment_writes_a_folder_for_each_photo_a_preview_and_says_what_to_do(
    folder: Path, capsys: Any
) -> None:
    assert main(["segment", "photo.png", "style.png", "-o", "masks", "--method", "cluster"]) == DONE
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["colour", "region", "photo.png", "style.png", "sure"]
    assert "photostyle photo.png style.png --masks masks/photo masks/style" in out.splitlines()
    ours, theirs = read("masks/photo", "photo.png"), read("masks/style", "style.png")
    assert ours.names == theirs.names and ours.colours == theirs.colours
    assert Path("masks/preview.png").is_file()
    assert main([*RUN, "--masks", "masks/photo", "masks/style", "--quiet"]) == DONE


@pytest.mark.slow
@pytest.mark.situation("a command to copy")
def test_the_command_that_segment_prints_names_its_files(folder: Path, capsys: Any) -> None:
    photos = ["my photo's.png", "-style.png"]
    for old, new in zip(("photo.png", "style.png"), photos, strict=True):
        Path(old).rename(new)
    said = ["segment", photos[0], f"./{photos[1]}", "-o", "my masks", "--method", "cluster"]
    assert main(said) == DONE
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    masks = ["my masks/my photo's", "my masks/-style"]
    assert words == ["photostyle", photos[0], f"./{photos[1]}", "--masks", *masks]
    assert all(Path(each).exists() for each in words if "/" in each or "photo's" in each)


def test_a_folder_of_masks_that_cannot_be_is_refused_before_any_work(folder: Path, capsys: Any) -> None:
    assert main(["segment", "photo.png", "-o", "y" * 300, "--method", "cluster"]) == BAD_INPUT
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_a_flat_picture_to_repaint(folder: Path) -> None:
    options = ["--method", "cluster", "--kind", "colours", "--output", "paint"]
    assert main(["segment", "photo.png", "style.png", *options]) == DONE
    before = read("paint/photo", "photo.png")
    with Image.open("paint/photo/masks.png") as painting:
        pixels = np.array(painting)
    pixels[:20, :30] = (255, 0, 255)
    Image.fromarray(pixels).save("paint/photo/masks.png")
    after = read("paint/photo", "photo.png")
    assert set(after.names) == {*before.names, "#ff00ff"}
    assert after.masks[after.names.index("#ff00ff"), :20, :30].min() == 1


@pytest.mark.slow
def test_sixteen_bits_come_back(folder: Path) -> None:
    main(["segment", "photo.png", "--method", "cluster", "--depth", "16"])
    with Image.open(next(Path("masks/photo").glob("*.png"))) as mask:
        assert mask.mode == "I;16"
    masks = read("masks/photo", "photo.png").masks
    assert torch.allclose(masks.sum(0), torch.ones(64, 96), atol=1e-6)


@pytest.mark.slow
def test_labels_are_merged_as_asked_and_wrong_names_are_one_line(folder: Path, capsys: Any) -> None:
    options = ["segment", "photo.png", "style.png", "--method", "cluster", "--no-refine-masks"]
    assert main([*options, "-o", "zero"]) == DONE
    first, second = read("zero/photo", "photo.png").names[:2]
    assert main([*options, "-o", "one", "--merge", f"{first},{second}"]) == DONE
    assert second not in read("one/photo", "photo.png").names
    assert main([*options, "-o", "two", "--only", first]) == DONE
    assert set(read("two/style", "style.png").names) == {first, "rest"}
    capsys.readouterr()
    assert main([*options, "-o", "three", "--only", "sky"]) == BAD_INPUT
    assert first in capsys.readouterr().err.splitlines()[-1] and not Path("three").exists()


@pytest.mark.slow
def test_how_sure_a_region_is_is_in_the_table_and_in_the_legend(
    folder: Path, checkpoint: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "MaskOptions", partial(make.MaskOptions, sure=0))
    for kind in ("soft", "colours"):
        options = ["--segmenter", str(checkpoint), "--no-refine-masks", "--kind", kind, "-o", kind]
        assert main(["segment", "photo.png", "style.png", *options]) == DONE
        head, *lines = capsys.readouterr().out.splitlines()
        regions = read(f"{kind}/photo", "photo.png")
        assert head.split()[-1] == "sure" and len(regions.confidence) == len(regions.names)
        said = {line.split()[1]: line.split()[-1] for line in lines if line.startswith("#")}
        for name, sure in zip(regions.names, regions.confidence, strict=True):
            assert float(said[name]) == pytest.approx(sure, abs=0.006)


@pytest.mark.slow
def test_photos_are_segmented_one_by_one_where_asked(
    folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        make, "fit_labels", lambda sets, *_, **__: asked.append(len(sets)) or (list(sets), ())
    )
    options = ["segment", "photo.png", "style.png", "--segmenter", str(checkpoint), "--no-refine-masks"]
    assert main([*options, "-o", "together"]) == DONE and asked == [2]
    assert main([*options, "-o", "apart", "--each"]) == DONE and asked == [2, 1, 1]


@pytest.mark.slow
def test_photos_of_one_name_get_folders_of_their_own(folder: Path) -> None:
    Path("other").mkdir()
    Path("style.png").rename("other/photo.png")
    assert main(["segment", "photo.png", "other/photo.png", "--method", "cluster"]) == DONE
    assert Path("masks/photo/legend.toml").is_file() and Path("masks/photo-2/legend.toml").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no photograph was given"),
        (["gone.png"], "gone.png does not exist"),
        (["photo.png", "--segmenter", "lihgt"], "did you mean 'light'?"),
        (["photo.png", "--segmenter-revision", "0123"], "could not be loaded"),
        (["photo.png", "-o", "style.png"], "style.png"),
        (["photo.png", "--depth", "12"], "--depth"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    folder: Path, capsys: Any, arguments: list[str], said: str
) -> None:
    before = contents(folder)
    assert main(["segment", *arguments]) == BAD_INPUT
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note:")]
    assert said in line
    assert contents(folder) == before


def test_a_photo_is_not_overwritten_by_the_preview(folder: Path, capsys: Any) -> None:
    Path("photo.png").rename("preview.png")
    assert main(["segment", "preview.png", "-o", ".", "--method", "cluster"]) == BAD_INPUT
    assert "preview.png is an input and would be overwritten" in capsys.readouterr().err
