"""Every class of every vocabulary belongs to one group, and every group knows who stands in for it."""

import dataclasses
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, rgb2lab
from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights

from photostyle.errors import PhotostyleError
from photostyle.files.palettes import LIKE_COLOURS
from segmentation.groups import GROUPS, VOCABULARIES, matrix

# cityscapesScripts, labels.py: the classes by trainId.
CITYSCAPES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign"),
    *("vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train"),
    *("motorcycle", "bicycle"),
)
# Some of the ADE20K challenge's objectInfo150, whose numbers start from 1: wall, building, sky, …, flag.
ADE20K_FROM_ONE = dict(
    [
        *[(1, "wall"), (2, "building"), (3, "sky"), (4, "floor"), (5, "tree"), (7, "road"), (13, "person")],
        *[(21, "car"), (22, "water"), (27, "sea"), (35, "rock"), (61, "river"), (73, "palm"), (84, "truck")],
        *[(115, "tent"), (129, "lake"), (131, "screen"), (150, "flag")],
    ]
)
BY_NAME = {group.name: group for group in GROUPS}


def names(vocabulary: str) -> dict[int, str]:
    return {number: name for group in GROUPS for number, name in group.classes[vocabulary].items()}


def group_of(vocabulary: str, number: int) -> str:
    return next(group.name for group in GROUPS if number in group.classes[vocabulary])


def channels(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


@pytest.mark.parametrize(("vocabulary", "count"), [("ade20k", 150), ("cityscapes", 19), ("voc", 21)])
def test_every_class_is_in_exactly_one_group(vocabulary, count):
    numbers = Counter(number for group in GROUPS for number in group.classes[vocabulary])
    assert numbers == Counter(range(count)) and VOCABULARIES[vocabulary] == count


def test_there_is_no_fourth_vocabulary():
    assert set(VOCABULARIES) == {"ade20k", "cityscapes", "voc"}
    assert all(set(group.classes) == set(VOCABULARIES) for group in GROUPS)


def test_the_classes_are_numbered_as_the_networks_number_them():
    voc = DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.meta["categories"]
    assert [names("voc")[number] for number in range(21)] == [name.strip("_") for name in voc]
    assert tuple(names("cityscapes")[number] for number in range(19)) == CITYSCAPES
    assert {number: names("ade20k")[number - 1] for number in ADE20K_FROM_ONE} == ADE20K_FROM_ONE
    assert len(set(names("ade20k").values())) == 150


@pytest.mark.parametrize(
    ("vocabulary", "number", "group"),
    [
        *(("ade20k", 2, "sky"), ("ade20k", 26, "water"), ("ade20k", 4, "vegetation")),
        *(("ade20k", 12, "person"), ("ade20k", 0, "wall"), ("ade20k", 1, "building")),
        *(("cityscapes", 10, "sky"), ("cityscapes", 3, "building"), ("cityscapes", 12, "person")),
        *(("voc", 15, "person"), ("voc", 7, "vehicle"), ("voc", 8, "object")),
    ],
)
def test_a_class_is_where_a_photographer_would_look_for_it(vocabulary, number, group):
    assert group_of(vocabulary, number) == group


def test_what_voc_does_not_name_is_a_group_by_itself():
    assert dict(BY_NAME["background"].classes["voc"]) == {0: "background"}
    assert not BY_NAME["background"].classes["ade20k"] and not BY_NAME["background"].classes["cityscapes"]
    # A group of VOC's that finds no relative keeps to the scene, not to the other picture's people and cars.
    ends = [group.related[-1:] for group in GROUPS if group.classes["voc"] and group.name != "background"]
    assert set(ends) == {("background",)}


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_a_stand_in_is_another_group(group):
    assert set(group.related) <= BY_NAME.keys() - {group.name}
    assert len(set(group.related)) == len(group.related)


def test_names_and_colours_tell_the_groups_apart():
    assert len(BY_NAME) == len(GROUPS) == 14
    for one, other in combinations(GROUPS, 2):
        a, b = channels(one.colour), channels(other.colour)
        # A mask that JPEG went over is read in clusters of this radius, rounded to bins of 8 levels.
        assert np.abs(a - b).max() >= LIKE_COLOURS + 8, (one.name, other.name)
        # ISO/CIE 11664-6 calls 1 just noticeable beside each other; patches apart need an order more.
        assert deltaE_ciede2000(rgb2lab(a / 255), rgb2lab(b / 255)) > 15, (one.name, other.name)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_the_matrix_adds_up_the_classes_of_each_group(vocabulary):
    sums = matrix(vocabulary)
    assert sums.shape == (len(GROUPS), VOCABULARIES[vocabulary]) and sums.dtype == torch.float32
    assert torch.equal(sums.sum(0), torch.ones(VOCABULARIES[vocabulary]))
    for row, group in zip(sums, GROUPS, strict=True):
        assert row.nonzero().flatten().tolist() == sorted(group.classes[vocabulary])
        assert set(row.tolist()) <= {0.0, 1.0}
    assert matrix(vocabulary, "meta").device.type == "meta"


def test_an_unknown_vocabulary_is_named():
    with pytest.raises(
        PhotostyleError, match=r'^unknown vocabulary "coco": give ade20k or cityscapes or voc$'
    ):
        matrix("coco")


def test_the_table_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GROUPS[0].name = "ground"
    with pytest.raises(TypeError):
        GROUPS[0].classes["ade20k"] = {}
    with pytest.raises(TypeError):
        GROUPS[0].classes["ade20k"][0] = "wall"
