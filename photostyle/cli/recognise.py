"""photostyle recognise: what a network sees in pictures, and how much of the photo's classes a result keeps."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from torch import Tensor

from photostyle.cli.arguments import parse
from photostyle.cli.console import DONE, line, note, refuse_inputs, tell
from photostyle.cli.outputs import record_path
from photostyle.cli.shown import CONTENT, RESULT, STYLE, Shown, read_shown, shown_of
from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import commit
from photostyle.files.atomic import write_bytes_atomically
from photostyle.files.images import Picture, check_output
from photostyle.files.reading import MOST_RECORD, file_bytes, parsed_json
from photostyle.networks.network import Network, find_network
from photostyle.process import device_named, prepared
from photostyle.recognition.recognise import Guess, Size, likeliest, recognise
from photostyle.recognition.retention import Retention, retention
from photostyle.recognition.sheet import Recognised, recognition_sheet
from photostyle.version import __version__

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class RecogniseCommand:
    """Name the likeliest classes of pictures; of a recorded run, of the photo, the reference and the result."""

    pictures: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """pictures, or one recorded run: its picture or the .json beside it"""
    content: Path | None = None
    """the photo that one picture is the result of; default: as recorded"""
    style: Path | None = None
    """the reference of that result; default: as recorded"""
    network: str = "vgg16"
    """a classification network of torchvision by its name (mobilenet_v3_small, squeezenet1_1 and efficientnet_lite0
    are small)"""
    weights: Path | None = None
    """its weights (.pth or .safetensors), with classes of their own where they were trained so; default: torch hub
    cache, then download"""
    top: int = 5
    """how many classes to name"""
    size: Size = "crop"
    """what the network is shown: crop, the central square, as its accuracy was measured; own, the picture as it is;
    a number, the whole picture with its short side resized to so many pixels"""
    download: bool = True
    """fetch weights that are neither given nor cached"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where to compute"""
    threads: int = 0
    """CPU threads; 0: torch's own choice"""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """the .json to write, and a .png of its name; default: by the name of the result or the first
    picture, with -recognised"""


def recognise_pictures(arguments: Sequence[str]) -> int:
    """photostyle recognise: the likeliest classes as text, JSON and a sheet."""
    options = parse(RecogniseCommand, arguments, "photostyle recognise")
    _check(options)
    shown = _shown(options)
    output = _output(options, shown)
    pictures = [read_shown(each) for each in shown]
    for text in dict.fromkeys(text for picture in pictures for text in picture.notes):
        note(text)
    device = device_named(options.device)
    network = find_network(options.network, options.weights, download=options.download, say=line)
    network.module.to(device)
    with prepared(options.threads):
        found = [recognise(picture.pixels, network, options.size) for picture in pictures]
    guesses = [likeliest(each, network.classes, options.top) for each in found]
    kept = _retention(shown, found)
    captions = [f"{each.role} {each.path.name}".lstrip() for each in shown]
    _write(output, shown, pictures, guesses, kept, _network(network, options.size))
    drawn = [
        Recognised(caption, picture.pixels, classes)
        for caption, picture, classes in zip(captions, pictures, guesses, strict=True)
    ]
    summary = _summary(kept, network.name)
    sheet = output.with_suffix(".png")
    recognition_sheet(drawn, sheet, summary, compared=bool(kept))
    for caption, classes in zip(captions, guesses, strict=True):
        tell(caption, *(f"{guess.probability:8.1%}  {guess.name}" for guess in classes))
    tell(*([summary] if summary else []), output, sheet)
    return DONE


def _check(options: RecogniseCommand) -> None:
    """What the types of the options do not say."""
    if not options.pictures:
        raise PhotostyleError(
            "no picture was given; give one or more: photostyle recognise photo.jpg out.png"
        )
    if options.top < 1:
        raise PhotostyleError(f"--top {options.top} names nothing; give 1 or more")
    if isinstance(options.size, int) and options.size < 1:
        raise PhotostyleError(f"--size {options.size} has no pixels; give a number, crop or own")
    if options.style and not options.content:
        raise PhotostyleError("--style is the reference of a run; give its --content too")
    if options.content and len(options.pictures) > 1:
        raise PhotostyleError(
            f"--content is the photo of one result, and {len(options.pictures)} pictures are given; give one"
        )


def _shown(options: RecogniseCommand) -> list[Shown]:
    """The pictures to recognise, in the order of the sheet: of a run the photo, the references and the result."""
    first, *more = options.pictures
    records = [path for path in options.pictures if path.suffix.lower() == ".json"]
    if records and (more or options.content):
        raise PhotostyleError(f"{records[0]} is a record, which names its pictures itself; give it alone")
    if options.content:
        styles = [Shown(STYLE, options.style)] if options.style else []
        return [Shown(CONTENT, options.content), *styles, Shown(RESULT, first)]
    if more:
        return [Shown("", path) for path in options.pictures]
    return shown_of(first)


def _output(options: RecogniseCommand, shown: Sequence[Shown]) -> Path:
    """The .json to write: as asked, else beside the picture asked about. Raises where it must not be written."""
    first = shown[-1] if shown[-1].role == RESULT else shown[0]
    output = options.output or first.path.with_name(f"{first.path.stem}-recognised.json")
    if output.suffix.lower() != ".json":
        raise PhotostyleError(
            f'{output} ends in "{output.suffix}"; what is recognised is written as .json, and a .png of its name'
        )
    sheet = output.with_suffix(".png")
    check_output(sheet, alpha=False, depth=8)
    read = [
        *options.pictures,
        *(each.path for each in shown),
        *(record_path(each) for each in options.pictures),
    ]
    refuse_inputs([output, sheet], [*read, options.weights])
    foreign = output if output.exists() else sheet
    if foreign.exists() and not _is_ours(output):
        raise PhotostyleError(
            f"{foreign} exists and was not written by photostyle recognise, so it is not overwritten; "
            "choose another --output"
        )
    return output


def _is_ours(path: Path) -> bool:
    try:
        found = parsed_json(path, file_bytes(path, MOST_RECORD))
    except PhotostyleError:
        return False
    return isinstance(found, dict) and "recognition" in found


def _retention(shown: Sequence[Shown], found: Sequence[Tensor]) -> dict[str, Retention]:
    """Of the result, and of each reference to compare it with: what has nothing to do with the photo keeps so much."""
    if shown[0].role != CONTENT:
        return {}
    return {each.role: retention(found[0], other) for each, other in zip(shown[1:], found[1:], strict=True)}


def _summary(kept: dict[str, Retention], network: str) -> str:
    """What a result keeps, in a sentence; "" where there is none."""
    if RESULT not in kept:
        return ""
    others = ", ".join(f"the {role} {each.kept:.2f}" for role, each in kept.items() if role != RESULT)
    result = kept[RESULT]
    return (
        f"the result keeps {result.kept:.2f} of what {network} sees in the photo{others and f' ({others})'}, "
        f"and {result.shared} of its {result.of} likeliest classes"
    )


def _write(
    output: Path,
    shown: Sequence[Shown],
    pictures: Sequence[Picture],
    guesses: Sequence[Sequence[Guess]],
    kept: dict[str, Retention],
    network: dict[str, Any],
) -> None:
    """Everything that was found, as JSON."""
    found = {
        "recognition": {"format": FORMAT, "version": __version__, "commit": commit()},
        "network": network,
        "pictures": [_entry(*each) for each in zip(shown, pictures, guesses, strict=True)],
        "retention": {
            role: dataclasses.asdict(each) | {"overlap": each.overlap} for role, each in kept.items()
        },
    }
    write_bytes_atomically(output, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())


def _entry(shown: Shown, picture: Picture, guesses: Sequence[Guess]) -> dict[str, Any]:
    return {
        "role": shown.role or None,
        "path": str(shown.path.absolute()),
        "sha256": picture.sha256,
        "width": picture.width,
        "height": picture.height,
        "classes": [guess._asdict() for guess in guesses],
    }


def _network(network: Network, size: Size) -> dict[str, Any]:
    """Which network answered, and what it was shown."""
    return {
        "name": network.name,
        "path": str(network.path.absolute()) if network.path else None,
        "sha256": network.sha256,
        "source": network.source,
        "classes": len(network.classes),
        "shown": f"{network.size}x{network.size} of {network.resize}" if size == "crop" else size,
    }
