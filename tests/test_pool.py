"""Pools: every task done once, whoever is lost on the way. On processes, and on a real Ray where it is installed."""

import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import on_workers
import pytest
from waiting import until

from photostyle.errors import ComputationError, PhotostyleError
from photostyle.presets import configure
from photostyle.search.study import Study
from photostyle.search.trials import prepare
from photostyle.workers.pool import ATTEMPTS, Pool, Processes, Task, ThisProcess

Workers = Callable[..., Pool]


def tasks(function: Callable[..., Any], *arguments: Any, count: int = 6) -> list[Task]:
    """A task for each number, the number last among its arguments."""
    return [Task(number, function, (*arguments, number)) for number in range(count)]


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def begun(folder: Path) -> list[str]:
    return sorted(path.name.split("-")[0] for path in folder.iterdir())


def test_tasks_are_done_by_others_and_every_result_comes_once(workers: Workers) -> None:
    with workers() as pool:
        assert pool.workers == 2
        results = list(pool.run(tasks(on_workers.squared)))
    assert sorted((key, result["square"]) for key, result in results) == [(n, n**2) for n in range(6)]
    assert os.getpid() not in {result["process"] for _, result in results}
    assert {result["threads"] for _, result in results} == {1}


def test_here_they_are_done_in_turn_and_only_when_asked_for() -> None:
    with ThisProcess() as pool:
        results = pool.run(tasks(on_workers.squared))
        first = next(results)
        assert first == (0, on_workers.squared(0))
        assert [key for key, _ in results] == [1, 2, 3, 4, 5]


def test_tasks_are_taken_as_workers_need_them() -> None:
    """What is read for a task is not held for all of them at once."""
    taken: list[int] = []

    def reading() -> Any:
        for task in tasks(on_workers.squared, count=20):
            taken.append(task.key)
            yield task

    with ThisProcess() as pool:
        results = pool.run(reading())
        next(results)
        assert taken == [0, 1]
        assert len(list(results)) == 19


@pytest.mark.slow
def test_a_task_that_ends_every_worker_is_given_up(workers: Workers, tmp_path: Path) -> None:
    with (
        workers() as pool,
        pytest.raises(ComputationError, match=f"task x: {ATTEMPTS} workers were lost") as caught,
    ):
        pool.submit("x", on_workers.ending, tmp_path)
        pool.finished()
    assert len(begun(tmp_path)) == ATTEMPTS and "\n" not in str(caught.value)


def test_what_a_task_raises_is_raised_and_not_tried_again(all_workers: Workers, tmp_path: Path) -> None:
    with all_workers() as pool:
        for name, kind, said in (
            ("input", PhotostyleError, "^a bad input$"),
            ("computation", ComputationError, "^not a number$"),
            ("memory", MemoryError, "^too much$"),
            ("bug", RuntimeError, "(?s)task bug failed on its worker.*in raising.*KeyError: 'a mistake'"),
        ):
            pool.submit(name, on_workers.raising, tmp_path, name)
            with pytest.raises(kind, match=said):
                pool.finished()
        pool.submit("y", on_workers.squared, 3)
        assert pool.finished()[1]["square"] == 9, "the workers go on"
    assert len(begun(tmp_path)) == 4


def test_what_is_shared_arrives(workers: Workers) -> None:
    content = bytes(5_000_000)
    with workers() as pool:
        shared = pool.share(content)
        results = dict(pool.run(tasks(on_workers.size, shared, count=4)))
    assert results == dict.fromkeys(range(4), len(content))


@pytest.mark.slow
def test_a_study_is_that_of_one_process(photographs: Path, workers: Workers) -> None:
    """Trials and pictures, to the bit. More of it, killed workers too, is test_study's."""
    given = {"content": photographs / "photo.jpg", "style": photographs / "sunset.jpg", "device": "cpu"}
    problem = prepare(configure("patches", **given, size=48, iterations=(2,), patch_draws=4, boldness=1.0))
    folders = [photographs / name for name in ("alone", "together")]
    for folder in folders:
        folder.mkdir()
    alone, together = (Study(problem, folder) for folder in folders)
    trials = list(alone.run(2))
    with workers() as pool:
        found = sorted(together.run(2, pool), key=lambda trial: trial.number)
    for one, other in zip(trials, found, strict=True):
        assert dataclasses.replace(other, seconds=one.seconds) == one
        assert together.picture(other).read_bytes() == alone.picture(one).read_bytes()


def test_a_killed_worker_s_task_is_done_by_another(
    all_workers: Workers, tmp_path: Path, kill_first: Callable[[Path, str], None]
) -> None:
    """Nothing is lost, nothing comes twice, and only the victim was begun twice."""
    said: list[str] = []
    kill_first(tmp_path, "2")
    with all_workers(say=said.append) as pool:
        arguments = [Task(number, on_workers.killed_once, (tmp_path, number, 2)) for number in range(6)]
        results = sorted(pool.run(arguments))
    assert results == [(number, number**2) for number in range(6)]
    assert begun(tmp_path) == ["0", "1", "2", "2", "3", "4", "5"]
    assert said == [f"task 2: its worker was lost; attempt 2 of {ATTEMPTS}"]


def test_leaving_it_ends_what_is_running(all_workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), all_workers() as pool:
        pool.submit("x", on_workers.waiting, tmp_path)
        until(lambda: any(tmp_path.iterdir()), "the task")
        process = int(next(tmp_path.iterdir()).name.split("-")[1])
        assert is_alive(process)
        raise KeyboardInterrupt
    until(lambda: not is_alive(process), "the end of the worker")


@pytest.mark.slow
def test_a_worker_lost_while_idle_is_noticed(kept_processes: Processes) -> None:
    """Its next task is sent to nobody, and then to another."""
    with kept_processes as pool:
        pool.submit("x", on_workers.squared, 2)
        process = pool.finished()[1]["process"]
        os.kill(process, signal.SIGKILL)
        pool.submit("y", on_workers.squared, 3)
        result = pool.finished()[1]
    assert result["square"] == 9 and result["process"] != process


def test_the_machine_decides_how_many() -> None:
    cores = len(os.sched_getaffinity(0))
    assert Processes(1, gpu=False).workers == cores
    assert Processes(cores, gpu=False).workers == Processes(cores + 1, gpu=False).workers == 1
    assert Processes(2, gpu=False, count=3).description == "3 processes of this machine, 2 cores each"


def test_every_gpu_has_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    pool = Processes(2)
    assert (pool.workers, pool.description) == (3, "3 processes of this machine, 2 cores and a GPU each")
    started: list[int | None] = []

    class Worker:
        def __init__(self, threads: int, gpu: int | None) -> None:
            self.gpu = gpu
            started.append(gpu)

        def send(self, task: Task) -> None:
            pass

    monkeypatch.setattr("photostyle.workers.pool._Worker", Worker)
    for number in range(5):
        pool.submit(number, on_workers.squared, number)
    assert started == [0, 1, 2]
