"""The state of a process is set for a block and put back; threads sleep while they wait, wherever torch is started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from photostyle import process
from photostyle.errors import ComputationError, PhotostyleError
from photostyle.workers.pool import Processes

# Says what the variable is when torch is imported, and ends: a finder sees the import before it happens.
WATCHED = """
import os, runpy, sys
class Watch:
    def find_spec(self, name, path, target=None):
        if name == "torch":
            print("torch with", os.environ.get("OMP_WAIT_POLICY"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Watch())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = [str(ROOT / "scripts" / name) for name in ("run.py", "segment.py", "search.py", "experiment.py")]


def said(script: str = SCRIPTS[0], **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    ended = subprocess.run(
        [sys.executable, "-c", WATCHED, script, "--help"],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout.splitlines()[0]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_command_lets_threads_sleep_before_torch_is_imported(script):
    assert said(script) == "torch with PASSIVE"


def test_what_the_user_has_said_of_threads_stays():
    assert said(OMP_WAIT_POLICY="ACTIVE") == "torch with ACTIVE"


@pytest.mark.slow
def test_a_worker_s_threads_sleep_and_its_asker_s_environment_is_as_before(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    with Processes(1, gpu=False, count=1) as pool:
        pool.submit("policy", os.getenv, "OMP_WAIT_POLICY")
        assert pool.finished() == ("policy", "PASSIVE")
    assert "OMP_WAIT_POLICY" not in os.environ


def test_what_is_set_already_stays_in_the_block_and_after_it(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("PHOTOSTYLE_OTHER", raising=False)
    with process.environment({"OMP_WAIT_POLICY": "PASSIVE", "PHOTOSTYLE_OTHER": "1"}):
        assert (os.environ["OMP_WAIT_POLICY"], os.environ["PHOTOSTYLE_OTHER"]) == ("ACTIVE", "1")
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE" and "PHOTOSTYLE_OTHER" not in os.environ


def test_torch_is_put_back_whatever_happens():
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
    )
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    with pytest.raises(KeyboardInterrupt), process.prepared(threads=before[0] + 1, deterministic=True):
        assert torch.get_num_threads() == before[0] + 1 and torch.are_deterministic_algorithms_enabled()
        assert "CUBLAS_WORKSPACE_CONFIG" in os.environ
        raise KeyboardInterrupt
    assert before == (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
    )
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_no_number_of_threads_leaves_torch_s_own():
    before = torch.get_num_threads()
    with process.prepared():
        assert torch.get_num_threads() == before


CPU = torch.device("cpu")


def machine(root: Path, files: dict[str, str]) -> Path:
    """A system's files: a machine with 1000 KiB free, a process of 100."""
    plain = {
        "proc/meminfo": "MemTotal: 4000 kB\nMemAvailable:  1000 kB\n",
        "proc/self/status": "VmRSS:\t 100 kB\n",
    }
    for name, text in (plain | files).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def group(folder: str, limit: str, used: int, cached: int) -> dict[str, str]:
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {cached}\n",
    }


def test_free_memory_is_what_the_process_has_and_what_is_available(tmp_path: Path) -> None:
    assert process.free_memory(CPU, machine(tmp_path, {})) == 1100 * 1024


def test_a_container_has_what_its_group_or_one_above_it_leaves(tmp_path: Path) -> None:
    top = "sys/fs/cgroup"
    files = {
        "proc/self/cgroup": "0::/a/b\n",
        **group(f"{top}/a/b", "max", 10, 0),
        **group(f"{top}/a", "900", 400, 50),
    }
    assert process.free_memory(CPU, machine(tmp_path, files)) == 100 * 1024 + 550


def test_a_container_of_the_first_version_has_what_its_group_leaves(tmp_path: Path) -> None:
    folder = "sys/fs/cgroup/memory"
    files = {
        "proc/self/cgroup": "3:cpu:/\n2:memory:/docker/1\n",
        f"{folder}/memory.limit_in_bytes": "800",
        f"{folder}/memory.usage_in_bytes": "300",
        f"{folder}/memory.stat": "total_inactive_file 100\n",
    }
    assert process.free_memory(CPU, machine(tmp_path, files)) == 100 * 1024 + 600


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits there")
@pytest.mark.parametrize(("limit", "used"), [("RLIMIT_AS", "VmSize"), ("RLIMIT_DATA", "VmData")])
def test_a_process_with_a_limit_of_its_own_has_what_that_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, used: str
) -> None:
    import resource

    ours, no = getattr(resource, limit), resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda of: (900 * 1024 if of == ours else no, no))
    status = {"proc/self/status": f"VmRSS: 100 kB\n{used}: 600 kB\n"}
    assert process.free_memory(CPU, machine(tmp_path, status)) == (100 + 300) * 1024


@pytest.mark.parametrize("megabytes", [100, 100_000])
def test_libraries_that_may_not_fit_are_not_loaded(
    megabytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenBLAS would ask for ever for memory that it is not given."""
    resource, status = process.resource, {"proc/self/status": "VmSize: 1000 kB\nVmData: 1000 kB\n"}
    monkeypatch.setattr(resource, "getrlimit", lambda of: (1_024_000 + megabytes * 10**6, -1))
    if megabytes > 1000:
        process.check_limits(machine(tmp_path, status))
        return
    with pytest.raises(ComputationError, match="libraries leave 100 MB of what ulimit allows; raise"):
        process.check_limits(machine(tmp_path, status))
    process.check_limits(tmp_path / "nothing")  # another system says nothing


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ulimit -v is not kept elsewhere")
def test_libraries_that_do_not_fit_are_a_line() -> None:
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_AS, (400 << 20,) * 2); "
    run = f"sys.argv = sys.argv[1:]; runpy.run_path({SCRIPTS[0]!r}, run_name='__main__')"
    ended = subprocess.run(
        [sys.executable, "-c", limited + run, "run", "--help"], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("photostyle: out of memory")


def test_what_another_system_has_is_not_known(tmp_path: Path) -> None:
    assert process.free_memory(CPU, tmp_path) is None


@pytest.mark.parametrize("threads", [-1, process.MOST_THREADS + 1, 3000, 10**30])
def test_threads_that_would_end_the_process_are_refused_in_one_line(threads: int) -> None:
    with pytest.raises(
        PhotostyleError, match=rf"^--threads is {threads}; it must lie between 0 and \d+: .*cores"
    ) as no:
        with process.prepared(threads):
            pytest.fail("they were set")
    assert "\n" not in str(no.value)


@pytest.mark.slow
@pytest.mark.parametrize(("named", "kept"), [("nonsense", False), ("svg", True)])
@pytest.mark.situation("another program's MPLBACKEND")
def test_what_is_drawn_needs_no_backend(named: str, kept: bool) -> None:
    """A notebook's process hands it on to those that it starts; only a window asks for it."""
    draws = (
        "import os; from photostyle.process import import_matplotlib; import_matplotlib(); "
        "import matplotlib; from matplotlib.figure import Figure; Figure().savefig(os.devnull, format='png'); "
        "print(os.environ['MPLBACKEND'], matplotlib.rcParams['backend'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", draws],
        env=os.environ | {"MPLBACKEND": named, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0 and ended.stderr == ""
    found, backend = ended.stdout.split()
    assert found == named and (backend == named) == kept
