"""photostyle run and rerun: the main job, and the same once more from its record."""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated, Any

import tyro

from photostyle.cli.arguments import parse, parse_config
from photostyle.cli.console import (
    DONE,
    FAILED,
    INTERRUPTED,
    complain,
    line,
    make_folder,
)
from photostyle.cli.first import FirstPicture
from photostyle.cli.outputs import (
    losses_path,
    masks_folder,
    record_path,
    refuse_foreign_picture,
    refuse_to_overwrite,
    snapshot_path,
)
from photostyle.cli.progress import Progress
from photostyle.cli.regions import show_regions
from photostyle.cli.solved import keep_solved
from photostyle.config import Config, RunOptions
from photostyle.errors import PhotostyleError
from photostyle.evaluation.animation import Frames
from photostyle.evaluation.records import (
    check_inputs,
    config_from_json,
    make_record,
    read_record,
    write_record,
)
from photostyle.files.arrays import read_photograph
from photostyle.files.images import Picture, check_output, write_image
from photostyle.losses.weights import locate
from photostyle.materials import TO_BE_MADE
from photostyle.optimisers import Step
from photostyle.pipeline import MaskMaker, Phase, Result, transfer
from photostyle.process import device_named, prepared
from photostyle.stages import schedule
from photostyle.validate import check

# What the parts beside the solve cost, in pixels times evaluations of a solve by patches. Seconds of one run on one
# thread (535x426, 512 px: masks 10.6, solve 12.2, render 0.25, scores 3.2); only the bar goes by them.
MASKS_COST = 1.7e6  # of one picture, by clustering
RENDER_COST = 0.4  # of a pixel
SCORES_COST = 4.5  # of a pixel, of copies of at most SCORED
SCORED = 1024 * 768


def run(arguments: Sequence[str]) -> int:
    """photostyle run: the main job."""
    return execute(parse_config(arguments))


def execute(config: Config, segmentation: dict[str, Any] | None = None) -> int:
    """Transfer, write the picture and its record, say what happened. Returns the exit code.

    segmentation: what made the masks, for the record, where an earlier run made them.
    """
    check(config)
    with prepared(config.threads, config.deterministic):
        return _execute(config, segmentation)


def _execute(config: Config, segmentation: dict[str, Any] | None) -> int:
    began, said = time.perf_counter(), list[str]()
    refuse_to_overwrite(config)
    frames = Frames(config.animate)
    photo, references = read_photograph(config.content), tuple(map(read_photograph, config.style))
    first = FirstPicture(config, photo, references)
    with closing(_display(config, photo, references)) as display:

        def say(text: str) -> None:
            said.append(text)
            if not config.quiet:
                display.aside(f"note: {text}")

        _check_beforehand(config, photo, segmentation is not None, say)
        maker = _MaskMaker(config, say) if config.masks in TO_BE_MADE else None
        # As they were read: a second copy of 100 MP is 1.2 GB.
        asked = dataclasses.replace(config, content=photo, style=references)
        try:
            result = _watched(asked, first, display, frames, say, maker)
        except KeyboardInterrupt:
            if not first.written:
                raise
            return complain(f"interrupted; {config.output} is the first picture", INTERRUPTED)
        except PhotostyleError as error:
            if not first.written:
                raise
            raise type(error)(f"{error}; {config.output} is the first picture") from error
        if maker is not None:
            config, segmentation = dataclasses.replace(config, masks=result.mask_paths), maker.origin
        metrics, artefacts = _scored(config, result, display, say)
        digest = write_image(config.output, result.image, alpha=photo.alpha, depth=photo.depth)
        display.finish()
    seconds = time.perf_counter() - began
    result = dataclasses.replace(result, notes=tuple(said))
    solved = keep_solved(config, result)
    record = make_record(config, result, digest, seconds, metrics, artefacts, segmentation, solved)
    write_record(record_path(config.output), record)
    frames.write()
    if config.plot and result.trace:
        from photostyle.evaluation.reports import plot_losses

        plot_losses(result.trace, losses_path(config.output))
    return _finish(config, result, seconds, metrics)


def _check_beforehand(config: Config, photo: Picture, made: bool, say: Callable[[str], None]) -> None:
    """What can be found wrong or worth a note before any work. made: an earlier run made the masks."""
    size = (photo.height, photo.width)
    for text in check_output(config.output, alpha=photo.alpha is not None, depth=photo.depth, size=size):
        say(text)
    if config.preset == "patches" and locate(config.weights, config.encoder, False) is None:
        say("no VGG weights here: style by patches (training-free); --weights FILE gives the Gram style")
    if config.start_file is not None:
        read_photograph(config.start_file)  # said before the work, not after it
    if not made and config.masks not in TO_BE_MADE and _names_a_segmenter(config):
        say("--segmenter is not used: masks are not to be made")


def _names_a_segmenter(config: Config) -> bool:
    return config.segmenter != RunOptions.segmenter or config.segmenter_revision is not None


class _MaskMaker:
    """Makes masks and writes them beside the output, where a person can look at them and edit them.

    The transfer reads them as if they had been given, so a rerun needs no segmenter. origin: what made them.
    """

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self.config, self.say = config, say
        self.folder = masks_folder(config.output)
        self.origin: dict[str, Any] = {}
        if self.folder.exists():  # asked before any work, and again by write_masks
            self._check()

    def __call__(self, photo: Picture, references: Sequence[Picture]) -> tuple[str, ...]:
        from photostyle.evaluation.reports import mask_sheet
        from segmentation.files import write_masks
        from segmentation.make import make_masks

        pictures, folders = (photo, *references), self._folders()
        made = make_masks(pictures, self._making(), self.say)
        make_folder(self.folder)
        for folder, regions in zip(folders, made.sets, strict=True):
            write_masks(folder, regions, "soft")
        preview, captions = self.folder / "preview.png", [folder.name for folder in folders]
        mask_sheet([each.pixels for each in pictures], made.sets, captions, preview)
        self.say(f"masks: {', '.join(made.sets[0].names)}; look at {preview}")
        self.origin = made.origin | {"asked": self.config.masks[0]}
        return tuple(map(str, folders))

    def _making(self) -> Any:
        from segmentation.make import MaskOptions

        config = self.config
        return MaskOptions(
            method="cluster" if config.masks == ("cluster",) else "auto",
            segmenter=config.segmenter,
            revision=config.segmenter_revision,
            refine=config.refine_masks,
            download=config.download,
            seed=config.seed,
            doubtful="unite" if config.masks == ("auto",) else "keep",
            device=device_named(config.device),
        )

    def _check(self) -> None:
        from segmentation.files import check_folder

        for folder in self._folders():
            check_folder(folder)

    def _folders(self) -> list[Path]:
        others = range(2, len(self.config.style) + 1)
        return [self.folder / name for name in ("content", "style", *(f"style-{each}" for each in others))]


def _display(config: Config, photo: Picture, references: Sequence[Picture]) -> Progress:
    """The progress display of a run: of its stages, and of the parts before and after them."""
    show = (lambda text: None) if config.quiet else line
    pixels = photo.height * photo.width
    others = {"render": RENDER_COST * pixels}
    if config.masks in TO_BE_MADE:
        others["masks"] = MASKS_COST * (1 + len(references))
    if config.metrics and len(references) == 1:
        others["scores"] = SCORES_COST * min(pixels, SCORED)
    bar = sys.stderr.isatty() and not config.quiet
    return Progress(schedule(config, photo.height, photo.width), show, bar, others)


def _watched(
    config: Config,
    first: FirstPicture,
    display: Progress,
    frames: Frames,
    say: Callable[[str], None],
    maker: MaskMaker | None,
) -> Result:
    """The transfer under the eyes of the display: the first picture before it, snapshots as --save-every says.

    Raises KeyboardInterrupt where that came before an evaluation, and the first picture is the better one.
    """
    evaluations = 0

    def enter(part: Phase) -> None:
        if part != "render" and first.wanted:
            display.aside(first.shown())
        display.enter(part)

    def watch(step: Step) -> None:
        nonlocal evaluations
        evaluations += 1
        display(step)
        frames.add(step.image)
        if config.save_every and evaluations % config.save_every == 0:
            write_image(snapshot_path(config.output, evaluations), step.image.cpu())

    result = transfer(config, watch, say, maker, enter=enter)
    if result.ended == "interrupted" and first.written and not result.trace:
        raise KeyboardInterrupt
    return result


def _finish(config: Config, result: Result, seconds: float, metrics: dict[str, Any]) -> int:
    if not config.quiet:
        size = f"{result.photo.width}x{result.photo.height}"
        print(f"{config.output}  {size}  {seconds:.1f} s on {result.device}\n{record_path(config.output)}")
        _say_doubt(metrics)
    with suppress(KeyboardInterrupt):  # which costs a sheet, and not the picture
        show_regions(config, result)
        if config.show:
            _show(result)
    if result.ended == "done":
        return DONE
    if result.ended == "interrupted":
        return complain(f"interrupted; the best picture so far is {config.output}", INTERRUPTED)
    return complain(f"{result.ended}; the last good picture is {config.output}", FAILED)


def _show(result: Result) -> None:
    """The window that --show asks for; without one the picture is written all the same."""
    from photostyle.evaluation.show import show

    try:
        show(result)
    except PhotostyleError as error:
        line(f"note: nothing is shown: {error}")


def _say_doubt(metrics: dict[str, Any]) -> None:
    """A line where the scores of a run doubt its picture, and what to try."""
    if not metrics:
        return
    from photostyle.evaluation.doubt import advice
    from photostyle.evaluation.signs import Signs

    if text := advice(Signs(**metrics["signs"])):
        line(text)


def _scored(
    config: Config, result: Result, display: Progress, say: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores and artefacts of a finished run. Whatever keeps them from being taken, the picture is not lost over it."""
    if not config.metrics or result.ended != "done":
        return {}, {}
    if len(result.references) > 1:
        say(
            "no metrics: they are against one reference; photostyle score --style FILE takes them against that one"
        )
        return {}, {}
    display.enter("scores")
    # What scores stand on is imported after the last step, not before the first.
    from photostyle.evaluation.artefacts import find_artefacts
    from photostyle.evaluation.comparison import comparison_within
    from photostyle.evaluation.doubt import doubt
    from photostyle.evaluation.scores import score, score_encoder
    from photostyle.evaluation.signs import find_signs

    images = (result.image, result.photo.pixels, result.reference.pixels)
    try:
        encoder = None if result.weights is None else score_encoder(result.weights, config.encoder)
        compared = comparison_within(*images, result.guidance.content, result.guidance.style)
        signs = find_signs(compared)
        metrics = dataclasses.asdict(score(compared, encoder))
        metrics |= {"doubt": doubt(signs), "signs": signs.as_dict()}
        return metrics, find_artefacts(compared).as_dict()
    except PhotostyleError as error:
        say(f"no metrics: {error}")
    except KeyboardInterrupt:
        say("no metrics: interrupted")
    return {}, {}


@dataclasses.dataclass(frozen=True)
class RerunCommand:
    """Make a recorded picture again and compare its bytes."""

    record: Annotated[Path, tyro.conf.Positional]
    """the .json beside a picture"""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
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
    if options.output is None:
        refuse_foreign_picture(output)
    threads = record["environment"]["threads"]
    # What a record says is written elsewhere is not: it may be somebody else's.
    again = dataclasses.replace(
        config, output=output, quiet=options.quiet, threads=threads, first_picture=False, animate=None
    )
    code = execute(again, record.get("segmentation"))
    if code != DONE:
        return code
    after, before = (each["output"]["sha256"] for each in (read_record(record_path(output)), record))
    if after == before:
        if not options.quiet:
            print(f"the same bytes: SHA-256 {after}")
        return DONE
    return complain(f"{output} differs from the record: SHA-256 {after}, recorded {before}", FAILED)
