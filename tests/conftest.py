"""What every test shares: one thread, no network, where the published pairs lie, and workers for what runs on them."""

import contextlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor
from waiting import until

from photostyle.workers.pool import Pool, Processes
from photostyle.workers.ray_pool import INSTALL, open_pool

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent
Workers = Callable[..., Pool]
PROCESSES, JOINED, CLIENT = "local", "auto", "ray"  # kinds of them


@pytest.hookimpl(tryfirst=True)  # before -m chooses by the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What follows from fixtures and marks: a test needs the published pairs, or is a figure of docs/reliability.md."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker("shared")
        if situation := item.get_closest_marker("situation"):
            _figure(item, "situations", situation.args[0], 1)


def _figure(item: pytest.Item, suite: str, what: str, count: int) -> None:
    """For scripts/reliability.py, which reads it from the report of the test."""
    item.user_properties.append(("tried", json.dumps([suite, what, count])))


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Callable[[str, str, int], None]:
    """tried(suite, what, count): how many of what a test tries, for docs/reliability/SUITE.json."""
    return partial(_figure, request.node)


@pytest.fixture
def as_in_a_terminal() -> Iterator[None]:
    """A shell that starts the tests in the background has SIGINT ignored, and nohup SIGHUP."""
    handlers = {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}
    known = {getattr(signal, name): each for name, each in handlers.items() if hasattr(signal, name)}
    before = {number: signal.signal(number, handler) for number, handler in known.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with dpst/ (published pairs) and encoders/, named by PHOTOSTYLE_DATA; not part of the project."""
    folder = Path(os.environ.get("PHOTOSTYLE_DATA", ROOT.parent / "shared"))
    if not (folder / "dpst").is_dir():
        pytest.skip(f"no published pairs at {folder}; set PHOTOSTYLE_DATA")
    return folder


@pytest.fixture(scope="session")
def coffee() -> Tensor:
    """A photograph, (3, 400, 600): CC0, shipped with scikit-image."""
    return _tensor(data.coffee())


@pytest.fixture(scope="session")
def chelsea() -> Tensor:
    """Another photograph, (3, 300, 451): CC0, shipped with scikit-image."""
    return _tensor(data.chelsea())


@pytest.fixture(scope="session")
def small_photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photo.jpg and sunset.jpg, to be copied: made for every test they took 4 s in all."""
    folder = tmp_path_factory.mktemp("photographs")
    for name, image, size in (("photo", data.coffee(), (96, 64)), ("sunset", data.rocket(), (90, 60))):
        Image.fromarray(image).resize(size).save(folder / f"{name}.jpg", quality=95)
    return folder


@pytest.fixture
def photographs(
    small_photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_start: None
) -> Path:
    """The working directory with photo.jpg (96x64) and sunset.jpg (90x60) in it, no cached weights and no network."""
    shutil.copytree(small_photographs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("photostyle.losses.weights.reachable", lambda url: False)
    return tmp_path


@pytest.fixture
def one_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters of colour from one start of 15, whatever extras are installed: how good they are test_cluster asks."""
    monkeypatch.setattr("segmentation.cluster.STARTS", 1)
    monkeypatch.setattr("segmentation.make.weights_file", lambda: None)


@pytest.fixture(scope="session")
def ray_settings() -> Iterator[None]:
    """Skips without Ray; with it, a token of the tests' own, and no report to its makers."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip(f"Ray is not installed: {INSTALL}, or scripts/check --all")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture(scope="session")
def ray_cluster(ray_settings: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Ray of 2 CPUs on this machine: its addresses as --cluster takes them, "auto" by way of RAY_ADDRESS."""
    folder = tmp_path_factory.mktemp("ray")
    for attempt in range(3):
        # Ray wants the number of this port beforehand. Between its choice and its use another process may take it.
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"),
            *("--num-gpus=0", "--port=0", f"--ray-client-server-port={port}", "--include-dashboard=false"),
        ]
        log = folder / f"log {attempt}"
        with log.open("w") as said, subprocess.Popen(command, stdout=said, stderr=said) as head:
            try:
                if address := _address(head, log, port):
                    yield {JOINED: address, CLIENT: f"ray://127.0.0.1:{port}"}
                    return
            finally:
                head.terminate()
    pytest.fail(f"no Ray started: {log.read_text()}")


def _address(head: "subprocess.Popen[bytes]", log: Path, port: int) -> str | None:
    """What a new cluster says of itself, as soon as its server for clients answers too; None where it has ended."""
    found: list[str | None] = []

    def has_started_or_ended() -> bool:
        if head.poll() is not None:
            found.append(None)
        elif said := re.search(r"start --address='([^']+)'", log.read_text()):
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                found.append(said[1])
        return bool(found)

    until(has_started_or_ended, "a Ray")
    return found[0]


class KeptProcesses(Processes):
    """Whose idle workers wait for the next test: each imports torch for seconds."""

    def __exit__(self, *_: object) -> None:
        if self._under_way:
            self.close()


@pytest.fixture(scope="session")
def kept_processes() -> Iterator[Processes]:
    with closing(KeptProcesses(1, gpu=False, count=2)) as processes:
        yield processes


@pytest.fixture(params=[PROCESSES, pytest.param(JOINED, marks=pytest.mark.slow)])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Workers:
    """Opens two workers of one core: processes, a real Ray of this machine."""
    return _workers(request, monkeypatch)


@pytest.fixture(
    params=[
        PROCESSES,
        pytest.param(JOINED, marks=pytest.mark.slow),
        pytest.param(CLIENT, marks=pytest.mark.slow),
    ]
)
def all_workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Workers:
    """The same, and Ray spoken to as from another machine: for what may come out differently there."""
    return _workers(request, monkeypatch)


def _workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Workers:
    if request.param == PROCESSES:
        processes: Processes = request.getfixturevalue("kept_processes")

        def open_processes(packages: Sequence[str] = (), say: Callable[[str], None] = print) -> Pool:
            processes.say = say
            return processes

        return open_processes
    addresses = request.getfixturevalue("ray_cluster")
    cluster = addresses[CLIENT]
    if request.param == JOINED:
        monkeypatch.setenv("RAY_ADDRESS", addresses[JOINED])
        cluster = "auto"
    return lambda packages=("photostyle", "segmentation", "experiments", "on_workers"), say=print: open_pool(
        cluster, 1, gpu=False, packages=packages, say=say
    )


@pytest.fixture
def kill_first() -> Iterator[Callable[[Path, str], None]]:
    """kill_first(folder, name) ends the process that is the first to leave a file NAME-PID-TIME in the folder."""
    threads: list[threading.Thread] = []

    def watch(folder: Path, name: str) -> None:
        thread = threading.Thread(target=_kill, args=(folder, name), daemon=True)
        thread.start()
        threads.append(thread)

    yield watch
    for thread in threads:
        thread.join(10)  # what it waits for has long been there, or never comes
        assert not thread.is_alive(), "nothing was killed"


def _kill(folder: Path, name: str) -> None:
    until(lambda: any(folder.glob(f"{name}-*")), f"a process to kill, {name},")
    first = min(folder.glob(f"{name}-*"))
    os.kill(int(first.name.split("-")[-2]), signal.SIGKILL)


def _tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1).float().div(255).contiguous()
