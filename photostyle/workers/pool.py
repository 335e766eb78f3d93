"""Tasks that do not depend on each other, on many workers: results as they come, the task of a lost worker once more.

A task is a function that can be imported and arguments that can be pickled. It returns what came of it and leaves files
to who asked: its worker may be another machine. What it raises is raised to who asked, and not tried again; only a
worker that is lost with its task (killed, out of memory, its machine gone) says nothing of the task itself.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, Self

import torch

from photostyle.errors import ComputationError, PhotostyleError
from photostyle.process import WAITING, environment, prepared

# A worker that is lost once is bad luck, and twice can be; a task that has lost three is what kills them.
ATTEMPTS = 3
AHEAD = 2  # tasks under way for each worker, so that none waits for its next one while a result is written

Key = Any  # hashable; of the asker's own kind
Say = Callable[[str], None]
Answer = tuple[Literal["done", "bad input", "failed", "memory", "broken"], Any]


@dataclass(frozen=True)
class Task:
    """A function, its arguments, and under which key its result is wanted; keys under way are different."""

    key: Key
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class LostTask(ComputationError):
    """A task whose workers were lost, all of them. key: its own."""

    def __init__(self, key: Key) -> None:
        super().__init__(
            f"task {key}: {ATTEMPTS} workers were lost with it (killed, or out of memory); what is done is kept"
        )
        self.key = key


class Pool(ABC):
    """Workers that take tasks. Leaving its `with` ends what is still running."""

    description: str  # of the workers, for people

    def __init__(self, say: Say = lambda line: None) -> None:
        """say is told, one line each, of a task that is tried again."""
        self.say = say
        self._under_way: dict[Key, tuple[Task, int]] = {}  # and its attempts

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many tasks can run at once, now."""

    @abstractmethod
    def close(self) -> None:
        """End the workers, and with them what is still running."""

    @abstractmethod
    def _start(self, task: Task) -> None:
        """Give a task to a worker, at once or when one is free."""

    @abstractmethod
    def _ended(self) -> tuple[Key, Answer | None]:
        """Wait for a task to end; None where its worker was lost."""

    def share(self, value: Any) -> Any:
        """What stands for a value among the arguments of many tasks, so that it need not travel with each."""
        return value

    def submit(self, key: Key, function: Callable[..., Any], *arguments: Any) -> None:
        """Begin a task; `finished` will give its result under this key."""
        task = Task(key, function, arguments)
        self._under_way[key] = task, 1
        self._start(task)

    def finished(self) -> tuple[Key, Any]:
        """Wait for one of the tasks under way; returns its key and its result.

        Raises PhotostyleError, ComputationError or MemoryError where the task did, RuntimeError with the worker's
        traceback for anything else, and LostTask where ATTEMPTS workers were lost with it: the others go on.
        """
        while True:
            key, answer = self._ended()
            if answer is not None:
                del self._under_way[key]
                return key, _value(key, answer)
            task, attempts = self._under_way[key]
            if attempts == ATTEMPTS:
                del self._under_way[key]
                raise LostTask(key)
            self.say(f"task {key}: its worker was lost; attempt {attempts + 1} of {ATTEMPTS}")
            self._under_way[key] = task, attempts + 1
            self._start(task)

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Key, Any]]:
        """The keys and results of many tasks, as they come. They are taken from the iterable as workers need them."""
        waiting = iter(tasks)
        while True:
            while len(self._under_way) < AHEAD * self.workers and (task := next(waiting, None)) is not None:
                self.submit(task.key, task.function, *task.arguments)
            if not self._under_way:
                return
            yield self.finished()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ThisProcess(Pool):
    """No workers: a task runs here when its result is asked for, and what it raises comes as it is."""

    description = "this process"
    workers = 1

    def __init__(self, say: Say = lambda line: None) -> None:
        super().__init__(say)
        self._waiting: deque[Task] = deque()

    def close(self) -> None:
        """Forget what has not begun."""
        self._waiting.clear()
        self._under_way.clear()

    def _start(self, task: Task) -> None:
        self._waiting.append(task)

    def _ended(self) -> tuple[Key, Answer]:
        task = self._waiting.popleft()
        return task.key, ("done", task.function(*task.arguments))


class Processes(Pool):
    """Processes of this machine, each with so many cores; as many as the cores suffice for, or one for each GPU."""

    def __init__(
        self, cores: int = 1, gpu: bool = True, count: int | None = None, say: Say = lambda line: None
    ) -> None:
        """gpu: whether tasks may use one. count: of processes, whatever the machine has."""
        super().__init__(say)
        self.cores, self.gpus = cores, torch.cuda.device_count() if gpu else 0
        self.count = count or self.gpus or max(1, cores_here() // cores)
        each = f"{cores} core{'s' * (cores > 1)}{' and a GPU' * bool(self.gpus)} each"
        self.description = f"{self.count} process{'es' * (self.count > 1)} of this machine, {each}"
        self._waiting: deque[Task] = deque()
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, Task] = {}

    @property
    def workers(self) -> int:
        return self.count

    def close(self) -> None:
        for worker in (*self._idle, *self._busy):
            worker.kill()
        self._idle.clear()
        self._busy.clear()
        self._waiting.clear()
        self._under_way.clear()

    def _start(self, task: Task) -> None:
        self._waiting.append(task)
        self._give_out()

    def _give_out(self) -> None:
        """Tasks to idle workers, and to new ones while there are fewer than may be."""
        while self._waiting and (self._idle or len(self._busy) < self.count):
            worker = self._idle.pop() if self._idle else _Worker(self.cores, self._free_gpu())
            task = self._waiting.popleft()
            self._busy[worker] = task
            worker.send(task)

    def _free_gpu(self) -> int | None:
        if not self.gpus:
            return None
        load = [worker.gpu for worker in self._busy]
        return min(range(self.gpus), key=load.count)

    def _ended(self) -> tuple[Key, Answer | None]:
        by_pipe = {worker.pipe: worker for worker in self._busy}
        worker = by_pipe[next(each for each in wait(list(by_pipe)) if isinstance(each, Connection))]
        task = self._busy.pop(worker)
        answer = worker.receive()
        if answer is None:
            worker.kill()
        else:
            self._idle.append(worker)
        self._give_out()
        return task.key, answer


class _Worker:
    """A process that answers one task at a time, and ends with this one."""

    def __init__(self, threads: int, gpu: int | None) -> None:
        self.gpu = gpu
        # Spawned, not forked: a fork of a process that has used OpenMP or CUDA hangs.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, threads, gpu), daemon=True)
        # Ctrl-C is for this process: it ends the others.
        with _interrupts_blocked(), environment(WAITING):
            self.process.start()
        theirs.close()  # the process's end of it alone: when it is lost, the pipe ends

    def send(self, task: Task) -> None:
        try:
            self.pipe.send((task.function, task.arguments))
        except OSError:  # lost already: so says `receive`
            pass

    def receive(self) -> Answer | None:
        try:
            answer: Answer = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return answer

    def kill(self) -> None:
        if os.name == "posix" and self.process.pid is not None:
            with suppress(
                ProcessLookupError, PermissionError
            ):  # gone already, or without a group of its own yet
                os.killpg(self.process.pid, signal.SIGKILL)  # with the processes that its task has started
        self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()


def answer(threads: int, function: Callable[..., Any], *arguments: Any) -> Answer:
    """What a worker makes of a task: its result, or what is wrong, in types that travel to who asked."""
    try:
        with prepared(threads):
            return "done", function(*arguments)
    except PhotostyleError as error:
        return "bad input", str(error)
    except ComputationError as error:
        return "failed", str(error)
    except (MemoryError, torch.OutOfMemoryError) as error:
        return "memory", str(error)
    except Exception:
        return "broken", traceback.format_exc()


def _value(key: Key, answer: Answer) -> Any:
    kind, value = answer
    if kind == "done":
        return value
    if kind == "bad input":
        raise PhotostyleError(value)
    if kind == "failed":
        raise ComputationError(value)
    if kind == "memory":
        raise MemoryError(value)
    raise RuntimeError(f"task {key} failed on its worker:\n{value}")


def _serve(pipe: Connection, threads: int, gpu: int | None) -> None:
    if os.name == "posix":
        os.setsid()  # a group of its own, so that what a task starts can be ended with it
    threading.Thread(target=_end_with_who_asked, daemon=True).start()
    if gpu is not None:
        torch.cuda.set_device(gpu)
    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, OSError):  # who asked is gone
            return
        pipe.send(answer(threads, function, *arguments))


def _end_with_who_asked() -> None:
    """Without it a task would go on, for nobody, beside the same one of the next start."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """SIGINT waits, and for ever in a process that is started meanwhile."""
    if os.name != "posix":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def cores_here() -> int:
    """Those that this process may use: a container or a batch system may give fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
