"""The exported graphs say what torch says, at sizes other than the one they were traced at."""

import sys
from pathlib import Path

import pytest
import torch

from photostyle.errors import PhotostyleError
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.onnx_export import export_onnx
from photostyle.feedforward.settings import ModelSettings

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def model_of(injection: str, norm: str = "instance") -> StyleModel:
    torch.manual_seed(0)
    settings = ModelSettings(
        injection, channels=2, blocks=1, dimension=4, style_network="small", decoder_norm=norm
    )
    return StyleModel(settings).eval()


def ran(path: Path, **inputs: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {name: each.numpy() for name, each in inputs.items()})[0])


@pytest.mark.parametrize(
    ("injection", "norm"), [("concat", "none"), ("inject", "instance"), ("film", "instance")]
)
def test_the_graphs_are_the_model_at_any_size(injection, norm, tmp_path):
    model = model_of(injection, norm)
    style_graph, graph = export_onnx(model, tmp_path / "model.onnx")
    assert [each.name for each in (style_graph, graph)] == ["model-style.onnx", "model.onnx"]
    for height, width in ((33, 50), (40, 27)):
        style, content = torch.rand(1, 3, width, height), torch.rand(1, 3, height, width)
        with torch.no_grad():
            told = model.style(style)
            painted = model(content, told)
        z = ran(style_graph, style=style)
        # float32 in another order of summation
        torch.testing.assert_close(z, told.z, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ran(graph, content=content, z=z), painted, atol=1e-4, rtol=0)


def test_what_cannot_be_exported_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(PhotostyleError, match="patch has no z"):
        export_onnx(model_of("patch"), tmp_path / "model.onnx")
    with pytest.raises(PhotostyleError, match="rename it"):
        export_onnx(model_of("film"), tmp_path / "model.pb")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        PhotostyleError, match=r"export needs the package onnx: pip install 'photostyle\[onnx\]'"
    ):
        export_onnx(model_of("film"), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
