"""What --cluster means; that code, and code alone, travels to a cluster; that Ray is asked for where it is needed."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import on_workers
import pytest
from waiting import closed_port

from photostyle.errors import ComputationError, PhotostyleError
from photostyle.workers import ray_pool
from photostyle.workers.pool import Processes, ThisProcess
from photostyle.workers.ray_pool import INSTALL, _copied, open_pool

STRANGER = 40.0  # seconds for a process without the token to get an answer


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)


def test_without_a_cluster_it_is_this_process() -> None:
    assert isinstance(open_pool(None), ThisProcess)


def test_local_is_processes_whether_ray_is_there_or_not() -> None:
    assert isinstance(open_pool("local"), Processes)


def test_auto_without_ray_is_processes_and_says_so(without_ray: None) -> None:
    said: list[str] = []
    pool = open_pool("auto", gpu=False, say=said.append)
    assert isinstance(pool, Processes)
    assert said == [f"Ray is not installed ({INSTALL}): local processes do its work"]


def test_an_address_without_ray_names_the_extra(without_ray: None) -> None:
    with pytest.raises(PhotostyleError, match=r"ray://host:10001 needs Ray.*photostyle\[cluster\]"):
        open_pool("ray://host:10001")


@pytest.mark.parametrize("cluster", ["slurm", "", "host:6379"])
def test_other_words_are_refused(cluster: str) -> None:
    with pytest.raises(PhotostyleError, match="give auto, local or ray://HOST:PORT"):
        open_pool(cluster)


def test_a_task_has_a_core_at_least() -> None:
    with pytest.raises(PhotostyleError, match="--cores is 0"):
        open_pool("local", 0)


def test_more_cores_than_this_machine_has_are_refused(without_ray: None) -> None:
    cores = len(os.sched_getaffinity(0))
    for cluster in ("local", "auto"):
        assert isinstance(open_pool(cluster, cores), Processes)
        with pytest.raises(
            PhotostyleError, match=f"^--cores is {cores + 1}, .*this machine has {cores}; give"
        ):
            open_pool(cluster, cores + 1)


@pytest.mark.parametrize("version", ["2.40.0", "2.49.2", "2.51.1", "1.13"])
@pytest.mark.parametrize("cluster", ["auto", "ray://host:10001"])
def test_a_ray_that_asks_for_no_token_is_refused(
    version: str, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_pool, "_has_ray", lambda: True)
    monkeypatch.setattr(ray_pool, "installed_version", lambda name: version)
    with pytest.raises(
        PhotostyleError, match=f"^Ray {version} is installed.* needs 2.52 or newer.*pip install"
    ):
        open_pool(cluster)


@pytest.mark.parametrize("version", ["2.52.0", "2.60.0", "3.0.0rc1"])
def test_a_ray_that_asks_for_a_token_is_not(version: str) -> None:
    ray_pool._refuse_old_ray(version)


def test_the_lowest_ray_that_is_installed_is_the_lowest_that_is_taken(root: Path) -> None:
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["cluster"] == [f"ray[client]>={'.'.join(map(str, ray_pool.LEAST))}"]


def test_ray_is_imported_after_it_is_told_to_ask_for_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads that once. Of a Ray that was imported before, its own cluster takes no token."""
    for name in _ray_modules():
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "ray/_private").mkdir(parents=True)
    (tmp_path / "ray/__init__.py").write_text("import os\nMODE = os.environ.get('RAY_AUTH_MODE')\n")
    (tmp_path / "ray/_private/__init__.py").touch()
    (tmp_path / "ray/_private/ray_constants.py").write_text("ENABLE_RAY_CLUSTER = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with ray_pool._guarded():
            assert vars(sys.modules["ray"])["MODE"] == "token"
    finally:
        for name in _ray_modules():
            del sys.modules[name]


def _ray_modules() -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] == "ray"]


def test_only_code_is_sent(tmp_path: Path, root: Path) -> None:
    """No pictures, no records, nothing that an experiment has computed."""
    for package in ("photostyle", "segmentation", "experiments"):
        _copied(package, tmp_path)
    sent = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    code = {
        path.relative_to(root).as_posix()
        for package in ("photostyle", "segmentation", "experiments")
        for path in (root / package).rglob("*.py")
    }
    assert sent == code | {"segmentation/groups.toml", "photostyle/__init__.pyi"}


def test_sigterm_is_again_who_had_it_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(OSError), ray_pool._own_sigterm():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
        raise OSError
    assert signal.getsignal(signal.SIGTERM) == before


# On a real Ray


@pytest.mark.slow
def test_auto_starts_a_ray_that_ends_with_the_pool(ray_settings: None) -> None:
    import ray

    before = signal.getsignal(signal.SIGTERM)
    with open_pool("auto", gpu=False, packages=("photostyle", "on_workers")) as pool:
        assert signal.getsignal(signal.SIGTERM) == before, "Ctrl-C and SIGTERM are the command's"
        assert pool.description.startswith("Ray on this machine: ")
        assert pool.workers == int(ray.cluster_resources()["CPU"])
        pool.submit("x", on_workers.squared, 3)
        assert pool.finished()[1]["square"] == 9
    assert not ray.is_initialized()


@pytest.mark.slow
def test_a_ray_that_is_started_here_has_a_token_and_no_way_in(
    ray_settings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(os.environ)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    with ray_pool._guarded():
        assert os.environ["RAY_AUTH_MODE"] == "token" and len(os.environ["RAY_AUTH_TOKEN"]) == 64
        assert os.environ[ray_pool.REACHABLE] == "0"
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert not {"RAY_AUTH_TOKEN", ray_pool.REACHABLE} & os.environ.keys()
    monkeypatch.undo()
    assert dict(os.environ) == before


@pytest.mark.slow
def test_a_ray_that_is_started_here_is_nobody_else_s(ray_settings: None) -> None:
    """It listens on the loopback interface, and a process without the token runs nothing in it."""
    stranger = "import ray, sys; ray.init(sys.argv[1], logging_level='ERROR'); print(ray.cluster_resources())"
    with open_pool("auto", gpu=False, packages=("photostyle", "on_workers")) as pool:
        import ray

        address = ray.get_runtime_context().gcs_address
        assert address.startswith("127.0.0.1:") and not reached_from_outside(int(address.rpartition(":")[2]))
        without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        with subprocess.Popen(
            [sys.executable, "-c", stranger, address], stdout=subprocess.PIPE, env=without
        ) as asking:
            # Whom Ray does not let in it may let wait for ever; whom it does it answers in a few seconds.
            with contextlib.suppress(subprocess.TimeoutExpired):
                asking.wait(STRANGER)
            asking.kill()
            said, _ = asking.communicate()
        assert asking.returncode != 0 and b"CPU" not in said
        pool.submit("x", on_workers.squared, 3)
        assert pool.finished()[1]["square"] == 9


def reached_from_outside(port: int) -> bool:
    """Whether a port of this machine answers at another of its addresses than the loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))  # sends nothing: it says which address would be ours
        except OSError:
            pytest.skip("this machine has no other address")
        outside = asked.getsockname()[0]
    with socket.socket() as caller:
        return caller.connect_ex((outside, port)) == 0


@pytest.mark.slow
def test_a_task_that_a_ray_of_this_machine_is_too_small_for_is_refused(ray_settings: None) -> None:
    import ray

    with pytest.raises(PhotostyleError, match=r"--cores is 4096, but this machine has \d+; give fewer"):
        open_pool("auto", 4096, gpu=False)
    assert not ray.is_initialized()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_does_not_answer_is_one_line(
    scheme: str, ray_settings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closed_port() as port:
        address = f"{scheme}127.0.0.1:{port}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(PhotostyleError, match=f"Ray at {address} cannot be used .*refused") as caught:
            open_pool("auto")
    assert "\n" not in str(caught.value) and "RAY_AUTH_TOKEN" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["auto", "ray"])
def test_code_that_was_not_sent_is_missed_in_one_line(
    kind: str, ray_cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster[kind])
    with open_pool("auto", packages=("photostyle",), gpu=False) as pool:
        with pytest.raises(ComputationError, match="No module named 'on_workers'") as caught:
            pool.submit("x", on_workers.squared, 3)
            pool.finished()
    assert "\n" not in str(caught.value)
