"""The command line: parse, call, say, write. Nothing else in the package prints or chooses file names."""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from photostyle import report
from photostyle.canvas import feather, recolour
from photostyle.colour import region_colour_maps
from photostyle.config import Config
from photostyle.encoders import Encoder
from photostyle.errors import ComputationError, PhotostyleError
from photostyle.guidance import Guidance, pair_regions
from photostyle.images import check_output, read_image, write_image
from photostyle.masks import mask_size, read_masks, whole_picture
from photostyle.metrics import STYLE_LAYERS, score
from photostyle.optimise import Step
from photostyle.presets import PRESETS, resolve_preset
from photostyle.record import check_inputs, config_from_json, make_record, read_record, write_record
from photostyle.schedule import schedule
from photostyle.transfer import Result, check, transfer
from photostyle.version import __version__
from photostyle.weights import find, locate

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
LINES_A_STAGE = 5  # progress lines where standard error is no terminal

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
    except KeyboardInterrupt:
        return _complain("interrupted before there was a picture; nothing was written", INTERRUPTED)


def script(command: str) -> None:
    """Entry of the thin scripts: run one command with the process's arguments and exit."""
    sys.exit(main([command, *sys.argv[1:]]))


def run(arguments: Sequence[str]) -> int:
    """photostyle run: the main job."""
    return execute(parse_config(arguments))


def parse_config(arguments: Sequence[str]) -> Config:
    """The command line as a configuration: the preset first, then every option that was given."""
    name = _option(arguments, "--preset") or "auto"
    if not {"-h", "--help"} & set(arguments):
        weights = _option(arguments, "--weights")
        encoder = _option(arguments, "--encoder") or "vgg19"
        allowed = "--no-download" not in arguments
        name = resolve_preset(name, Path(weights) if weights else None, encoder, allowed)
    settings = {"preset": name, **PRESETS.get(name, {})}
    # The preset is settled: what was given is replaced by what it stands for.
    rest = _without(arguments, "--preset")
    default = Config(content=tyro.MISSING, style=tyro.MISSING, **settings)
    return tyro.cli(Config, args=rest, default=default, prog="photostyle run")


def execute(config: Config) -> int:
    """Transfer, write the picture and its record, say what happened. Returns the exit code."""
    began = time.perf_counter()
    say = _quiet if config.quiet else _note
    check(config)
    record_path = config.output.with_suffix(".json")
    _refuse_to_overwrite_inputs(config, record_path)
    photo = read_image(config.content)
    for note in check_output(config.output, alpha=photo.alpha is not None, depth=photo.depth):
        say(note)
    if (
        config.preset == "patches"
        and not config.quiet
        and locate(config.weights, config.encoder, False) is None
    ):
        say("no VGG weights here: style by patches (training-free); --weights FILE gives the Gram style")
    progress = Progress(config, photo.height, photo.width)
    result = transfer(config, progress, say)
    progress.close()
    digest = write_image(config.output, result.image, alpha=photo.alpha, depth=photo.depth)
    seconds = time.perf_counter() - began
    write_record(record_path, make_record(config, result, digest, seconds, _metrics(config, result)))
    if config.plot and result.trace:
        report.plot_losses(result.trace, config.output.with_name(f"{config.output.stem}-losses.png"))
    return _finish(config, result, record_path, seconds)


def _finish(config: Config, result: Result, record_path: Path, seconds: float) -> int:
    if not config.quiet:
        size = f"{result.photo.width}x{result.photo.height}"
        print(f"{config.output}  {size}  {seconds:.1f} s on {result.device}\n{record_path}")
    if result.ended == "done":
        return DONE
    if result.ended == "interrupted":
        return _complain(f"interrupted; the best picture so far is {config.output}", INTERRUPTED)
    return _complain(f"{result.ended}; the last good picture is {config.output}", FAILED)


def _metrics(config: Config, result: Result) -> dict[str, Any]:
    if not config.metrics or result.ended != "done":
        return {}
    encoder = None
    if result.weights is not None:
        encoder = Encoder(result.weights.state, config.encoder, layers=STYLE_LAYERS)
    images = (result.image, result.photo.pixels, result.reference.pixels)
    return dataclasses.asdict(score(*images, result.guidance.content, result.guidance.style, encoder))


class Progress:
    """Watches the steps: a bar with stage, terms and time left on a terminal, plain lines elsewhere.

    Work is counted in pixels times evaluations, so that the time left holds across stages of different sizes.
    """

    def __init__(self, config: Config, height: int, width: int) -> None:
        self.config = config
        self.stages = schedule(config, height, width)
        self.total = sum(stage.height * stage.width * stage.iterations for stage in self.stages)
        self.done, self.evaluations, self.began = 0, 0, time.perf_counter()
        self.bar: Any = None
        if sys.stderr.isatty() and not config.quiet and self.total:
            self.bar = tqdm(
                total=self.total, bar_format="{percentage:3.0f}%|{bar:20}| {elapsed}<{remaining} {desc}"
            )

    def __call__(self, step: Step) -> None:
        pixels = step.stage.height * step.stage.width
        self.done += pixels
        self.evaluations += 1
        if self.bar is not None:
            self.bar.set_description_str(_describe(step, len(self.stages)), refresh=False)
            self.bar.update(pixels)
        elif not self.config.quiet and step.iteration % max(1, step.stage.iterations // LINES_A_STAGE) == 0:
            left = (time.perf_counter() - self.began) * (self.total / self.done - 1)
            print(f"{_describe(step, len(self.stages))}  {left:.0f} s left", file=sys.stderr, flush=True)
        if self.config.save_every and self.evaluations % self.config.save_every == 0:
            output = self.config.output
            write_image(output.with_name(f"{output.stem}-{self.evaluations:05d}.png"), step.image.cpu())

    def close(self) -> None:
        """End the bar's line."""
        if self.bar is not None:
            self.bar.close()


def _describe(step: Step, stages: int) -> str:
    terms: dict[str, float] = {}
    for name, value in step.losses.items():
        # The five layers of the Gram term are one number here; the record keeps them apart.
        terms[name.split()[0]] = terms.get(name.split()[0], 0) + value
    shown = "  ".join(f"{name} {value:.3g}" for name, value in terms.items())
    stage = step.stage
    where = f"stage {stage.number + 1}/{stages} {stage.width}x{stage.height}"
    return f"{where}  {step.iteration}/{stage.iterations}  {shown}"


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
    options = tyro.cli(MasksCommand, args=list(arguments), prog="photostyle masks")
    check_output(options.output, alpha=False, depth=8)
    pictures, sets = [], []
    for mask, photo in zip(options.files, (options.content, options.style), strict=True):
        pixels = read_image(photo).pixels if photo else torch.full((3, *mask_size(mask)), 0.5)
        pictures.append(pixels)
        sets.append(read_masks(mask, photo or mask, *pixels.shape[-2:]))
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
    encoder: str = "vgg19"
    """the architecture of the weights: vgg19 or vgg16"""


def show_scores(arguments: Sequence[str]) -> int:
    """photostyle score: the metrics table."""
    options = tyro.cli(ScoreCommand, args=list(arguments), prog="photostyle score")
    content, style, masks = _what_it_was_made_from(options)
    photo, reference, result = read_image(content), read_image(style), read_image(options.result)
    sets = [
        whole_picture(picture.height, picture.width)
        if name == "none"
        else read_masks(Path(name), picture.path, picture.height, picture.width)
        for name, picture in zip(
            masks if len(masks) == 2 else ("none", "none"), (photo, reference), strict=True
        )
    ]
    guidance = pair_regions(photo.pixels, sets[0], reference.pixels, sets[1])
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
    recorded: dict[str, Any] = {}
    beside = options.result.with_suffix(".json")
    if not (options.content and options.style):
        if not beside.is_file():
            raise PhotostyleError(
                f"{options.result} has no record {beside} beside it; give --content, --style and --masks"
            )
        recorded = read_record(beside)["config"]
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
    options = tyro.cli(RerunCommand, args=list(arguments), prog="photostyle rerun")
    record = read_record(options.record)
    check_inputs(record)
    config = config_from_json(record["config"], options.record)
    output = options.output or config.output.with_name(f"{config.output.stem}-rerun{config.output.suffix}")
    threads = record["environment"]["threads"]
    code = execute(dataclasses.replace(config, output=output, quiet=options.quiet, threads=threads))
    if code != DONE:
        return code
    again, before = read_record(output.with_suffix(".json"))["output"]["sha256"], record["output"]["sha256"]
    if again == before:
        print(f"the same bytes: SHA-256 {again}")
        return DONE
    return _complain(f"{output} differs from the record: SHA-256 {again}, recorded {before}", FAILED)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "run": run,
    "masks": show_masks,
    "score": show_scores,
    "rerun": rerun,
}


def _refuse_to_overwrite_inputs(config: Config, record_path: Path) -> None:
    named = [config.content, config.style, *(Path(name) for name in config.masks if name != "none")]
    inputs = [
        path for path in (*named, config.weights, config.start_file) if path is not None and path.exists()
    ]
    for path in (config.output, record_path):
        for source in inputs:
            if path.exists() and path.samefile(source):
                raise PhotostyleError(
                    f"{path} is an input of this run and would be overwritten; choose another --output"
                )
    if record_path.exists():
        try:
            read_record(record_path)
        except PhotostyleError as error:
            raise PhotostyleError(
                f"{record_path} exists and is no photostyle record, so it is not overwritten; choose another --output"
            ) from error


def _option(arguments: Sequence[str], name: str) -> str | None:
    """The value of an option looked up before the whole line is parsed: the last one given."""
    value = None
    for index, argument in enumerate(arguments):
        if argument == name and index + 1 < len(arguments):
            value = arguments[index + 1]
        elif argument.startswith(f"{name}="):
            value = argument.split("=", 1)[1]
    return value


def _without(arguments: Sequence[str], name: str) -> list[str]:
    rest, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == name:
            skip = True
        elif not argument.startswith(f"{name}="):
            rest.append(argument)
    return rest


def _complain(message: object, code: int) -> int:
    print(f"photostyle: {message}", file=sys.stderr)
    return code


def _note(note: str) -> None:
    print(f"note: {note}", file=sys.stderr)


def _quiet(note: str) -> None:
    pass
