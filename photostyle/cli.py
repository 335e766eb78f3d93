"""The command line: parse, call, say, write. Nothing else in the package prints or chooses file names."""

import dataclasses
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

from photostyle import report
from photostyle.arguments import parse, parse_config
from photostyle.canvas import feather, recolour
from photostyle.colour import region_colour_maps
from photostyle.config import Config
from photostyle.encoders import Encoder
from photostyle.errors import ComputationError, PhotostyleError
from photostyle.filters import size_of
from photostyle.guidance import Guidance, pair_regions
from photostyle.images import check_output, read_image, write_image
from photostyle.masks import mask_size, read_masks
from photostyle.metrics import STYLE_LAYERS, score
from photostyle.optimise import Step
from photostyle.progress import Progress
from photostyle.record import check_inputs, config_from_json, make_record, read_record, write_record
from photostyle.schedule import schedule
from photostyle.transfer import Result, read_both_masks, transfer
from photostyle.validate import check
from photostyle.version import __version__
from photostyle.weights import find, locate

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

USAGE = f"""photostyle {__version__}: photorealistic style transfer

  photostyle run --content PHOTO --style REFERENCE [--masks CONTENT_MASK STYLE_MASK] [--output OUT]
  photostyle masks CONTENT_MASK STYLE_MASK [--content PHOTO --style REFERENCE]   regions, pairing, overlay
  photostyle score OUT.png                                                       metrics of a result
  photostyle rerun OUT.json                                                      the same bytes again

photostyle COMMAND --help explains every option."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(USAGE)
        return DONE
    if name == "--version":
        print(__version__)
        return DONE
    try:
        if name not in COMMANDS:
            raise PhotostyleError(f'no command "{name}"; there are: {", ".join(COMMANDS)}')
        return COMMANDS[name](rest)
    except PhotostyleError as error:
        return _complain(error, BAD_INPUT)
    except ComputationError as error:
        return _complain(error, FAILED)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return _complain("out of memory; use a smaller --size, or a smaller photo", FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted before there was a picture; nothing was written", INTERRUPTED)
    except SystemExit as stop:  # tyro has printed the help
        return int(stop.code or DONE)


def script(command: str) -> None:
    """Entry of the thin scripts: run one command with the process's arguments and exit."""
    sys.exit(main([command, *sys.argv[1:]]))


def run(arguments: Sequence[str]) -> int:
    """photostyle run: the main job."""
    return execute(parse_config(arguments))


def execute(config: Config) -> int:
    """Transfer, write the picture and its record, say what happened. Returns the exit code."""
    began, said = time.perf_counter(), list[str]()

    def say(note: str) -> None:
        said.append(note)
        if not config.quiet:
            _note(note)

    check(config)
    record_path = config.output.with_suffix(".json")
    _refuse_to_overwrite(config, record_path)
    photo = read_image(config.content)
    for note in check_output(config.output, alpha=photo.alpha is not None, depth=photo.depth):
        say(note)
    if config.preset == "patches" and locate(config.weights, config.encoder, False) is None:
        say("no VGG weights here: style by patches (training-free); --weights FILE gives the Gram style")
    result = _watched(config, photo.height, photo.width, say)
    metrics = _metrics(config, result, say)
    digest = write_image(config.output, result.image, alpha=photo.alpha, depth=photo.depth)
    seconds = time.perf_counter() - began
    result = dataclasses.replace(result, notes=tuple(said))
    write_record(record_path, make_record(config, result, digest, seconds, metrics))
    if config.plot and result.trace:
        report.plot_losses(result.trace, _losses_path(config))
    return _finish(config, result, record_path, seconds)


def _watched(config: Config, height: int, width: int, say: Callable[[str], None]) -> Result:
    """The transfer under the eyes of the progress display, with a snapshot every --save-every evaluations."""
    line = _quiet if config.quiet else _line
    bar = sys.stderr.isatty() and not config.quiet
    with closing(Progress(schedule(config, height, width), line, bar)) as progress:
        evaluations = 0

        def watch(step: Step) -> None:
            nonlocal evaluations
            evaluations += 1
            progress(step)
            if config.save_every and evaluations % config.save_every == 0:
                name = f"{config.output.stem}-{evaluations:05d}.png"
                write_image(config.output.with_name(name), step.image.cpu())

        return transfer(config, watch, say)


def _finish(config: Config, result: Result, record_path: Path, seconds: float) -> int:
    if not config.quiet:
        size = f"{result.photo.width}x{result.photo.height}"
        print(f"{config.output}  {size}  {seconds:.1f} s on {result.device}\n{record_path}")
    if result.ended == "done":
        return DONE
    if result.ended == "interrupted":
        return _complain(f"interrupted; the best picture so far is {config.output}", INTERRUPTED)
    return _complain(f"{result.ended}; the last good picture is {config.output}", FAILED)


def _metrics(config: Config, result: Result, say: Callable[[str], None]) -> dict[str, Any]:
    """The scores of a finished run. Whatever keeps them from being taken, the picture is not lost over it."""
    if not config.metrics or result.ended != "done":
        return {}
    images = (result.image, result.photo.pixels, result.reference.pixels)
    try:
        encoder = None
        if result.weights is not None:
            encoder = Encoder(result.weights.state, config.encoder, layers=STYLE_LAYERS)
        scores = score(*images, result.guidance.content, result.guidance.style, encoder)
    except PhotostyleError as error:
        say(f"no metrics: {error}")
        return {}
    except KeyboardInterrupt:
        say("no metrics: interrupted")
        return {}
    return dataclasses.asdict(scores)


@dataclasses.dataclass(frozen=True)
class MasksCommand:
    """Show how the regions of two masks pair: a table, and an overlay of each mask on its photo."""

    files: Annotated[tuple[Path, Path], tyro.conf.Positional]
    """the content's mask and the style's"""
    content: Path | None = None
    """the photo (without it the overlay shows the mask alone, and orphans cannot be judged by colour)"""
    style: Path | None = None
    """the reference photo"""
    output: Path = Path("masks.png")
    """the overlay picture to write"""


def show_masks(arguments: Sequence[str]) -> int:
    """photostyle masks: the region table and the overlay picture."""
    options = parse(MasksCommand, arguments, "photostyle masks")
    check_output(options.output, alpha=False, depth=8)
    _refuse_inputs([options.output], [*options.files, options.content, options.style])
    pictures, sets = [], []
    for mask, photo in zip(options.files, (options.content, options.style), strict=True):
        pictures.append(_photo_or_grey(photo, mask))
        sets.append(read_masks(mask, photo or mask, *size_of(pictures[-1])))
    guidance = pair_regions(pictures[0], sets[0], pictures[1], sets[1])
    for note in (*sets[0].notes, *sets[1].notes, *guidance.notes):
        _note(note)
    print(report.region_table(guidance))
    views = [
        (str(mask), report.overlay(picture, regions.masks, regions.colours))
        for mask, picture, regions in zip(options.files, pictures, sets, strict=True)
    ]
    report.contact_sheet([views], options.output)
    print(options.output)
    return DONE


def _photo_or_grey(photo: Path | None, mask: Path) -> Tensor:
    if photo is None:
        return torch.full((3, *mask_size(mask)), 0.5)
    picture = read_image(photo)
    for note in picture.notes:
        _note(note)
    return picture.pixels


@dataclasses.dataclass(frozen=True)
class ScoreCommand:
    """Score a result beside the untouched photo and the Monge-Kantorovich baseline."""

    result: Annotated[Path, tyro.conf.Positional]
    """the picture; what it was made from is read from the record beside it"""
    content: Path | None = None
    """the photo; default: as recorded"""
    style: Path | None = None
    """the reference; default: as recorded"""
    masks: tuple[str, ...] = ()
    """CONTENT_MASK STYLE_MASK, or none; default: as recorded"""
    weights: Path | None = None
    """VGG weights for the style score; default: torch hub cache, else patches, and the column says so"""
    encoder: Literal["vgg19", "vgg16"] = "vgg19"
    """the architecture of the weights"""


def show_scores(arguments: Sequence[str]) -> int:
    """photostyle score: the metrics table."""
    options = parse(ScoreCommand, arguments, "photostyle score")
    content, style, masks = _what_it_was_made_from(options)
    photo, reference, result = read_image(content), read_image(style), read_image(options.result)
    sets = read_both_masks(masks, photo, reference)
    guidance = pair_regions(photo.pixels, sets[0], reference.pixels, sets[1])
    for note in (*sets[0].notes, *sets[1].notes, *guidance.notes):
        _note(note)
    encoder = None
    if locate(options.weights, options.encoder, False) is not None:
        loaded = find(options.weights, options.encoder, download=False)
        encoder = Encoder(loaded.state, options.encoder, layers=STYLE_LAYERS)
    rows = {
        str(options.result): result.pixels,
        "untouched photo": photo.pixels,
        "Monge-Kantorovich": _baseline(photo.pixels, reference.pixels, guidance),
    }
    regions = (guidance.content, guidance.style)
    scores = {
        name: dataclasses.asdict(score(pixels, photo.pixels, reference.pixels, *regions, encoder))
        for name, pixels in rows.items()
    }
    print(report.score_table(scores))
    return DONE


def _what_it_was_made_from(options: ScoreCommand) -> tuple[Path, Path, tuple[str, ...]]:
    """Content, style and masks: as given, else as recorded."""
    beside = options.result.with_suffix(".json")
    recorded: dict[str, Any] = {}
    if not (options.content and options.style and options.masks) and beside.is_file():
        recorded = read_record(beside)["config"]
    if not recorded and not (options.content and options.style):
        raise PhotostyleError(
            f"{options.result} has no record {beside} beside it; give --content, --style and --masks"
        )
    return (
        options.content or Path(recorded["content"]),
        options.style or Path(recorded["style"]),
        options.masks or tuple(recorded.get("masks", ("none",))),
    )


def _baseline(photo: Tensor, reference: Tensor, guidance: Guidance) -> Tensor:
    maps = region_colour_maps(photo, guidance.content, reference, guidance.style)
    return recolour(photo, feather(photo, guidance.content, Config.feather), maps)


@dataclasses.dataclass(frozen=True)
class RerunCommand:
    """Make a recorded picture again and compare its bytes."""

    record: Annotated[Path, tyro.conf.Positional]
    """the .json beside a picture"""
    output: Path | None = None
    """where to write; default: beside the record, with -rerun in its name"""
    quiet: bool = False
    """print nothing but errors"""


def rerun(arguments: Sequence[str]) -> int:
    """photostyle rerun: the recorded run once more; exit code 1 where the bytes differ."""
    options = parse(RerunCommand, arguments, "photostyle rerun")
    record = read_record(options.record)
    config = config_from_json(record["config"], options.record)
    if record["ended"] != "done":
        raise PhotostyleError(
            f"{options.record} is of a run that did not end ({record['ended']}); start a new run"
        )
    check_inputs(record)
    output = options.output or options.record.with_name(f"{options.record.stem}-rerun{config.output.suffix}")
    threads = record["environment"]["threads"]
    code = execute(dataclasses.replace(config, output=output, quiet=options.quiet, threads=threads))
    if code != DONE:
        return code
    again, before = read_record(output.with_suffix(".json"))["output"]["sha256"], record["output"]["sha256"]
    if again == before:
        if not options.quiet:
            print(f"the same bytes: SHA-256 {again}")
        return DONE
    return _complain(f"{output} differs from the record: SHA-256 {again}, recorded {before}", FAILED)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "run": run,
    "masks": show_masks,
    "score": show_scores,
    "rerun": rerun,
}


def _refuse_to_overwrite(config: Config, record_path: Path) -> None:
    """Nothing that a run writes may replace what it reads, nor a .json that is no record of ours."""
    masks = [Path(name) for name in config.masks if name != "none"]
    inputs = [config.content, config.style, *masks, config.weights, config.start_file]
    written = [config.output, record_path]
    if config.plot:
        written.append(_losses_path(config))
    if config.save_every:
        snapshot, folder = re.compile(re.escape(config.output.stem) + r"-\d{5}\.png"), config.output.parent
        written += [
            path for path in inputs if path and path.parent == folder and snapshot.fullmatch(path.name)
        ]
    _refuse_inputs(written, inputs)
    if record_path.exists():
        try:
            read_record(record_path)
        except PhotostyleError as error:
            raise PhotostyleError(
                f"{record_path} exists and is no photostyle record, so it is not overwritten; choose another --output"
            ) from error


def _refuse_inputs(written: Iterable[Path], inputs: Iterable[Path | None]) -> None:
    """Raise PhotostyleError where a file to write is one that is read, by this or any other name."""
    sources = [path for path in inputs if path is not None and path.exists()]
    sources += [file for folder in sources if folder.is_dir() for file in folder.iterdir()]
    for path in written:
        if path.exists() and any(path.samefile(source) for source in sources if source.exists()):
            raise PhotostyleError(f"{path} is an input and would be overwritten; choose another --output")


def _losses_path(config: Config) -> Path:
    return config.output.with_name(f"{config.output.stem}-losses.png")


def _is_out_of_memory(error: Exception) -> bool:
    # torch's CPU allocator has no exception of its own.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _complain(message: object, code: int) -> int:
    print(f"photostyle: {message}", file=sys.stderr)
    return code


def _note(note: str) -> None:
    _line(f"note: {note}")


def _line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _quiet(text: str) -> None:
    pass
