"""A segmenter in an ONNX file: what is said about it, what it is given, and what comes of its classes."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data
from torch import Tensor

from experiments.kinds.masks import DESCRIPTION
from photostyle.errors import PhotostyleError
from photostyle.files.images import read_image
from photostyle.files.masks import read_masks
from segmentation import onnx_file
from segmentation.groups import GROUPS
from segmentation.inference import group_probabilities
from segmentation.networks import find_segmenter

ROWS = {group.name: row for row, group in enumerate(GROUPS)}
CLASSES = ["other", "sky", "tree", "grass"]
# Each class by its colour: other black, sky blue, tree green, grass red; grass and tree are one group.
COLOURS = torch.tensor([(0.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)])
SHARPNESS = 100
SAID = {"vocabulary": "ade20k", "classes": CLASSES, "mean": [0, 0, 0], "std": [1, 1, 1]}


def save(file: Path, sides: tuple = (16, 16), metadata: Mapping[str, str] | None = None) -> Path:
    """A graph of one convolution whose logits are -SHARPNESS |x - c|² of each class's colour c, less what all share."""
    weight = 2 * SHARPNESS * COLOURS.numpy()[:, :, None, None]
    bias = -SHARPNESS * COLOURS.square().sum(1).numpy()
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w", "b"], ["logits"])],
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *sides])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4, *sides])],
        [numpy_helper.from_array(weight.astype(np.float32), "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, file)
    return file


def describe(file: Path, **said) -> None:
    lines = [f"{key} = {json.dumps(value)}" for key, value in (SAID | said).items() if value is not None]
    file.with_suffix(".toml").write_text("\n".join(lines))


def stripes(height: int, width: int) -> Tensor:
    """Blue over green over black, the last third red on the right."""
    photo = torch.zeros(3, height, width)
    third = height // 3
    photo[2, :third], photo[1, third : 2 * third], photo[0, 2 * third :, width // 2 :] = 1, 1, 1
    return photo


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return save(tmp_path / "colours.onnx")


def refusal(file: Path, **options) -> str:
    with pytest.raises(PhotostyleError) as caught:
        find_segmenter(str(file), **options)
    assert "\n" not in str(caught.value) and str(file.with_suffix("")) in str(caught.value)
    return str(caught.value)


def test_its_classes_become_groups_and_what_is_in_none_stays_outside(graph):
    describe(graph, licence="CC0")
    segmenter = find_segmenter(str(graph))
    digest = hashlib.sha256(graph.read_bytes()).hexdigest()
    assert (segmenter.source, segmenter.sha256, segmenter.revision) == ("file", digest, digest)
    assert (segmenter.vocabulary, segmenter.licence, segmenter.squeezed) == ("ade20k", "CC0", (16, 16))
    found = group_probabilities(segmenter, stripes(48, 48))
    middle = np.s_[..., 24, :]
    assert found[ROWS["sky"], 8].min() > 0.99
    assert found[(ROWS["vegetation"], *middle[1:])].min() > 0.99
    assert found[ROWS["vegetation"], 40, 32:].min() > 0.99  # red is grass
    assert found[:, 40, :16].sum(0).max() < 0.01  # black is "other"


def test_the_whole_picture_is_squeezed_into_a_graph_of_one_size(graph):
    describe(graph)
    segmenter = find_segmenter(str(graph))
    given = []
    segmenter.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].shape))
    found = group_probabilities(segmenter, stripes(48, 200), window=True)
    assert given == [(1, 3, 16, 16)]
    assert found.shape == (len(GROUPS), 48, 200) and found[ROWS["sky"], 6].min() > 0.99


def test_a_graph_of_any_size_is_given_the_short_side_that_it_was_made_for(tmp_path):
    graph = save(tmp_path / "any.onnx", ("height", "width"))
    describe(graph, size=24, stride=8)
    segmenter = find_segmenter(str(graph))
    given = []
    segmenter.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].shape))
    group_probabilities(segmenter, stripes(48, 90))
    assert given == [(1, 3, 24, 48)]  # 45 wide, padded to a multiple of 8
    describe(graph)
    assert "lacks size" in refusal(graph)


def test_pixels_are_scaled_before_the_mean_is_taken(graph):
    """Against the formula: (255 x - 127) / 128 of white and of black."""
    describe(graph, scale=255, mean=[127] * 3, std=[128] * 3)
    segmenter = find_segmenter(str(graph))
    given = []
    segmenter.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    for grey in (0.0, 1.0):
        group_probabilities(segmenter, torch.full((3, 16, 16), grey))
        torch.testing.assert_close(given.pop(), torch.full((1, 3, 16, 16), (255 * grey - 127) / 128))


def test_metadata_describe_it_where_no_file_does(tmp_path):
    said = {key: value if isinstance(value, str) else json.dumps(value) for key, value in SAID.items()}
    graph = save(tmp_path / "told.onnx", metadata=said | {"exporter": "some other tool's"})
    assert find_segmenter(str(graph)).classes == tuple(CLASSES)
    describe(graph, classes=["sky", "other", "tree", "grass"])
    assert find_segmenter(str(graph)).classes[0] == "sky"  # the file comes first: a person can edit it


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"classes": None}, ["lacks classes"]),
        ({"mean": None, "std": None}, ["lacks mean, std"]),
        ({"vocabulary": "coco"}, ["'coco'", "ade20k"]),
        ({"classes": ["other", "skyy", "tree", "grass"]}, ["'skyy'", "did you mean 'sky'"]),
        ({"classes": "sky"}, ["a list of names"]),
        ({"classes": ["sky", "tree"]}, ["names 2 classes", "gives 4"]),
        ({"mean": [0, 0]}, ["three numbers"]),
        ({"std": [1, 0, 1]}, ["above 0"]),
        ({"scale": "big"}, ["'big'", "a number above 0"]),
        ({"strides": 8}, ["strides", "did you mean stride"]),
    ],
)
def test_a_faulty_description_is_one_line(graph, said, words):
    describe(graph, **said)
    for word in words:
        assert word in refusal(graph)


def test_without_a_description_it_says_where_to_write_one(graph):
    assert "lacks vocabulary, classes, mean, std" in refusal(graph) and "colours.toml" in refusal(graph)


@pytest.mark.parametrize(
    ("taken", "given", "word"),
    [
        ([1, 16, 16, 3], [1, 16, 16, 3], "expected one tensor(float) [1, 3, H, W]"),
        ([1, 3, 16, "w"], [1, 3, 16, "w"], "fixes one side"),
        ([1, 3, 16, 16], [3, 16, 16], "expected logits [1, classes, h, w]"),
    ],
)
def test_a_graph_of_another_kind_is_one_line(tmp_path, taken, given, word):
    squeeze = numpy_helper.from_array(np.array([0]), "axes")
    node = helper.make_node("Identity" if len(taken) == len(given) else "Squeeze", ["image"], ["out"])
    if len(taken) != len(given):
        node.input.append("axes")
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", taken), ("out", given))
    ]
    graph = helper.make_graph([node], "odd", values[:1], values[1:], [squeeze])
    file = tmp_path / "odd.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    describe(file)
    assert word in refusal(file)


def test_what_is_no_graph_and_what_is_no_toml_is_one_line(graph):
    graph.with_suffix(".toml").write_text("classes = [")
    assert "is no TOML file" in refusal(graph)
    describe(graph)
    graph.write_bytes(b"no graph")
    assert "is no ONNX graph that can be run" in refusal(graph)


@pytest.mark.parametrize("place", ["../secret.bin", "{parent}/secret.bin", "link.bin", "weights.bin"])
def test_tensors_in_other_files_are_read_from_its_own_folder_alone(place, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "link.bin").symlink_to("../secret.bin")
    graph = save(folder / "colours.onnx")
    model = onnx.load(graph)
    data = model.graph.initializer[0].raw_data
    (tmp_path / "secret.bin").write_bytes(data)
    (folder / "weights.bin").write_bytes(data)
    set_external_data(model.graph.initializer[0], place.format(parent=tmp_path), length=len(data))
    model.graph.initializer[0].ClearField("raw_data")
    graph.write_bytes(model.SerializeToString())
    describe(graph)
    if place == "weights.bin":
        assert find_segmenter(str(graph)).squeezed == (16, 16)
    else:
        assert "is no ONNX graph that can be run" in refusal(graph)


def test_another_file_than_was_pinned_is_refused(graph):
    describe(graph)
    digest = hashlib.sha256(graph.read_bytes()).hexdigest()
    assert find_segmenter(str(graph), digest[:12]).sha256 == digest
    assert "SHA-256" in refusal(graph, revision="0" * 12)


def test_without_onnx_runtime_it_says_how_to_get_it(graph, monkeypatch):
    describe(graph)
    monkeypatch.setattr(onnx_file.importlib.util, "find_spec", lambda name: None)
    assert onnx_file.INSTALL in refusal(graph)


def test_a_real_network_finds_the_sky(shared, tmp_path):
    """DESCRIPTION of MLPerf Mobile on a published skyline: the painted sky, to 0.9 of intersection over union."""
    file = shared / "segmenters" / "mosaic.onnx"
    if not file.is_file():
        pytest.skip(f"no {file}")
    (tmp_path / "mosaic.onnx").symlink_to(file)
    (tmp_path / "mosaic.toml").write_text(DESCRIPTION)
    segmenter = find_segmenter(str(tmp_path / "mosaic.onnx"))
    assert segmenter.licence == "Apache-2.0" and segmenter.squeezed == (512, 512)
    photo = read_image(shared / "dpst" / "input" / "in3.png")
    painted = read_masks(shared / "dpst" / "segmentation" / "in3.png", photo.path, photo.height, photo.width)
    found = group_probabilities(segmenter, photo.pixels)[ROWS["sky"]] > 0.5
    best = max(((mask > 0.5) & found).sum() / ((mask > 0.5) | found).sum() for mask in painted.masks)
    assert best > 0.9
