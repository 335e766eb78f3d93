"""A segmenter in an ONNX file: the graph, and what a graph does not say, its classes and what its input must be like.

That stands in a TOML file beside it (FILE.toml beside FILE.onnx), or under the same keys in the metadata of the graph,
where lists are JSON:

    vocabulary = "ade20k"        # in whose words the classes are named: ade20k, cityscapes or voc
    classes = ["other", "wall"]  # in the order of the output's channels; "other" and the like are in no group
    mean = [0.485, 0.456, 0.406]  # what is taken from RGB in [0, 1], and what the rest is divided by:
    std = [0.229, 0.224, 0.225]   # zeros and ones where the graph normalises by itself
    scale = 1                    # optional: what white is before that, 255 for (RGB - 127) / 128
    size = 512                   # the short side it was made for, where the graph takes any size
    stride = 32                  # optional, there: both sides are multiples of it
    licence = "Apache-2.0"       # optional: of the weights

A graph of one size is given the whole picture at that size, whatever the picture's aspect. Input: float (1, 3, H, W).
Output: logits (1, classes, h, w).
"""

import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from photostyle.errors import PhotostyleError, did_you_mean
from photostyle.files.reading import MOST_TEXT, file_bytes, parsed_toml
from segmentation.architectures import Architecture
from segmentation.groups import NO_GROUP, VOCABULARIES, class_names
from segmentation.hub import one_line

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

INSTALL = "pip install 'photostyle[onnx]'"
SUFFIX = ".onnx"
REQUIRED = ("vocabulary", "classes", "mean", "std")
OPTIONAL = ("scale", "size", "stride", "licence")
STRIDE = 32  # of most encoders: five times halved


class OnnxNetwork(nn.Module):
    """An ONNX graph as a network of torch, on the CPU: (1, 3, H, W) → logits (1, classes, h, w)."""

    def __init__(self, session: "InferenceSession") -> None:
        super().__init__()
        self.session = session

    def forward(self, batch: Tensor) -> Tensor:
        """The first output of the graph."""
        given = {self.session.get_inputs()[0].name: batch.cpu().numpy()}
        return torch.from_numpy(self.session.run(None, given)[0])


def onnx_model(file: Path) -> Architecture:
    """The segmenter of an ONNX file. Raises PhotostyleError, one line, where it or its description will not do."""
    session = _session(file)
    said, place = _description(session, file)
    vocabulary, classes = _classes(said, place)
    height, width = _sides(session, file)
    _check_channels(session, file, place, len(classes))
    mean, std = (_three(said, key, place) for key in ("mean", "std"))
    scale = float(_number(said, "scale", place, 1.0))
    if min(std) <= 0:
        raise PhotostyleError(f"{place} has std = {list(std)}; expected numbers above 0: correct it")
    if not height and "size" not in said:
        raise PhotostyleError(
            f"{place} lacks size, and {file} takes any: give the short side it was made for"
        )
    return Architecture(
        network=OnnxNetwork(session),
        vocabulary=vocabulary,
        stride=1 if height else int(_number(said, "stride", place, STRIDE)),
        size=height or int(_number(said, "size", place, 0)),
        squeezed=(height, width) if height else None,
        normalisation=(tuple(m / scale for m in mean), tuple(s / scale for s in std)),
        classes=classes,
        licence=str(said.get("licence", "")),
    )


def _session(file: Path) -> "InferenceSession":
    if importlib.util.find_spec("onnxruntime") is None:
        raise PhotostyleError(f"{file} needs ONNX Runtime, the extra onnx: {INSTALL}")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only: the terminal belongs to the caller
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a class of its own for each way in which a file is no graph
        raise PhotostyleError(
            f"{file} is no ONNX graph that can be run ({one_line(error)}): get it again"
        ) from error


def _description(session: "InferenceSession", file: Path) -> tuple[Mapping[str, Any], str]:
    """What is said about the graph, and where: in the file beside it, else in its metadata."""
    beside = file.with_suffix(".toml")
    if beside.is_file():
        place = str(beside)
        said = parsed_toml(beside, file_bytes(beside, MOST_TEXT))
    else:
        place = f"the metadata of {file}"
        metadata = session.get_modelmeta().custom_metadata_map
        said = {key: _parsed(text) for key, text in metadata.items() if key in (*REQUIRED, *OPTIONAL)}
    missing = [key for key in REQUIRED if key not in said]
    if missing:
        elsewhere = "add it" if beside.is_file() else f"say it in {beside.name} beside it (docs/masks.md)"
        raise PhotostyleError(f"{place} lacks {', '.join(missing)}: {elsewhere}")
    for key in said:
        if key not in (*REQUIRED, *OPTIONAL):
            hint = did_you_mean(key, (*REQUIRED, *OPTIONAL), "; did you mean {}?")
            raise PhotostyleError(f"{place} has the key {key}, which means nothing here{hint}")
    return said, place


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _classes(said: Mapping[str, Any], place: str) -> tuple[str, tuple[str, ...]]:
    """The vocabulary and the names of the classes, all of which it has, but for those of what is in no class."""
    vocabulary, classes = said["vocabulary"], said["classes"]
    if vocabulary not in VOCABULARIES:
        raise PhotostyleError(
            f"{place} has vocabulary = {vocabulary!r}; expected {' or '.join(VOCABULARIES)}: correct it"
        )
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise PhotostyleError(f"{place} has classes = {classes!r}; expected a list of names: correct it")
    known = class_names(vocabulary)
    for name in classes:
        if name not in known and name not in NO_GROUP:
            hint = did_you_mean(name, known, "; did you mean {!r}?")
            raise PhotostyleError(
                f"{place} has the class {name!r}, which {vocabulary} lacks{hint} (what is in no class: other)"
            )
    return vocabulary, tuple(classes)


def _sides(session: "InferenceSession", file: Path) -> tuple[int, int]:
    """Height and width of the one size that the graph takes; zeros where it takes any."""
    inputs = session.get_inputs()
    shape = inputs[0].shape
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(shape) != 4 or shape[1] != 3:
        listed = ", ".join(f"{each.type} {each.shape}" for each in inputs)
        raise PhotostyleError(f"{file} takes {listed}; expected one tensor(float) [1, 3, H, W]: export it so")
    sides = [side if isinstance(side, int) else 0 for side in shape[2:]]
    if 0 in sides and any(sides):
        raise PhotostyleError(
            f"{file} fixes one side of its input, {shape}; expected both or none: export it so"
        )
    return sides[0], sides[1]


def _check_channels(session: "InferenceSession", file: Path, place: str, count: int) -> None:
    shape: Sequence[Any] = session.get_outputs()[0].shape
    if len(shape) != 4:
        raise PhotostyleError(f"{file} gives {shape}; expected logits [1, classes, h, w]: export it so")
    if isinstance(shape[1], int) and shape[1] != count:
        raise PhotostyleError(
            f"{place} names {count} classes, {file} gives {shape[1]}: name each, in its order"
        )


def _three(said: Mapping[str, Any], key: str, place: str) -> tuple[float, ...]:
    values = said[key]
    if not isinstance(values, list) or len(values) != 3 or not all(_is_number(value) for value in values):
        raise PhotostyleError(f"{place} has {key} = {values!r}; expected three numbers: correct it")
    return tuple(float(value) for value in values)


def _number(said: Mapping[str, Any], key: str, place: str, default: float) -> float:
    value = said.get(key, default)
    if not _is_number(value) or (value <= 0 and key in said):
        raise PhotostyleError(f"{place} has {key} = {value!r}; expected a number above 0: correct it")
    return float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
