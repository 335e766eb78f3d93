"""photostyle search: settings for two photographs, tried at low resolution, as a file for `run --config`."""

import dataclasses
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import tyro

from photostyle.bounds import Between
from photostyle.cli.arguments import parse
from photostyle.cli.console import (
    DONE,
    FAILED,
    INTERRUPTED,
    complain,
    line,
    make_folder,
    note,
    refuse_inputs,
    tell,
)
from photostyle.cli.quoting import command_line
from photostyle.cli.terminal import duration
from photostyle.config import MASK_WORDS, Config, Recipe
from photostyle.errors import PhotostyleError
from photostyle.files.reading import real_path
from photostyle.materials import TO_BE_MADE
from photostyle.presets import PRESETS, configure
from photostyle.process import prepared
from photostyle.search.page import write_page
from photostyle.search.pareto import choose, front_table, plot_front, preset_trial
from photostyle.search.study import Study
from photostyle.search.trials import Problem, Trial, prepare, scored_in
from photostyle.workers.pool import Pool
from photostyle.workers.ray_pool import check_cluster, open_pool

BEST, PLOT, PAGE = "best.toml", "pareto.png", "report.html"


@dataclasses.dataclass(frozen=True)
class SearchCommand:
    """Look for weights that suit two photographs: many trials at low resolution, style against edges."""

    content: Path
    """the photograph whose structure is kept"""
    style: Path
    """the reference photograph whose colours, light and mood are taken"""
    masks: tuple[str, ...] = ("none",)
    """region masks: CONTENT_MASK STYLE_MASK (files, or folders with a legend.toml); none: one region"""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("search")
    """the folder to write; a search that it holds goes on"""
    trials: int = 50
    """how many in all, those of an earlier start and of other processes on the same folder among them"""
    storage: str | None = None
    """where trials are kept, as an Optuna URL (postgresql://...), so that several machines share them; default: a
    journal file in the folder"""
    preset: Literal["auto", "patches", "photoreal"] = "auto"
    """what is varied; auto is photoreal with VGG weights, else patches"""
    size: int = PRESETS["search"]["size"]
    """long side in pixels"""
    iterations: tuple[int, ...] = PRESETS["search"]["iterations"]
    """evaluations of each stage of a trial"""
    boldness: Annotated[float | None, Between(0, 1)] = None
    """how far regions may go, as of photostyle run; default: by how related each is to its reference"""
    weights: Path | None = None
    """VGG weights, for the terms and for the style score; default: torch hub cache, then download"""
    encoder: Literal["vgg19", "vgg16"] = "vgg19"
    """the architecture of the weights"""
    download: bool = True
    """fetch VGG weights when they are neither given nor cached"""
    seed: int = Recipe.seed
    """seed of what is tried and of every trial"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where to compute"""
    threads: int = 0
    """CPU threads; 0: torch's own choice"""
    cluster: str | None = None
    """where trials are computed: auto (Ray at RAY_ADDRESS, else Ray on this machine), ray://HOST:PORT, local (processes
    of this machine); default: this process"""
    cores: int = 1
    """CPU cores per trial on a cluster; where it has GPUs, a trial gets one too"""


def search(arguments: Sequence[str]) -> int:
    """photostyle search: trials until there are enough, then the front, the chosen settings, how to use them."""
    options = parse(SearchCommand, arguments, "photostyle search")
    if options.trials < 1:
        raise PhotostyleError(f"--trials is {options.trials}; it must be at least 1")
    check_cluster(options.cluster, options.cores)
    config = _config(options)
    _refuse_to_overwrite(options)
    with prepared(options.threads):
        return _search(options, config)


def _search(options: SearchCommand, config: Config) -> int:
    problem = _problem(config, options)
    for text in problem.plan.notes:
        note(text)
    make_folder(options.output)
    study = Study(problem, options.output, options.storage)
    for text in study.notes:
        note(text)
    line(f"{problem.name}: preset {config.preset}, {len(problem.space)} settings; {scored_in(problem)}")
    try:
        gpu = options.device != "cpu"
        with open_pool(options.cluster, options.cores, gpu=gpu, say=note) as pool:
            if options.cluster:
                line(pool.description)
            _watch(study, options.trials, pool)
    except KeyboardInterrupt:
        if choose(study.trials()) is not None:
            _conclude(options, study)
        return complain("interrupted; the same command goes on", INTERRUPTED)
    return _conclude(options, study)


def _config(options: SearchCommand) -> Config:
    """Of the default trial: the preset at the search's size."""
    if options.masks in TO_BE_MADE:
        raise PhotostyleError(
            f"--masks {options.masks[0]} would make them anew; make them once with photostyle segment, look, and give "
            "their folders"
        )
    given = dataclasses.asdict(options)
    asked = {name: given[name] for name in given.keys() - {"output", "trials", "storage", "cluster", "cores"}}
    if options.cluster:
        if options.threads:
            raise PhotostyleError("--threads is of this process; give --cores for the trials on a cluster")
        asked["threads"] = options.cores
    return configure(**PRESETS["search"] | asked)


def _problem(config: Config, options: SearchCommand) -> Problem:
    """The problem, on the CPU where its trials go elsewhere: there may be no CUDA here."""
    if not options.cluster:
        return prepare(config, note)
    return dataclasses.replace(prepare(dataclasses.replace(config, device="cpu"), note), config=config)


def _refuse_to_overwrite(options: SearchCommand) -> None:
    """Nothing that is read may be written, and no file of these names that was here before the search."""
    written = [options.output / name for name in (BEST, PLOT, PAGE)]
    inputs = [options.content, options.style, options.weights, *(Path(name) for name in options.masks)]
    refuse_inputs(written, inputs)
    if any(path and real_path(path).parent == real_path(options.output / "trials") for path in inputs):
        raise PhotostyleError(f"{options.output / 'trials'} holds an input; choose another --output")
    foreign = [path for path in written if path.exists()]
    foreign += sorted((options.output / "trials").glob("[0-9]" * 4 + ".*"))
    if foreign and not (options.output / "study.json").exists():
        raise PhotostyleError(f"{foreign[0]} exists and is of no search here; choose another --output")


def _watch(study: Study, count: int, pool: Pool) -> None:
    """Run the trials, with a line for each."""
    began, before = time.perf_counter(), count - study.missing(count)
    if before:
        line(f"{before} of {count} trials were done before or are being done")
    with closing(study.run(count, pool)) as trials:  # closed, it gives back what is under way
        for trial in trials:
            missing = max(0, study.missing(count)) + study.under_way
            done = count - missing
            left = (time.perf_counter() - began) / max(1, done - before) * missing
            scores = f"style {trial.style:.3f}  edge {trial.edge:.3f}  distance {trial.distance:.3f}"
            scores += f"  doubt {trial.doubt:.2f}"
            said = scores if trial.state == "complete" else f"failed: {trial.failure}"
            line(
                f"trial {trial.number}  {done}/{count}  {said}  {trial.seconds:.1f} s  {duration(left)} left"
            )


def _conclude(options: SearchCommand, study: Study) -> int:
    """Write what the trials so far amount to, and say it. Returns the exit code."""
    trials = study.trials()
    best = choose(trials)
    if best is None:
        return complain("no trial is complete: there is nothing to choose from", FAILED)
    study.write_best(options.output / BEST, best)
    tell(front_table(trials))
    tell(f"\n{_verdict(best, trials)}\n{scored_in(study.problem)}")
    _draw(options, study, trials, best)
    for name in (BEST, PLOT, PAGE):
        tell(options.output / name)
    tell(f"\n{_command(options, study.problem)}")
    return DONE


def _draw(options: SearchCommand, study: Study, trials: Sequence[Trial], best: Trial) -> None:
    """Plot and page."""
    problem, folder = study.problem, options.output
    pictures = {trial.number: study.picture(trial) for trial in trials if study.picture(trial).exists()}
    plot_front(trials, pictures, problem.style_features, folder / PLOT)
    write_page(
        folder / PAGE,
        f"{options.content.name} from {options.style.name}",
        (problem.name, scored_in(problem), _verdict(best, trials), _command(options, problem)),
        {"content": problem.scene.content, "style": problem.scene.style},
        folder / PLOT,
        trials,
        pictures,
    )


def _verdict(best: Trial, trials: Sequence[Trial]) -> str:
    text = f"chosen: trial {best.number}, distance {best.distance:.3f} = sqrt(style^2 + (1 - edge)^2)"
    text += f", doubt {best.doubt:.2f}" + (" (every trial is doubtful: look at it)" if best.doubtful else "")
    preset = preset_trial(trials)
    return text if preset is None else f"{text}; the preset's own settings: {preset.distance:.3f}"


def _command(options: SearchCommand, problem: Problem) -> str:
    """How to use the chosen settings, at any size."""
    words: list[str | Path] = ["photostyle", "run", "--config", options.output / BEST]
    words += ["--content", options.content, "--style", options.style, "--masks"]
    words += [name if name in MASK_WORDS else Path(name) for name in options.masks]
    if problem.encoder is not None and options.weights is not None:
        words += ["--weights", options.weights, "--encoder", options.encoder]
    return command_line(*words, "--output", options.output / "best.png")
