"""A model for other programs: two ONNX graphs, what a style is and what a photo becomes, of any height and width."""

import importlib.util
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from photostyle.errors import PhotostyleError
from photostyle.feedforward.encoder import StyleEncoder
from photostyle.feedforward.generator import Generator
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.style import Style
from photostyle.files.atomic import temporary_folder, write_bytes_atomically

# Of ONNX: instance normalisation and reflection for any size; onnxruntime reads it since 1.12 (2022).
OPSET = 17
SUFFIX = ".onnx"
TRACED = 96  # pixels a side of the pictures that the export runs once; Inception needs 75


def export_onnx(model: StyleModel, path: Path) -> tuple[Path, Path]:
    """Write PATH-style.onnx (style -> z) and PATH.onnx (content, z -> stylised) and return them in this order.

    style, content: (1, 3, height, width), sRGB in [0, 1], any height and width; z: (1, d); stylised as content, without
    tiles. Two graphs, so that z can be kept and mixed. Needs the package onnx (extra "onnx").
    Raises PhotostyleError where that is missing, for another suffix, and for injection "patch", whose style is no
    vector: its maps are as large as the style picture.
    """
    if path.suffix != SUFFIX:
        raise PhotostyleError(f'{path} ends in "{path.suffix}"; a graph is written as {SUFFIX}: rename it')
    if importlib.util.find_spec("onnx") is None:
        raise PhotostyleError("export needs the package onnx: pip install 'photostyle[onnx]'")
    if model.encoder is None:
        raise PhotostyleError(
            "a model of injection patch has no z to hand from graph to graph; export one of concat, inject or film"
        )
    picture = torch.rand(1, 3, TRACED, TRACED)
    z = torch.zeros(1, model.settings.dimension)
    encoder, generator = _Encoder(model.encoder), _Generator(model.generator)
    graphs = {
        path.with_name(f"{path.stem}-style{SUFFIX}"): _graph(encoder, (picture,), ["style"], "z"),
        path: _graph(generator, (picture, z), ["content", "z"], "stylised"),
    }
    for file, data in graphs.items():
        write_bytes_atomically(file, data)
    style, painted = graphs
    return style, painted


def _graph(module: nn.Module, inputs: tuple[Tensor, ...], names: list[str], output: str) -> bytes:
    """A module as ONNX, the pictures among its inputs and outputs of free height and width."""
    free = {name: {2: "height", 3: "width"} for name in (*names, output) if name != "z"}
    with warnings.catch_warnings(), temporary_folder() as folder:
        # The exporter by tracing is no longer developed; the other one needs a package more, and says the same graph.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Free sizes are no constants, and an instance normalisation has no other mode: it finds both worth a warning.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", torch.jit._trace.TracerWarning)
        file = folder / f"graph{SUFFIX}"
        torch.onnx.export(
            module.eval(),
            inputs,
            file,
            input_names=names,
            output_names=[output],
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )
        return file.read_bytes()


class _Encoder(nn.Module):
    """The style encoder, whose check of sizes is not for a graph."""

    def __init__(self, encoder: StyleEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, style: Tensor) -> Tensor:
        z: Tensor = self.encoder(style)
        return z


class _Generator(nn.Module):
    """The generator with its style as a tensor."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, content: Tensor, z: Tensor) -> Tensor:
        painted: Tensor = self.generator(content, Style(z=z))
        return painted
