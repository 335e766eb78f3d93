"""photostyle batch: many photographs in one start, several at once, and a page of what came out."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from photostyle.batch.freshness import Hashes, why_make
from photostyle.batch.look import Look, identity, pooled
from photostyle.batch.page import PAGE, SHEET, THUMBNAILS, Shown, thumbnail_names, write_page, write_sheet
from photostyle.batch.summary import Job, look_of, outputs_of, read_summary, write_summary
from photostyle.cli.arguments import named
from photostyle.cli.batch_jobs import BatchCommand, jobs_of, read_command, refuse_to_overwrite
from photostyle.cli.batch_work import CONSISTENT, Outcome, apply, make, measure, restore_thumbnails
from photostyle.cli.console import DONE, FAILED, INTERRUPTED, complain, line, make_folder, note, spared, tell
from photostyle.cli.outputs import record_path
from photostyle.cli.signals import came
from photostyle.cli.terminal import duration
from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import config_from_json, config_to_json, environment, read_record
from photostyle.files.arrays import path_of
from photostyle.files.images import read_image
from photostyle.files.lock import alone_in
from photostyle.files.reading import path_exists, path_is_dir
from photostyle.memory import Work, estimate
from photostyle.objective import feature_layers
from photostyle.process import device_named, free_memory
from photostyle.workers.pool import AHEAD, LostTask, Pool, Processes, Task, ThisProcess, cores_here
from photostyle.workers.ray_pool import check_cluster, open_pool

# When processes of one thread pay, each of which imports torch for 4 s: 12 MP in closed form take 2.5 s on one thread
# and 1.7 on two, so from a hundred megapixels on; a solve gains less from a second thread, and takes longer.
LEAST_PIXELS, LEAST_SOLVES = 100_000_000, 3
REGIONS = 8  # of a photograph with masks, for the estimate of memory: more are rare


@dataclass(frozen=True)
class Batch:
    """What a batch is of, once it is begun."""

    options: BatchCommand
    jobs: list[Job]
    look: Look | None
    quiet: bool
    began: float

    @property
    def folder(self) -> Path:
        return self.options.output

    def say(self, text: str) -> None:
        if not self.quiet:
            line(text)

    def given(self, job: Job) -> Config:
        """What a worker is given: on a cluster with absolute paths, since its working folder may be another."""
        if not self.options.cluster:
            return job.config
        return config_from_json(config_to_json(job.config), self.folder)

    def write(self, ended: str) -> None:
        """The summary as it is now."""
        config = self.jobs[0].config
        made_with = environment(str(device_named(config.device)), config.threads or torch.get_num_threads())
        write_summary(self.folder, ended, self.jobs, self.look, time.perf_counter() - self.began, made_with)


def batch(arguments: Sequence[str]) -> int:
    """photostyle batch: what is still to be made, then a page, a sheet and a summary of all."""
    began = time.perf_counter()
    options, words = read_command(arguments)
    check_cluster(options.cluster, options.cores)
    quiet = "quiet" in named(words) and "--no-quiet" not in words
    jobs, notes = jobs_of(options, words)
    if options.cluster and jobs[0].config.threads:
        raise PhotostyleError("--threads is of this process; give --cores for the pictures on a cluster")
    summary = read_summary(options.output) if path_is_dir(options.output) else None
    _refuse_foreign(options.output, summary is not None)
    refuse_to_overwrite(jobs, outputs_of(summary))
    for text in [] if quiet else notes:
        note(text)
    for path in dict.fromkeys(path_of(each) for job in jobs for each in job.config.style):
        read_image(path)  # said once, before the work
    make_folder(options.output)
    make_folder(options.output / THUMBNAILS)
    with alone_in(options.output, "batch"):
        return _batch(Batch(options, jobs, None, quiet, began))


def _refuse_foreign(folder: Path, ours: bool) -> None:
    """Names that nobody gave must not cost anybody a file."""
    standing = [folder / name for name in (PAGE, SHEET, THUMBNAILS) if path_exists(folder / name)]
    if standing and not ours:
        # A folder that is empty, or of our lock alone, holds nothing to lose: a batch may have ended as it began.
        if standing == [folder / THUMBNAILS] and not any(standing[0].iterdir()):
            return
        raise PhotostyleError(f"{standing[0]} exists and is of no batch here; choose another --output")


def _batch(work: Batch) -> int:
    # Asked under the lock: what another batch has just made is not made again.
    summary, hashes = read_summary(work.folder), Hashes()
    refuse_to_overwrite(work.jobs, outputs_of(summary))
    try:
        if work.options.consistent:
            work = _with_look(work, look_of(summary, of := _of(work.jobs, hashes)), of)
        _find_what_is_to_do(work, hashes)
        work.write("running")
        _make(work)
    except KeyboardInterrupt:
        _conclude(work, "interrupted")
        done = sum(job.state in ("made", "kept") for job in work.jobs)
        return complain(
            f"interrupted; {done} of {len(work.jobs)} pictures are done: the same command goes on",
            INTERRUPTED,
        )
    failed = [job for job in work.jobs if job.state == "failed"]
    _conclude(work, "failed" if failed else "done")
    if not failed:
        return DONE
    for job in failed:
        line(f"failed: {job.config.content}: {job.failure}")
    return complain(f"{len(failed)} of {len(work.jobs)} pictures failed; the others are done", FAILED)


def _of(jobs: Sequence[Job], hashes: Hashes) -> str:
    """What the look of a set follows from; one style for all."""
    if len({job.config.style for job in jobs}) > 1:
        raise PhotostyleError(
            "--consistent gives one look, and the pairs have several references; give one for all"
        )
    inputs = []
    for job in jobs:
        files = [path for path in job.config.files if path != job.config.weights]
        files = [each for path in files for each in (sorted(path.iterdir()) if path_is_dir(path) else [path])]
        inputs.append([_hash_or_nothing(path, hashes) for path in files])
    return identity(jobs[0].config, inputs)


def _hash_or_nothing(path: Path, hashes: Hashes) -> str:
    try:
        return hashes.of(path)
    except PhotostyleError:  # said of the one picture that needs it, by who measures it
        return ""


def _with_look(work: Batch, found: Look | None, of: str) -> Batch:
    """With the look of the set: as the summary has it, else from the statistics of every photograph."""
    if found is None:
        tasks = [Task(number, measure, (work.given(job),)) for number, job in enumerate(work.jobs)]
        statistics = {}
        with _pool(work, work.jobs) as pool:
            for count, (number, outcome) in enumerate(_results(pool, tasks), 1):
                job = work.jobs[number]
                if outcome.failure:
                    job.state, job.failure = "failed", outcome.failure
                else:
                    statistics[number] = outcome.value
                work.say(f"{count}/{len(tasks)}  {job.title}  colours of the set")
        if not statistics:
            raise PhotostyleError(f"no photograph can be read; the first: {work.jobs[0].failure}")
        # In the order of the set, whichever came first: sums of floats depend on it.
        found = pooled([statistics[number] for number in sorted(statistics)], work.jobs[0].config, of)
    return Batch(work.options, work.jobs, found, work.quiet, work.began)


def _find_what_is_to_do(work: Batch, hashes: Hashes) -> None:
    """Say of every picture why it is to be made, and of how many there is nothing to do."""
    look = {} if work.look is None else {"look": vars(work.look)}
    command = {"command": CONSISTENT} if look else {}
    for job in work.jobs:
        job.why = why_make(job.config, record_path(job.output), hashes, also=look, **command)
        if not job.why and job.state != "failed":
            job.state = "kept"
    kept = sum(job.state == "kept" for job in work.jobs)
    if kept:
        work.say(f"{kept} of {len(work.jobs)} pictures are as they would be made, and kept")
    for job in work.jobs:
        if job.why not in ("", "missing") and job.state != "failed":
            work.say(f"again: {job.output.name} ({job.why})")


def _make(work: Batch) -> None:
    """Make what is to be made, with a line for each."""
    wanted = [number for number, job in enumerate(work.jobs) if job.why and job.state != "failed"]
    if not wanted:
        return
    began, done = time.perf_counter(), 0
    tasks = [_task(number, work.given(work.jobs[number]), work.look) for number in wanted]
    with _pool(work, [work.jobs[number] for number in wanted]) as pool:
        for number, outcome in _results(pool, tasks):
            job, done = work.jobs[number], done + 1
            job.state, job.failure = ("failed" if outcome.failure else "made"), outcome.failure
            job.seconds, job.notes = outcome.seconds, outcome.notes
            left = (time.perf_counter() - began) / done * (len(wanted) - done)
            said = f"failed: {job.failure}" if job.failure else f"{job.output.name}  {job.seconds:.1f} s"
            work.say(f"{done}/{len(wanted)}  {job.title}  {said}  {duration(left)} left")
            if came():  # while a finished picture was scored, which costs that its scores alone
                raise KeyboardInterrupt


def _task(number: int, config: Config, look: Look | None) -> Task:
    return Task(number, make, (config,)) if look is None else Task(number, apply, (config, look))


def _results(pool: Pool, tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
    """As `Pool.run`; what kills its workers is one picture that failed."""
    waiting, under_way = iter(tasks), 0
    while True:
        while under_way < AHEAD * pool.workers and (task := next(waiting, None)) is not None:
            pool.submit(task.key, task.function, *task.arguments)
            under_way += 1
        if not under_way:
            return
        try:
            yield pool.finished()
        except LostTask as lost:
            yield lost.key, Outcome("its process was killed each time, or out of memory", 0.0)
        under_way -= 1


def _pool(work: Batch, jobs: Sequence[Job]) -> Pool:
    """Where pictures are made: as --cluster says, else processes of this machine where they pay, else this process."""
    config, options = jobs[0].config, work.options
    if options.cluster:
        pool = open_pool(
            options.cluster,
            options.cores,
            gpu=config.device != "cpu",
            packages=("photostyle", "segmentation"),
            say=note,
        )
        work.say(pool.description)
        return pool
    count = 1 if config.threads or device_named(config.device).type == "cuda" else _processes(jobs)
    if count < 2:
        return ThisProcess(note)
    pool = Processes(1, gpu=False, count=count, say=note)
    work.say(pool.description)
    return pool


def _processes(jobs: Sequence[Job]) -> int:
    """How many processes of one thread pay for so much work, and find room in memory."""
    sizes = {job.output: _size(path_of(job.config.content)) for job in jobs}
    solves = sum(any(job.config.evaluations) for job in jobs)
    if solves < LEAST_SOLVES and sum(height * width for height, width in sizes.values()) < LEAST_PIXELS:
        return 1
    free = free_memory(torch.device("cpu"))
    largest = max(estimate(job.config, _work_of(job.config, sizes[job.output])) for job in jobs)
    room = cores_here() if free is None else max(1, free // largest)
    return min(cores_here(), len(jobs), room)


def _work_of(config: Config, size: tuple[int, int]) -> Work:
    references = tuple(_size(path_of(each)) for each in config.style)
    regions = 1 if config.masks == ("none",) else REGIONS
    return Work(size, references, regions, bool(feature_layers(config)), mapped=True, protected=True)


def _size(path: Path) -> tuple[int, int]:
    """Height and width as the head of a file says; 0 where it says nothing: its worker will tell why."""
    with suppress(Exception), Image.open(path) as image:
        return image.height, image.width
    return 0, 0


def _conclude(work: Batch, ended: str) -> None:
    """The summary, the page and the sheet of what there is."""
    work.write(ended)
    shown = [job for job in work.jobs if job.state in ("made", "kept")]
    for job in shown:
        if job.state == "kept":
            job.notes = tuple(read_record(record_path(job.output), command=None)["notes"])
            spared(f"small copies of {job.output}", partial(restore_thumbnails, job.config))
    made = sum(job.state == "made" for job in work.jobs)
    seconds = time.perf_counter() - work.began
    counts = [f"{made} made", f"{len(shown) - made} kept"]
    counts += [
        f"{count} {state}"
        for state in ("failed", "not begun")
        if (count := sum(j.state == state for j in work.jobs))
    ]
    text = f"{len(work.jobs)} photographs: {', '.join(counts)}, in {duration(seconds)}"
    spared("page", lambda: _write_page(work, text, shown))
    if shown:
        spared("contact sheet", lambda: _write_sheet(work, shown))
    if not work.quiet:
        tell(text)
        written = [PAGE, SHEET] if shown else [PAGE]
        tell(*(work.folder / name for name in written))


def _write_page(work: Batch, text: str, shown: Sequence[Job]) -> None:
    remarks = [text]
    if work.look is not None:
        strengths = ", ".join(f"{name} {each:.2f}" for name, each in work.look.strength.items())
        remarks.append(f"One look for all: one map of colour, at a strength of {strengths}.")
    pictures = []
    for job in work.jobs:
        names = [each if each.is_file() else None for each in thumbnail_names(job.output)]
        before, after = ("" if each is None else f"{THUMBNAILS}/{each.name}" for each in names)
        if job in shown:
            pictures.append(Shown(job.title, job.output.name, before, after, " · ".join(job.notes)))
        else:
            pictures.append(Shown(job.title, job.output.name, "", "", job.failure or job.state, failed=True))
    write_page(
        work.folder / PAGE, f"{work.folder.resolve().name}: {len(work.jobs)} photographs", remarks, pictures
    )


def _write_sheet(work: Batch, shown: Sequence[Job]) -> None:
    pictures = [(job.output.name, *thumbnail_names(job.output)) for job in shown]
    write_sheet(work.folder / SHEET, [each for each in pictures if each[1].is_file() and each[2].is_file()])
