"""photostyle run: the main job."""

import dataclasses
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from photostyle.cli.arguments import parse_config
from photostyle.cli.console import DONE, FAILED, INTERRUPTED, complain, line, note, spared, tell
from photostyle.cli.first import FirstPicture
from photostyle.cli.fitting import fitted
from photostyle.cli.mask_maker import MaskMaker
from photostyle.cli.outputs import (
    checkpoint_path,
    company,
    losses_path,
    record_path,
    refuse_to_overwrite,
    regions_path,
    snapshot_path,
)
from photostyle.cli.progress import Progress
from photostyle.cli.regions import show_regions, shows_regions
from photostyle.cli.scoring import scores_of, wants_scores
from photostyle.cli.signals import held, hold, release
from photostyle.cli.snapshots import write_snapshot
from photostyle.cli.solved import kept_solved, named_solved
from photostyle.cli.written import Written, early_end
from photostyle.config import Config, RunOptions
from photostyle.errors import ComputationError, PhotostyleError
from photostyle.evaluation.animation import Frames
from photostyle.evaluation.records import complete_record, make_record, write_picture
from photostyle.files.arrays import read_photograph
from photostyle.files.images import Picture, check_output, encode_image
from photostyle.files.reading import path_exists
from photostyle.imaging.filters import size_of
from photostyle.losses.weights import locate
from photostyle.materials import TO_BE_MADE
from photostyle.optimisers import Step
from photostyle.pipeline import Phase, transfer
from photostyle.process import prepared
from photostyle.result import Result
from photostyle.resuming import Checkpoints
from photostyle.stages import schedule
from photostyle.validate import check

# What the parts beside the solve cost, in pixels times evaluations of a solve by patches. Seconds of one run on one
# thread (535x426, 512 px: masks 10.6, solve 12.2, render 0.25, scores 3.2); only the bar goes by them.
MASKS_COST = 1.7e6  # of one picture, by clustering
RENDER_COST = 0.4  # of a pixel
SCORES_COST = 4.5  # of a pixel, of copies of at most SCORED
SCORED = 1024 * 768

ReadPhotograph = Callable[[Path | Picture], Picture]

# Where a solve is kept, from its settings and from who takes notes.
MakeCheckpoints = Callable[[Config, Callable[[str], None]], Checkpoints | None]


def run(arguments: Sequence[str]) -> int:
    """photostyle run: the command line's configuration, executed."""
    return execute(parse_config(arguments))


def execute(
    config: Config,
    segmentation: dict[str, Any] | None = None,
    read: ReadPhotograph | None = None,
    keep: MakeCheckpoints | None = None,
) -> int:
    """Transfer, write the picture and its record, say what happened. Returns the exit code.

    segmentation: what made the masks, for the record, where an earlier run made them. read: reads the photo, then each
    reference; default: from their files. keep: where the solve is kept; default: as config says.
    """
    check(config)
    with prepared(config.threads, config.deterministic):
        return _execute(config, segmentation, read or read_photograph, keep or _checkpoints)


def _execute(
    config: Config, segmentation: dict[str, Any] | None, read: ReadPhotograph, keep: MakeCheckpoints
) -> int:
    began, said = time.perf_counter(), list[str]()
    refuse_to_overwrite(config)
    frames = Frames(config.animate)
    with early_end(config, Written()) as written:
        photo, references = read(config.content), tuple(map(read, config.style))
        written.first = FirstPicture(config, photo, references)
        with closing(_display(config, photo, references)) as display:

            def say(text: str) -> None:
                said.append(text)
                if not config.quiet:
                    display.aside(f"note: {text}")

            _check_beforehand(config, photo, segmentation is not None, say)
            checkpoints = keep(config, say)
            # What is resumed has left a better picture than its first.
            written.first.wanted &= checkpoints is None or checkpoints.found is None
            config, segmentation = _with_masks_of(checkpoints, config, segmentation)
            maker = MaskMaker(config, say, written.others) if config.masks in TO_BE_MADE else None
            # As they were read: a second copy of 100 MP is 1.2 GB.
            asked = dataclasses.replace(config, content=photo, style=references)

            def put(size: int, result: Result) -> tuple[Config, dict[str, Any]]:
                made, origin = dataclasses.replace(config, size=size), segmentation
                if maker is not None:
                    made, origin = dataclasses.replace(made, masks=result.mask_paths), maker.origin
                spent = time.perf_counter() - began
                return made, _put(made, config.size, result, said, spent, origin, written.others)

            size, result = _watched(asked, written, display, frames, say, maker, checkpoints, put)
            hold()
            config, record = put(size, result)
            written.picture = "finished"
            if checkpoints is not None and result.ended == "done":
                checkpoints.remove()
            interrupted = release()
            if not interrupted and wants_scores(config, result, say):
                display.enter("scores")
                if scores := scores_of(config, result, say):
                    record |= dict(zip(("metrics", "artefacts"), scores, strict=True))
            display.finish()
    seconds = time.perf_counter() - began
    if record["metrics"] or said != record["notes"]:
        _complete(config, record | {"seconds": seconds, "notes": said})
    return _finish(config, result, frames, record["metrics"], seconds, interrupted)


def _put(
    config: Config,
    asked_size: int,
    result: Result,
    said: Sequence[str],
    seconds: float,
    segmentation: dict[str, Any] | None,
    others: Sequence[Path],
) -> dict[str, Any]:
    """Write picture, record and what was solved, before anything else can go wrong. Returns the record.

    others: what was written beside the picture before.
    """
    photo, output = result.photo, config.output
    picture = encode_image(
        output, result.image, alpha=photo.alpha, depth=photo.depth, resolution=photo.resolution
    )
    kept = kept_solved(config, result)
    result = dataclasses.replace(result, notes=tuple(said))
    digest = hashlib.sha256(picture).hexdigest()
    record = make_record(config, result, digest, seconds, {}, {}, segmentation, named_solved(kept))
    if config.size < asked_size:
        record["asked_size"] = asked_size  # --fit has made it smaller
    record["beside"] = company(output, *others, *kept, *_later(config, result))
    write_picture(output, picture, record_path(output), record, kept)
    return record


def _later(config: Config, result: Result) -> list[Path]:
    """What will be written beside the picture and its record."""
    plot, sheet = config.plot and result.trace, config.region_sheet and shows_regions(result)
    return [losses_path(config.output)] * bool(plot) + [regions_path(config.output)] * sheet


def _checkpoints(config: Config, say: Callable[[str], None]) -> Checkpoints | None:
    """Where the solve is kept. An unfinished one that is not to be resumed is said, because it is about to be lost."""
    path = checkpoint_path(config.output)
    if config.resume:
        return Checkpoints.resumed(path, say, config.checkpoints)
    if not config.checkpoints:
        return None
    if path_exists(path):
        say(f"{path} is of an unfinished run and will be replaced; --resume would go on from it")
    return Checkpoints(path, say=say)


def _with_masks_of(
    checkpoints: Checkpoints | None, config: Config, segmentation: dict[str, Any] | None
) -> tuple[Config, dict[str, Any] | None]:
    """What is resumed takes the masks that were made for it: nothing is made twice."""
    company = {} if checkpoints is None else checkpoints.company
    made: Any = company.get("segmentation")
    if config.masks not in TO_BE_MADE or not made or made.get("asked") != config.masks[0]:
        return config, segmentation
    return dataclasses.replace(config, masks=tuple(company["masks"])), made


def _complete(config: Config, record: dict[str, Any]) -> None:
    """Write the record again with what was found since the picture was written: scores, notes, all of the seconds."""
    path = record_path(config.output)

    def write() -> None:
        if not complete_record(path, record):
            note(f"{config.output} was replaced by another run meanwhile; {path} is that one's")

    spared(f"scores in {path}", write)


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
    written: Written,
    display: Progress,
    frames: Frames,
    say: Callable[[str], None],
    maker: MaskMaker | None,
    checkpoints: Checkpoints | None,
    put: Callable[[int, Result], object],
) -> tuple[int, Result]:
    """The transfer under the eyes of the display: the first picture before it, snapshots as --save-every says.

    put: writes the picture of a --size; asked here for one that --fit goes on from, perhaps to nothing better.
    Also returns the --size that it was made at. Once there is something to render, an interruption waits until the
    picture is written. Raises KeyboardInterrupt where that came before an evaluation: the first picture is better.
    """
    evaluations, every = 0, config.save_every
    photo_size = size_of(read_photograph(config.content).pixels)

    def enter(part: Phase) -> None:
        if part == "solve" and maker is not None and checkpoints is not None:
            checkpoints.company |= {"masks": list(maker.names), "segmentation": maker.origin}
        if part != "render" and written.first is not None and written.first.wanted:
            display.aside(written.first.shown())
        if part == "render" and evaluations:
            hold()
        display.enter(part)

    def watch(step: Step) -> None:
        nonlocal evaluations, every
        evaluations += 1
        display(step)
        frames.add(step.image)
        if every and evaluations % every == 0:
            path = snapshot_path(config.output, evaluations)
            try:
                write_snapshot(path, step.image.cpu())
                written.others.append(path)
            except ComputationError as error:  # a full disk: said once, for it costs these alone
                say(f"no more unfinished pictures: {error}")
                every = 0

    def attempt(config: Config) -> Result:
        nonlocal evaluations
        evaluations = 0
        if release():  # an earlier attempt had come to its rendering
            raise KeyboardInterrupt
        frames.clear()
        display.plan(schedule(config, *photo_size))
        return transfer(config, watch, say, maker, enter=enter, checkpoints=checkpoints)

    def keep(size: int, result: Result) -> None:
        with held():
            put(size, result)
            written.picture = f"the last good picture, of --size {size}"

    size, result = fitted(config, max(photo_size), checkpoints, attempt, keep, say)
    if result.ended == "interrupted" and written.output and not result.trace:
        raise KeyboardInterrupt
    return size, result


def _finish(
    config: Config,
    result: Result,
    frames: Frames,
    metrics: dict[str, Any],
    seconds: float,
    interrupted: bool,
) -> int:
    """What comes after the picture, each for itself, and how the run has ended. interrupted: since it was solved."""
    output = config.output
    if not config.quiet:
        size = f"{result.photo.width}x{result.photo.height}"
        tell(f"{output}  {size}  {seconds:.1f} s on {result.device}\n{record_path(output)}")
        _say_doubt(metrics)
    spared("moving picture", frames.write)
    if config.plot and result.trace:
        spared("loss curves", lambda: _plot(config, result))
    if not interrupted:
        spared("regions", lambda: show_regions(config, result))
        if config.show:
            spared("window", lambda: _show(result))
    if interrupted:
        return complain(f"interrupted; {output} is finished, without scores", INTERRUPTED)
    if result.ended == "done":
        return DONE
    if result.ended == "interrupted":
        further = "; --resume goes on" if path_exists(checkpoint_path(output)) else ""
        return complain(f"interrupted; the best picture so far is {output}{further}", INTERRUPTED)
    return complain(f"{result.ended}; the last good picture is {output}", FAILED)


def _plot(config: Config, result: Result) -> None:
    from photostyle.evaluation.reports import plot_losses

    plot_losses(result.trace, losses_path(config.output))


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
