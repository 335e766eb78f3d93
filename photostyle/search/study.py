"""A study: settings tried until there are enough trials, by one process or by several. Optuna chooses them.

A folder holds what came of it: study.json (of what), trials/NNNN.json and .png, and study.log, Optuna's journal,
unless another storage is named. The storage is the truth: a study goes on from it, wherever it was stopped.
"""

import json
import math
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from photostyle.config import Recipe
from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import commit, config_to_json, environment, write_record
from photostyle.files.arrays import path_of
from photostyle.files.images import write_image
from photostyle.optimisers import Diverged
from photostyle.presets import PRESETS
from photostyle.process import device_named
from photostyle.search.owners import is_gone, this_process
from photostyle.search.recovery import recovered
from photostyle.search.space import default_values, settings_of
from photostyle.search.storage import DamagedJournal, experimental, open_study, shown, working
from photostyle.search.trials import OBJECTIVES, Problem, Solution, Trial, placed, solve_with
from photostyle.settings import write_settings
from photostyle.version import __version__
from photostyle.workers.pool import Pool, ThisProcess

if TYPE_CHECKING:  # imported where it is used: only a search needs it
    import optuna
    from optuna.distributions import BaseDistribution

JOURNAL = "study.log"
STAGES = ("size", "coarsest", "iterations")  # the search's own, not of what it is for
# An open trial whose process cannot be asked is given up after this many times the slowest one, and never before
# LEAST_PATIENCE seconds.
PATIENCE, LEAST_PATIENCE = 10, 600


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a trial's settings, wherever they were tried."""

    solution: Solution | None  # None where it failed
    failure: str
    seconds: float
    environment: dict[str, Any]  # what it was computed with: records.environment


def try_settings(problem: Problem, settings: Mapping[str, Any]) -> Outcome:
    """Try settings on this machine, on the device that the problem's configuration means here; touches no file.

    Raises PhotostyleError where that device is CUDA and there is none.
    """
    device = device_named(problem.config.device)
    problem = placed(problem, device)
    began, solution, failure = time.perf_counter(), None, ""
    try:
        solution = solve_with(problem, settings)
        if not math.isfinite(solution.style + solution.edge + solution.drift16 + solution.doubt):
            solution, failure = None, "a score is not finite"
    except Diverged as error:
        failure = str(error)
    seconds = time.perf_counter() - began
    return Outcome(solution, failure, seconds, environment(str(device), torch.get_num_threads()))


class Study:
    """What has been tried for a problem, and the means to try more. Several processes may hold the same one."""

    def __init__(self, problem: Problem, folder: Path, storage: str | None = None) -> None:
        """Begin a study in an existing folder, or go on with the one that it holds.

        storage: a URL as Optuna takes them; None: a journal file in the folder, or where that is damaged the records of
        its trials, of which `notes` tells. Raises PhotostyleError where the
        folder holds a study of something else, or the storage cannot be used.
        """
        self.problem, self.folder = problem, folder
        self.where = shown(folder / JOURNAL, storage)
        _claim(folder / "study.json", problem, shown(Path(JOURNAL), storage))
        self.default = default_values(problem.config, problem.space)
        self.notes: tuple[str, ...] = ()
        try:
            self.study = open_study(problem.name, folder / JOURNAL, storage, [*OBJECTIVES.values()])
        except DamagedJournal as error:
            self.study, said = recovered(
                problem.name, folder / JOURNAL, OBJECTIVES, self._distributions(), error
            )
            self.notes = (said,)
        (folder / "trials").mkdir(exist_ok=True)
        self.origin = {"version": __version__, "commit": commit()}
        self.environment = environment(str(problem.scene.content.device), torch.get_num_threads())
        self._open: dict[int, optuna.Trial] = {}  # those that this process has under way

    def trials(self) -> list[Trial]:
        """All that have ended, by number. An interrupted one counts for nothing and is tried again."""
        return [self._read(each) for each in self._all() if each.state.is_finished()]

    def missing(self, count: int) -> int:
        """How many of so many trials are neither done nor being tried."""
        return count - sum(map(self._counts, self._all()))

    @property
    def under_way(self) -> int:
        """How many trials of this process are being tried."""
        return len(self._open)

    def run(self, count: int, pool: Pool | None = None) -> Generator[Trial]:
        """Try settings until the study has `count` trials, done or being tried elsewhere; yields this process's own.

        The first are the preset's own settings. A trial that diverges has failed and counts; one that an exception
        ends (KeyboardInterrupt too) is given back, to be the next at the next start. pool: where they are tried, as
        many at once as it has workers; default: here. Only this process speaks to the storage and writes files.
        """
        with working(self.where):
            yield from self._run(count, pool or ThisProcess())

    def picture(self, trial: Trial) -> Path:
        """Where the picture of a complete trial is, if it was made on this machine."""
        return self.folder / "trials" / f"{trial.number:04d}.png"

    def write_best(self, path: Path, trial: Trial) -> None:
        """Write a trial's settings as a file for --config at any size: sizes and evaluations stay the preset's."""
        config = self.problem.config
        usual = PRESETS[config.preset]
        carried = {
            field.name: getattr(config, field.name)
            for field in fields(Recipe)
            if field.name not in (*STAGES, "preset")
            and getattr(config, field.name) != usual.get(field.name, field.default)
        }
        content, style = path_of(config.content).name, path_of(config.style[0]).name
        comment = (
            f"Trial {trial.number} of study {self.problem.name}: {content} from {style} at {config.size} px\n"
            f"style {trial.style:.4f} ({self.problem.style_features})  edge {trial.edge:.4f}  "
            f"distance {trial.distance:.4f}  doubt {trial.doubt:.4f}"
        )
        write_settings(path, {"preset": config.preset, **carried, **trial.settings}, comment)

    def _run(self, count: int, pool: Pool) -> Iterator[Trial]:
        for frozen in self._all():
            if self._abandoned(frozen):
                self._give_back(frozen.number)
        shared = pool.share(self.problem if isinstance(pool, ThisProcess) else placed(self.problem, "cpu"))
        try:
            while self._ask(count, pool, shared):
                number, outcome = pool.finished()
                done = self._conclude(self._open[number], outcome)
                del self._open[number]
                yield done
        except BaseException:
            for number in list(self._open):
                self._give_back(number)
            raise
        finally:
            self._open.clear()

    def _ask(self, count: int, pool: Pool, shared: Any) -> bool:
        """Begin a trial for every free worker while any are missing; whether one is under way."""
        while len(self._open) < pool.workers and self.missing(count) > 0:
            trial = self.study.ask()
            self._open[trial.number] = trial
            trial.set_user_attr("process", this_process())
            values = self._values(trial)
            before = sum(self._counts(each) for each in self._all() if each.number < trial.number)
            if before >= count:  # another process was faster by a moment
                self._give_back(trial.number)
                del self._open[trial.number]
                break
            pool.submit(trial.number, try_settings, shared, settings_of(values, self.problem.config))
        return bool(self._open)

    def _all(self) -> "list[optuna.trial.FrozenTrial]":
        with working(self.where):
            return self.study.get_trials(deepcopy=False)

    def _values(self, trial: "optuna.Trial") -> dict[str, float]:
        """The point to try. A sampler a trial: draws follow from seed and number, and no two processes share them."""
        from optuna.samplers import BaseSampler, PartialFixedSampler, TPESampler

        with experimental():
            seed = (self.problem.config.seed + trial.number) % 2**32
            sampler: BaseSampler = TPESampler(seed=seed, multivariate=True, constant_liar=True)
            if trial.number == 0:
                # Not enqueued: of two processes that begin at once, one could ask before the other has done so.
                sampler = PartialFixedSampler(self.default, sampler)
            self.study.sampler = sampler
            return {
                each.field: trial.suggest_int(each.field, round(each.low), round(each.high), log=each.log)
                if isinstance(self.default[each.field], int)
                else trial.suggest_float(each.field, each.low, each.high, log=each.log)
                for each in self.problem.space
            }

    def _distributions(self) -> "dict[str, BaseDistribution]":
        """What `_values` draws from, as Optuna keeps it of a trial."""
        from optuna.distributions import FloatDistribution, IntDistribution

        return {
            each.field: IntDistribution(round(each.low), round(each.high), log=each.log)
            if isinstance(self.default[each.field], int)
            else FloatDistribution(each.low, each.high, log=each.log)
            for each in self.problem.space
        }

    def _conclude(self, trial: "optuna.Trial", outcome: Outcome) -> Trial:
        """Write what became of a trial, and tell it to Optuna."""
        from optuna.trial import TrialState

        solution = outcome.solution
        trial.set_user_attr("seconds", outcome.seconds)
        if solution is None:
            trial.set_user_attr("failure", outcome.failure)
        else:
            trial.set_user_attr("drift16", solution.drift16)
        done = self._read(self._all()[trial.number], solution)
        # The record first: a trial that was told is never without one.
        self._write(done, None if solution is None else solution.picture, outcome.environment)
        if solution is None:
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        else:
            scores = [getattr(solution, name) for name in OBJECTIVES]
            self.study.tell(trial, scores, skip_if_finished=True)
        return done

    def _read(self, frozen: "optuna.trial.FrozenTrial", solution: Solution | None = None) -> Trial:
        """A trial as Optuna holds it, with the scores where it was not told them yet."""
        known = frozen.user_attrs
        told = [getattr(solution, name) for name in OBJECTIVES] if solution else frozen.values
        scores = dict(zip(OBJECTIVES, told or [math.nan] * len(OBJECTIVES), strict=True))
        state: Literal["complete", "failed", "interrupted"] = "complete"
        if not told:
            state = "failed" if "failure" in known else "interrupted"
        return Trial(
            frozen.number,
            state,
            dict(frozen.params),
            settings_of(frozen.params, self.problem.config),
            known.get("seconds", 0.0),
            frozen.params == self.default,
            drift16=known["drift16"] if told else math.nan,
            failure=known.get("failure", ""),
            **scores,
        )

    def _write(self, trial: Trial, picture: Tensor | None, environment: dict[str, Any] | None = None) -> None:
        path = self.picture(trial)
        if picture is None:
            path.unlink(missing_ok=True)
        else:
            write_image(path, picture)
        entries = {
            "photostyle": self.origin,
            "study": self.problem.name,
            "number": trial.number,
            "state": trial.state,
            "failure": trial.failure,
            "default": trial.default,
            "values": trial.values,
            "settings": trial.settings,
            "scores": {
                "style": trial.style,
                "edge": trial.edge,
                "distance": trial.distance,
                "drift16": trial.drift16,
                "doubt": trial.doubt,
            },
            "style_features": self.problem.style_features,
            "seconds": trial.seconds,
            "picture": None if picture is None else path.name,
            "environment": environment or self.environment,
        }
        write_record(path.with_suffix(".json"), entries)

    def _counts(self, frozen: "optuna.trial.FrozenTrial") -> bool:
        """Whether a trial is done or being tried: not one that is in the queue, was interrupted or abandoned."""
        from optuna.trial import TrialState

        if frozen.state == TrialState.RUNNING:
            return not self._abandoned(frozen)
        return frozen.state == TrialState.COMPLETE or "failure" in frozen.user_attrs

    def _abandoned(self, frozen: "optuna.trial.FrozenTrial") -> bool:
        """Whether a trial is open and its process, as far as can be known, gone."""
        from optuna.trial import TrialState

        if frozen.state != TrialState.RUNNING or frozen.number in self._open:
            return False
        process = frozen.user_attrs.get("process", {})
        if is_gone(process):
            return True
        began = process.get("began") or (frozen.datetime_start.timestamp() if frozen.datetime_start else 0)
        slowest = max((each.user_attrs.get("seconds", 0) for each in self._all()), default=0)
        return bool(time.time() - began > max(LEAST_PATIENCE, PATIENCE * slowest))

    def _give_back(self, number: int) -> None:
        """End an open trial without a result; its settings are the next to be tried."""
        from optuna.trial import TrialState

        frozen = self._all()[number]
        if frozen.state.is_finished():
            return
        self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        if len(frozen.params) == len(self.problem.space) and "failure" not in frozen.user_attrs:
            self.study.enqueue_trial(frozen.params)
        self._write(self._read(self._all()[number]), None)


def _claim(path: Path, problem: Problem, storage: str) -> None:
    """Say in the folder of what its study is, and where it is kept; refuse a folder that holds another."""
    config = config_to_json(problem.config)
    inputs = {name: config[name] for name in ("content", "style", "weights", "masks")}
    if not path.exists():
        entries = {"study": problem.name, "storage": storage, "inputs": inputs, "identity": problem.identity}
        return write_record(path, entries)
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        different = ", ".join(_differences(there["identity"], problem.identity))
        kept = there["storage"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PhotostyleError(f"{path} is no study of photostyle; choose another --output") from error
    if different:
        raise PhotostyleError(f"{path} is of a study with another {different}; choose another --output")
    if kept != storage:
        raise PhotostyleError(f"{path} is of a study kept in {kept}, not {storage}; choose another --output")


def _differences(one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    """The names under which two identities differ, settings by their own names."""
    for name in sorted(one.keys() | other.keys()):
        if name == "settings":
            yield from _differences(one.get(name, {}), other.get(name, {}))
        elif one.get(name) != other.get(name):
            yield name
