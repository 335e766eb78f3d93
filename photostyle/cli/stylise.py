"""photostyle stylise: a photo in the style of one picture or several, by a trained network in one pass."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from photostyle.cli.arguments import parse, refuse_half_said
from photostyle.cli.console import DONE, note, refuse_inputs, tell
from photostyle.cli.outputs import company, record_path, refuse_foreign_picture, refuse_foreign_record
from photostyle.cli.photographs import named_after
from photostyle.evaluation.records import environment, made_by, write_picture
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.packaged import packaged_model
from photostyle.feedforward.stylise import Manner, stylise
from photostyle.files.images import Picture, check_output, encode_image, read_image
from photostyle.process import device_named, prepared

COMMAND = "stylise"


@dataclass(frozen=True)
class StyliseCommand:
    """A photo in the style of a picture, by a feed-forward network: seconds, and no optimisation."""

    photo: Annotated[Path, tyro.conf.Positional]
    """the photograph"""
    style: tuple[Path, ...]
    """one style picture or more; several are mixed"""
    style_weights: tuple[float, ...] = Manner.weights
    """of the styles in their mixture, as in 3 1; default: all alike"""
    model: Path | None = None
    """a model's .safetensors file; default: the one that comes with the package"""
    strength: float = Manner.strength
    """share of the result in what is written, 0 (the photo) to 1"""
    photorealistic: bool = Manner.photorealistic
    """keep the photo's own detail and edges, and take colours and light alone"""
    size: int | None = Manner.size
    """long side in pixels at which the network works; default: the photo's own, or 512 with --photorealistic"""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """where to write, at the photo's own size; default: PHOTO-STYLE-stylised.png in the working folder"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """what to compute on"""
    quiet: bool = False
    """print nothing but errors"""


def stylise_photo(arguments: Sequence[str]) -> int:
    """photostyle stylise: read, paint, write a picture and its record."""
    began = time.perf_counter()
    refuse_half_said(arguments)
    options = parse(StyliseCommand, arguments, f"photostyle {COMMAND}")
    manner = Manner(options.style_weights, options.strength, options.photorealistic, options.size)
    file = packaged_model() if options.model is None else options.model
    output = options.output or named_after((options.photo, *options.style), f"-{COMMAND}d")
    refuse_inputs([output, record_path(output)], [options.photo, *options.style, file])
    if options.output is None:
        refuse_foreign_picture(output)
    refuse_foreign_record(output)
    photo, styles = read_image(options.photo), [read_image(each) for each in options.style]
    said = [text for each in (photo, *styles) for text in each.notes]
    said += check_output(output, alpha=photo.alpha is not None, depth=photo.depth)
    device, model = device_named(options.device), StyleModel.load(file)
    with prepared():
        painted = stylise(
            model.to(device), photo.pixels.to(device), [each.pixels.to(device) for each in styles], manner
        ).cpu()
    picture = encode_image(output, painted, alpha=photo.alpha, depth=photo.depth)
    digest = hashlib.sha256(picture).hexdigest()
    seconds = time.perf_counter() - began
    record = {
        "photostyle": made_by(COMMAND),
        "ended": "done",
        "settings": _settings(options, manner, photo),
        "environment": environment(str(device), torch.get_num_threads()),
        "inputs": _inputs(photo, styles),
        "model": {"path": str(file.absolute()), "sha256": model.sha256} | model.about(),
        "notes": said,
        "seconds": seconds,
        "output": {"path": str(output.absolute()), "sha256": digest},
        "beside": company(output),
    }
    write_picture(output, picture, record_path(output), record)
    if not options.quiet:
        for text in said:
            note(text)
        tell(f"{output}  {photo.width}x{photo.height}  {seconds:.1f} s on {device}\n{record_path(output)}")
    return DONE


def _settings(options: StyliseCommand, manner: Manner, photo: Picture) -> dict[str, Any]:
    height, width = manner.size_for(photo.pixels)
    return {
        "style_weights": list(manner.weights),
        "strength": manner.strength,
        "photorealistic": manner.photorealistic,
        "size": options.size,
        "worked_at": {"width": width, "height": height},
    }


def _inputs(photo: Picture, styles: Sequence[Picture]) -> dict[str, Any]:
    named = {"photo": photo} | {f"style {number}": each for number, each in enumerate(styles, 1)}
    return {name: {"path": str(each.path.absolute()), "sha256": each.sha256} for name, each in named.items()}
