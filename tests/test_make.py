"""Masks without painting, from photographs to regions that correspond."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.files.images import Picture, read_image
from photostyle.regions.guidance import WHOLE
from segmentation import make
from segmentation.groups import GROUPS
from segmentation.make import MaskOptions, make_masks
from segmentation.networks import Segmenter, SegmenterNotFound

pytestmark = pytest.mark.usefixtures("one_start")
ROWS = {group.name: row for row, group in enumerate(GROUPS)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> tuple[Picture, Picture]:
    """Two photographs as files: a cup on a table, a launch pad at dusk."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, photo in (("coffee", data.coffee()), ("rocket", data.rocket())):
        Image.fromarray(photo).resize((150, 100)).save(folder / f"{name}.png")
    return read_image(folder / "coffee.png"), read_image(folder / "rocket.png")


class Oracle:
    """Stands for a network: each picture's probabilities are what a test says, by picture size."""

    def __init__(self, monkeypatch, answers: dict[tuple[int, int], dict[str, Tensor]]) -> None:
        self.answers, self.asked = answers, list[dict]()
        monkeypatch.setattr(make, "find_segmenter", self.find)
        monkeypatch.setattr(make, "group_probabilities", self.probabilities)

    def find(self, name, revision=None, **options) -> Segmenter:
        self.asked.append({"name": name, "revision": revision, **options})
        made_for = {"size": 512, "stride": 32, "fixed": False, "mean": (0, 0, 0), "std": (1, 1, 1)}
        known = {
            "source": "folder",
            "revision": "r1",
            "sha256": "5" * 64,
            "licence": "MIT",
            "vocabulary": "ade20k",
        }
        return Segmenter(
            "oracle", **known, **made_for, network=torch.nn.Identity(), device=torch.device("cpu")
        )

    def probabilities(self, segmenter, photo: Tensor) -> Tensor:
        assert segmenter.name == "oracle"
        maps = torch.zeros(len(GROUPS), *photo.shape[1:])
        for name, map_ in self.answers[tuple(photo.shape[1:])].items():
            maps[ROWS[name]] = map_
        return maps


def halves(height: int, width: int, row: int) -> tuple[Tensor, Tensor]:
    upper = (torch.arange(height)[:, None] < row).float().expand(height, width)
    return upper, 1 - upper


def test_probabilities_become_named_regions_of_both_pictures(pictures, monkeypatch):
    sky, ground = halves(100, 150, 40)
    oracle = Oracle(monkeypatch, {(100, 150): {"sky": sky, "ground": ground}})
    made = make_masks(pictures, MaskOptions(refine=False))
    for regions in made.sets:
        assert set(regions.names) == {"sky", "ground"}
        found = dict(zip(regions.names, regions.masks, strict=True))
        torch.testing.assert_close(found["sky"], sky, atol=1e-4, rtol=0)
        torch.testing.assert_close(regions.masks.sum(0), torch.ones(100, 150))
    assert made.origin == {
        "method": "segmenter", "segmenter": "oracle", "revision": "r1", "sha256": "5" * 64, "licence": "MIT",
        "vocabulary": "ade20k", "refined": False,
    }  # fmt: skip
    assert oracle.asked == [
        {"name": "light", "revision": None, "download": True, "device": "cpu", "say": oracle.asked[0]["say"]}
    ]


def test_probabilities_stay_soft(pictures, monkeypatch):
    ramp = torch.linspace(0, 1, 150).expand(100, 150)
    Oracle(monkeypatch, {(100, 150): {"sky": ramp, "ground": 1 - ramp}})
    made = make_masks(pictures, MaskOptions(refine=False, sure=0.7))
    found = dict(zip(made.sets[0].names, made.sets[0].masks, strict=True))
    torch.testing.assert_close(found["sky"], ramp, atol=1e-4, rtol=0)


def test_a_trace_of_a_group_is_given_to_the_others_without_a_word(pictures, monkeypatch):
    sky, ground = halves(100, 150, 40)
    trace = torch.zeros(100, 150)
    trace[90, 90] = 1  # one pixel of 15000 that only "person" claims
    maps = {
        "sky": 0.9 * sky,
        "ground": 0.9 * ground * (1 - trace),
        "person": trace,
        "water": 0.1 * (1 - trace),
    }
    Oracle(monkeypatch, {(100, 150): maps})
    said = []
    made = make_masks(pictures, MaskOptions(refine=False), said.append)
    assert set(made.sets[0].names) == {"sky", "ground"}
    assert said == ["regions found by oracle, revision r1"]
    torch.testing.assert_close(made.sets[0].masks.sum(0), torch.ones(100, 150))
    torch.testing.assert_close(made.sets[0].masks[:, 90, 90], torch.full((2,), 0.5))


def test_a_related_label_stands_for_one_that_the_reference_lacks_and_it_is_said(
    pictures, tmp_path, monkeypatch
):
    photo = tmp_path / "sunset.png"
    Image.fromarray(data.rocket()).resize((120, 80)).save(photo)
    sky, ground = halves(100, 150, 40)
    trees = torch.zeros(100, 150)
    trees[60:, :50] = 1
    answers = {
        (100, 150): {"sky": sky, "ground": ground * (1 - trees), "vegetation": trees},
        (80, 120): dict(zip(("sky", "mountain"), halves(80, 120, 30), strict=True)),
    }
    Oracle(monkeypatch, answers)
    said = []
    made = make_masks((pictures[0], read_image(photo)), MaskOptions(refine=False), said.append)
    assert set(made.sets[0].names) == {"sky", "ground", "vegetation"}
    assert set(made.sets[1].names) == {"sky", "vegetation"}
    _, note = said
    assert "mountain" in note and "vegetation" in note and "sunset.png" in note and "coffee.png" in note
    # A mountain is no vegetation, and the ground has no partner in meaning.
    sure = dict(zip(made.sets[0].names, made.sets[0].confidence, strict=True))
    assert sure == {"sky": pytest.approx(1), "vegetation": 0, "ground": 0}


def unsure(height: int, width: int) -> dict[str, Tensor]:
    sky, ground = halves(height, width, 40)
    return {"sky": 0.2 + 0.6 * sky, "ground": 0.2 + 0.6 * ground}


@pytest.mark.slow
def test_what_an_unsure_network_says_is_not_used(pictures, monkeypatch):
    Oracle(monkeypatch, {(100, 150): unsure(100, 150)})
    said = []
    made = make_masks(pictures, MaskOptions(refine=False), said.append)
    assert "sky" not in made.sets[0].names and said[0].startswith("oracle is not sure of what it sees (80%")
    assert "clustering" in said[1]
    # The record has both: what was asked, and what made the masks.
    assert (made.origin["method"], made.origin["segmenter"]) == ("cluster", "oracle")


@pytest.mark.slow
def test_nor_one_that_sees_one_thing(pictures, monkeypatch):
    sky, ground = halves(100, 150, 5)
    Oracle(monkeypatch, {(100, 150): {"sky": sky, "ground": ground}})
    said = []
    make_masks(pictures, MaskOptions(refine=False), said.append)
    assert "hardly more than one region" in said[0]


def test_labels_that_are_spoken_of_by_name_are_used_all_the_same(pictures, monkeypatch):
    Oracle(monkeypatch, {(100, 150): unsure(100, 150)})
    made = make_masks(pictures, MaskOptions(refine=False, only=("sky",)))
    assert set(made.sets[0].names) == {"sky", "rest"}


def test_what_a_network_has_in_no_group_is_a_region(pictures, monkeypatch):
    sky, ground = halves(100, 150, 40)
    Oracle(monkeypatch, {(100, 150): {"sky": sky, "ground": ground * 0.05, "wall": 0 * sky}})
    made = make_masks(pictures, MaskOptions(refine=False, sure=0))
    found = dict(zip(made.sets[0].names, made.sets[0].masks, strict=True))
    assert found.keys() == {"sky", make.OTHER} and found[make.OTHER][60:].min() > 0.99


@pytest.mark.slow
def test_the_installed_features_are_clustered_and_recorded(pictures, monkeypatch, tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    used = []
    monkeypatch.setattr(make, "weights_file", lambda: file)
    monkeypatch.setattr(make, "load_network", lambda path: path)
    real = make.cluster
    monkeypatch.setattr(
        make, "cluster", lambda photos, seed, network: used.append(network) or real(photos, seed, None)
    )
    made = make_masks(pictures, MaskOptions(method="cluster", refine=False))
    digest = hashlib.sha256(b"weights").hexdigest()
    assert made.origin == {
        "method": "cluster", "seed": 612, "features": make.PACKAGE, "features_sha256": digest, "refined": False,
    }  # fmt: skip
    plain = make_masks(pictures, MaskOptions(method="cluster", refine=False, semantic=False))
    assert plain.origin["features"] == "colour" and used == [file, None]


def test_labels_are_merged_and_kept_as_asked(pictures, monkeypatch):
    left, right = torch.zeros(100, 150), torch.zeros(100, 150)
    left[40:, :75], right[40:, 75:] = 1, 1
    sky, _ = halves(100, 150, 40)
    Oracle(monkeypatch, {(100, 150): {"sky": sky, "ground": left, "building": right}})
    merged = make_masks(pictures, MaskOptions(refine=False, merge=("ground,building",)))
    assert set(merged.sets[0].names) == {"sky", "ground"}
    only = make_masks(pictures, MaskOptions(refine=False, only=("sky",)))
    assert set(only.sets[1].names) == {"sky", "rest"}
    with pytest.raises(PhotostyleError, match="clouds"):
        make_masks(pictures, MaskOptions(refine=False, only=("clouds",)))


def test_refinement_moves_borders_onto_the_photo_s(tmp_path, monkeypatch):
    """A dark disc on a light ground, a mask one to three pixels off all around: refined, it is the disc."""
    y, x = np.mgrid[:240, :320]
    disc = np.hypot(y - 120, x - 160) < 60
    pixels = np.where(disc, 60, 200).astype(np.uint8)
    Image.fromarray(np.stack([pixels] * 3, -1)).save(tmp_path / "disc.png")
    photo = read_image(tmp_path / "disc.png")
    rough = torch.from_numpy((np.hypot(y - 121, x - 160) < 62).astype(np.float32))
    Oracle(monkeypatch, {(240, 320): {"object": rough, "wall": 1 - rough}})
    truth = torch.from_numpy(disc.astype(np.float32))
    errors = {}
    for refine in (False, True):
        (regions,) = make_masks([photo], MaskOptions(refine=refine)).sets
        found = dict(zip(regions.names, regions.masks, strict=True))["object"]
        errors[refine] = float((found - truth).abs().mean())
    assert errors[True] < 0.25 * errors[False]


@pytest.mark.slow
def test_without_a_segmenter_auto_clusters_and_says_both(pictures, monkeypatch):
    def absent(*_, **__):
        raise SegmenterNotFound("light could not be loaded: no network")

    monkeypatch.setattr(make, "find_segmenter", absent)
    said = []
    made = make_masks(pictures, MaskOptions(refine=False), said.append)
    assert made.origin == {"method": "cluster", "seed": 612, "features": "colour", "refined": False}
    assert said[0].startswith("light could not be loaded: no network; ") and "no segmenter" in said[0]
    assert "\n" not in said[0] and len(said) == 2


@pytest.mark.parametrize("asked", [{"segmenter": "strong"}, {"revision": "abc"}])
def test_a_segmenter_that_is_asked_for_must_be_had(pictures, monkeypatch, asked):
    def absent(*_, **__):
        raise SegmenterNotFound("not here")

    monkeypatch.setattr(make, "find_segmenter", absent)
    with pytest.raises(SegmenterNotFound, match="not here"):
        make_masks(pictures, MaskOptions(**asked))


def test_cluster_asks_no_segmenter(pictures, monkeypatch):
    monkeypatch.setattr(make, "find_segmenter", lambda *_, **__: pytest.fail("asked"))
    made = make_masks(pictures, MaskOptions(method="cluster", refine=False, seed=5))
    assert made.origin["seed"] == 5 and made.sets[0].names == made.sets[1].names


def test_a_large_photo_is_searched_on_a_small_copy_and_comes_back_at_its_size(tmp_path, monkeypatch):
    Image.fromarray(data.rocket()).resize((300, 200)).save(tmp_path / "large.png")
    monkeypatch.setattr(make, "PIXELS", 15_000)
    sky, ground = halves(100, 150, 40)
    Oracle(monkeypatch, {(100, 150): {"sky": sky, "ground": ground}})
    (regions,) = make_masks([read_image(tmp_path / "large.png")], MaskOptions(refine=False)).sets
    assert regions.masks.shape == (2, 200, 300)
    found = dict(zip(regions.names, regions.masks, strict=True))["sky"]
    assert found[:78].min() == pytest.approx(1, abs=1e-4) and found[82:].max() == pytest.approx(0, abs=1e-4)


@pytest.mark.slow
def test_a_checkpoint_in_a_folder_is_run(pictures, checkpoint):
    """Random weights prove the path, not the masks, and are sure of nothing."""
    made = make_masks(pictures, MaskOptions(segmenter=str(checkpoint), sure=0, refine=False))
    assert made.origin["segmenter"] == str(checkpoint) and made.origin["vocabulary"] == "ade20k"
    assert set(made.sets[0].names) <= set(ROWS)
    for regions, picture in zip(made.sets, pictures, strict=True):
        assert regions.masks.shape[1:] == (picture.height, picture.width)
        torch.testing.assert_close(regions.masks.sum(0), torch.ones(picture.height, picture.width))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A quarter of a million random weights, saved as smp saves a model."""
    import segmentation_models_pytorch as smp

    folder = tmp_path_factory.mktemp("checkpoint") / "upernet"
    torch.manual_seed(0)
    model = smp.UPerNet("tu-test_convnext.r160_in1k", encoder_weights=None, classes=150, decoder_channels=16)
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_regions_that_nothing_relates_are_united_where_asked(pictures, monkeypatch):
    """Without deep features nothing tells which clusters of two pictures belong together."""
    monkeypatch.setattr(make, "weights_file", lambda: None)
    said = []
    made = make_masks(pictures, MaskOptions("cluster", refine=False, doubtful="unite"), said.append)
    assert [each.names for each in made.sets] == [WHOLE, WHOLE] and made.origin["method"] == "none"
    assert any("photostyle[semantic]" in text for text in said)
    kept = make_masks(pictures, MaskOptions("cluster", refine=False), said.append).sets
    assert len(kept[0].names) > 1 and set(kept[0].confidence) == {0.5}
