"""A feed-forward model as ONNX graphs: python scripts/export_onnx.py MODEL.safetensors MODEL.onnx."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from photostyle.cli.arguments import parse
from photostyle.cli.console import DONE, Ending, exit_code
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.onnx_export import export_onnx


@dataclass(frozen=True)
class ExportCommand:
    """Write two ONNX graphs of a model: OUTPUT-style.onnx (style to z) and OUTPUT.onnx (content and z to picture)."""

    model: Annotated[Path, tyro.conf.Positional]
    """a model's .safetensors file"""
    output: Annotated[Path, tyro.conf.Positional]
    """the generator's .onnx file"""


def main() -> int:
    options = parse(ExportCommand, sys.argv[1:], "export_onnx.py")
    for path in export_onnx(StyleModel.load(options.model), options.output):
        print(path)
    return DONE


if __name__ == "__main__":
    ending = Ending("export_onnx.py", out_of_memory="out of memory", interrupted="interrupted")
    sys.exit(exit_code(main, ending))
