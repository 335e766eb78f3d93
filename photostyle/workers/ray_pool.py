"""Tasks on Ray (https://docs.ray.io), on one machine or many; and which pool `--cluster` means.

Ray is the extra `cluster`. Its workers need this project's dependencies, the same Python and the same Ray; the
project's own code travels with the tasks. Ray's own settings are its environment variables (RAY_AUTH_TOKEN, ...).
"""

import importlib.util
import ipaddress
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from photostyle.errors import ComputationError, PhotostyleError
from photostyle.files.atomic import temporary_folder
from photostyle.process import WAITING, environment
from photostyle.workers.pool import Answer, Key, Pool, Processes, Say, Task, ThisProcess, answer, cores_here

INSTALL = "pip install 'photostyle[cluster]'"
CODE = ("*.py", "*.pyi", "*.toml")  # what a package's code consists of; its stub says what it exports
PATIENCE = 10.0  # seconds for a connection: ten times what the farthest takes
# Ray would report to its makers that it was used.
UNREPORTED = {"RAY_USAGE_STATS_ENABLED": "0"}
HERE = "local"  # Ray's word for a new cluster on this machine
# The first that asks for a token (docs.ray.io, "Ray token authentication"): an older one runs the code of whoever
# reaches its ports.
LEAST = (2, 52)
# Off, a cluster listens on the loopback interface alone. Ray's own switch, made for the firewalls of other systems.
REACHABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def check_cluster(cluster: str | None, cores: int) -> None:
    """Raise PhotostyleError for what `open_pool` cannot mean, without speaking to anyone."""
    if cores < 1:
        raise PhotostyleError(f"--cores is {cores}; it must be at least 1")
    if cluster is None and cores != 1:
        raise PhotostyleError("--cores is of what runs on a cluster; add --cluster, or give --threads")
    if cluster is not None and cluster != "local" and _has_ray():
        _refuse_old_ray(installed_version("ray"))
    here = cluster == "local" or (cluster == "auto" and not _has_ray())
    if here and cores > (has := cores_here()):
        raise _too_small(cores, has)
    if cluster is None or cluster in ("auto", "local"):
        return
    if not cluster.startswith("ray://"):
        raise PhotostyleError(f'--cluster is "{cluster}"; give auto, local or ray://HOST:PORT')
    if not _has_ray():
        raise PhotostyleError(f"--cluster {cluster} needs Ray, the extra cluster: {INSTALL}")


def open_pool(
    cluster: str | None,
    cores: int = 1,
    *,
    gpu: bool = True,
    packages: Sequence[str] = ("photostyle",),
    say: Say = lambda line: None,
) -> Pool:
    """The pool that a `--cluster` means, each task with so many cores and, where there are GPUs, one.

    None: this process. "local": processes of this machine. "auto": Ray, the cluster at RAY_ADDRESS or one that is
    started on this machine for as long as the pool lasts, on the loopback interface and with a token; processes where
    Ray is not installed, which is said. "ray://HOST:PORT": the cluster that answers there. packages: those that the
    tasks' functions come from.
    Raises PhotostyleError for anything else, and for a cluster that cannot be had.
    """
    check_cluster(cluster, cores)
    if cluster is None:
        return ThisProcess(say)
    if cluster == "local":
        return Processes(cores, gpu, say=say)
    if _has_ray():
        address = os.environ.get("RAY_ADDRESS", HERE) if cluster == "auto" else cluster
        return RayPool(address, cores, gpu, packages, say)
    say(f"Ray is not installed ({INSTALL}): local processes do its work")
    return Processes(cores, gpu, say=say)


class RayPool(Pool):
    """The workers of a Ray cluster."""

    def __init__(
        self,
        address: str,
        cores: int = 1,
        gpu: bool = True,
        packages: Sequence[str] = ("photostyle",),
        say: Say = lambda line: None,
    ) -> None:
        """address: as ray.init takes it; "local" starts a cluster that ends with the pool."""
        super().__init__(say)
        self._guard = ExitStack()
        if address == HERE:
            self._guard.enter_context(_guarded())
        try:
            _connect(address, packages)
        except BaseException:
            self._guard.close()
            raise
        import ray

        self.ray, self.cores = ray, cores
        self.gpu = 1 if gpu and ray.cluster_resources().get("GPU", 0) >= 1 else 0
        self._answer = ray.remote(num_cpus=cores, num_gpus=self.gpu, max_retries=0)(answer)
        self._keys: dict[Any, Key] = {}
        self._refuse_what_never_runs(address)
        where = "Ray on this machine" if address == HERE else f"Ray at {address}"
        each = f"{cores} core{'s' * (cores > 1)}{' and a GPU' * self.gpu} each"
        self.description = f"{where}: {self.workers} at a time, {each}"

    @property
    def workers(self) -> int:
        """As the cluster is now, at least 1: it may grow when a task waits."""
        resources = self.ray.cluster_resources()
        by_cores = int(resources.get("CPU", 0) // self.cores)
        return max(1, min(by_cores, int(resources.get("GPU", 0))) if self.gpu else by_cores)

    def close(self) -> None:
        """Cancel what is under way and leave the cluster; one that was started here ends."""
        from ray import exceptions

        # Without a connection there is nobody to tell.
        with suppress(exceptions.RayError, ConnectionError):
            for reference in self._keys:
                self.ray.cancel(reference, force=True)
        self._keys.clear()
        self._under_way.clear()
        self.ray.shutdown()
        self._guard.close()

    def share(self, value: Any) -> Any:
        """Into Ray's object store, once."""
        with self._speaking():
            return self.ray.put(value)

    def _start(self, task: Task) -> None:
        with self._speaking():
            self._keys[self._answer.remote(self.cores, task.function, *task.arguments)] = task.key

    def _ended(self) -> tuple[Key, Answer | None]:
        from ray import exceptions

        lost = (
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.LocalRayletDiedError,
            exceptions.OutOfMemoryError,
            exceptions.ObjectLostError,
        )
        with self._speaking():
            (reference,), _ = self.ray.wait(list(self._keys), num_returns=1)
            key = self._keys.pop(reference)
            try:
                return key, self.ray.get(reference)
            except lost:
                return key, None

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        from ray import exceptions

        try:
            yield
        except (exceptions.RayError, ConnectionError) as error:
            raise ComputationError(
                f"Ray failed ({_last_line(error)}); what is done is kept. Every machine needs photostyle's "
                f"dependencies, Python {platform.python_version()} and Ray {self.ray.__version__}"
            ) from error

    def _refuse_what_never_runs(self, address: str) -> None:
        """A cluster started here does not grow: a task that it is too small for would wait for ever."""
        has = int(self.ray.cluster_resources().get("CPU", 0))
        if address == HERE and has < self.cores:
            self.close()
            raise _too_small(self.cores, has)


def _too_small(cores: int, has: int) -> PhotostyleError:
    return PhotostyleError(f"--cores is {cores}, but this machine has {has}; give fewer")


def _refuse_old_ray(version: str) -> None:
    """Raise PhotostyleError where the installed Ray runs code without asking for a token."""
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < LEAST:
        raise PhotostyleError(
            f"Ray {version} is installed, which runs code for whoever reaches it; --cluster needs "
            f"{'.'.join(map(str, LEAST))} or newer, which asks for a token: {INSTALL}"
        )


@cache
def _token() -> str:
    """Of the clusters that this process starts: a process reads its own but once."""
    return secrets.token_hex(32)


@contextmanager
def _guarded() -> Iterator[None]:
    """For a cluster that is started here: nobody reaches it from outside, and nobody without the token."""
    forced = {REACHABLE: "0", "RAY_AUTH_MODE": "token"}
    kept = {name: os.environ.get(name) for name in forced}
    os.environ.update(forced)
    try:
        with environment({"RAY_AUTH_TOKEN": _token()}), _unreachable():
            yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _unreachable() -> Iterator[None]:
    """Of this process, where Ray may have been imported before; what it starts reads the variables."""
    # Imported after the variables are set: it reads the mode of authentication once.
    from ray._private import ray_constants

    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _refuse_other_interfaces() -> None:
    """Raise RuntimeError where a cluster that was started here can be reached from elsewhere after all."""
    import ray

    address = ray.util.get_node_ip_address()
    if not ipaddress.ip_address(address).is_loopback:
        ray.shutdown()
        raise RuntimeError(f"it listens at {address}, not on this machine alone")


def _has_ray() -> bool:
    return importlib.util.find_spec("ray") is not None


def _connect(address: str, packages: Sequence[str]) -> None:
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == HERE:
        options["include_dashboard"] = False
    waiting = {name: os.environ.get(name, value) for name, value in WAITING.items()}
    try:
        _reach(address)
        with temporary_folder() as folder, warnings.catch_warnings(), environment(UNREPORTED), _own_sigterm():
            warnings.simplefilter("ignore", UserWarning)  # of a client that waits in vain: the error says it
            # Sent even to workers of this machine, which would otherwise find some of these modules, or older ones.
            code = [str(_copied(name, folder)) for name in packages]
            ray.init(address, runtime_env={"py_modules": code, "env_vars": waiting}, **options)
            if address == HERE:
                _refuse_other_interfaces()
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise PhotostyleError(
            f"Ray at {address} cannot be used ({_last_line(error)}); check the address, that Ray {ray.__version__} and "
            f"Python {platform.python_version()} run there, and its RAY_AUTH_MODE and RAY_AUTH_TOKEN"
        ) from error


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray takes SIGTERM for itself and ends the process with it: afterwards it is again who had it before."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _reach(address: str) -> None:
    """Raise OSError at once where nobody listens at HOST:PORT: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()


def _copied(package: str, folder: Path) -> Path:
    """The code of a package alone: beside it may lie gigabytes, or pictures that are not to be passed on."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    (source,) = spec.submodule_search_locations
    for inner in Path(source).rglob("__init__.py"):  # a folder without one holds no code
        room = inner.parent
        target = folder / package / room.relative_to(source)
        target.mkdir(parents=True, exist_ok=True)
        for pattern in CODE:
            for file in room.glob(pattern):
                shutil.copy(file, target)
    return folder / package


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if re.search(r"\w", line)]
    return " ".join(lines[-1].split()) if lines else type(error).__name__
