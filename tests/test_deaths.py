"""A process that is killed at any system call of its last writes loses nothing, and the next one cleans up."""

import builtins
import json
import os
import shutil
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest
import torch
from test_command_stylise import save_model
from test_experiments import silent, twice  # noqa: F401

from experiments import framework
from photostyle.batch.page import thumbnail_names
from photostyle.cli import adjust, main, stylise
from photostyle.cli import batch as command_batch
from photostyle.cli import run as command_run
from photostyle.cli.console import DONE
from photostyle.evaluation.records import read_record, stranger, write_picture
from photostyle.files.checkpoints import load_checkpoint, save_checkpoint
from photostyle.files.images import read_image
from photostyle.files.masks import MaskSet, read_masks
from photostyle.presets import configure
from photostyle.search import study as search
from photostyle.search.lock import OwnedLock
from photostyle.search.trials import prepare
from photostyle.settings import read_settings
from photostyle.workers.pool import ThisProcess
from segmentation.files import write_masks

if sys.platform != "win32":
    import fcntl

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
Tried = Callable[[str, str, int], None]
# Every so many points of death by default; all of them in --all, and for docs/reliability.md.
STEPS = [17, pytest.param(1, marks=pytest.mark.slow)]
CALLS = ("open", "fsync", "replace", "rename", "unlink", "mkdir", "rmdir")
KILLED = 9


def die_at(number: int) -> None:
    """Let this process die before its n-th system call from now on."""
    left = number

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def instead(*given: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left <= 0:
                os._exit(KILLED)
            return call(*given, **named)

        return instead

    for name in CALLS:  # pathlib opens by io.open, Optuna by its own name for it, and all else is by os
        setattr(os, name, counted(getattr(os, name)))
    fcntl.flock = counted(fcntl.flock)
    builtins.open = counted(builtins.open)  # type: ignore[assignment]
    Path.open = counted(Path.open)  # type: ignore[assignment,method-assign]


def ended_by_death(child: int) -> bool:
    """Whether a forked process died as `die_at` lets it; False where it has come to its end."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, KILLED), f"it ended by itself, with {status}"
    return status == KILLED


def dies_at(number: int, write: Callable[[], object]) -> bool:
    """Whether a copy of this process that writes dies before its n-th system call; False where it has fewer."""
    if child := os.fork():
        return ended_by_death(child)
    try:
        die_at(number)
        write()
    except BaseException:
        os._exit(1)
    os._exit(0)


class Forked(BaseException):
    """Ends the command in the process that has forked."""


def dies_within(number: int, command: Callable[[], object], of: object, name: str) -> bool:
    """As `dies_at` for a command, which is forked where it calls the function of that name, and counted from there."""
    real, parent, died = getattr(of, name), os.getpid(), False

    def forked(*given: object, **named: object) -> object:
        nonlocal died
        if child := os.fork():
            died = ended_by_death(child)
            raise Forked
        die_at(number)
        setattr(of, name, real)
        return real(*given, **named)

    code: object = 1
    setattr(of, name, forked)
    try:
        code = command()
    except Forked:
        pass
    finally:
        if os.getpid() != parent:
            os._exit(1 if code else 0)
        setattr(of, name, real)
    return died


def deaths(kill: Callable[[int], bool], check: Callable[[], object], step: int) -> int:
    """Kill in the middle of every so many points while there are any, and check after each. Returns how many times."""
    count = 0
    while kill(1 + step // 2 + step * count):
        check()
        count += 1
    assert count
    return count


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".photostyle-*")]


def record_of(picture: bytes) -> dict[str, object]:
    return {
        "photostyle": {"format": 1},
        "ended": "done",
        "config": {"content": "a.png", "style": "b.png"},
        "environment": {"threads": 1},
        "inputs": {},
        "stages": [],
        "output": {"path": "a.png", "sha256": sha256(picture).hexdigest()},
    }


@pytest.mark.parametrize("step", STEPS)
def test_a_picture_and_its_record(step: int, tmp_path: Path, tried: Tried) -> None:
    picture, record, solved = (tmp_path / name for name in ("a.png", "a.json", "a-solved.tif"))

    def write(data: bytes) -> None:
        write_picture(picture, data, record, record_of(data), {solved: data})

    def kill(number: int) -> bool:
        write(b"old")
        return dies_at(number, lambda: write(b"new"))

    def check() -> None:
        assert {picture.read_bytes(), solved.read_bytes()} <= {b"old", b"new"}
        if picture.read_bytes() == b"new":
            assert not stranger(read_record(record), record), "a new picture has its own record"
        write(b"again")
        assert not stranger(read_record(record), record) and not left_over(tmp_path)

    count = deaths(kill, check, min(step, 4))
    if step == 1:
        tried("deaths", "the picture, record and solved picture of a run", count)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("before", [False, True])
def test_a_folder_of_masks(tmp_path: Path, before: bool, step: int, tried: Tried) -> None:
    def regions(level: float, *names: str) -> MaskSet:
        masks = torch.full((len(names), 3, 4), level)
        return MaskSet(masks, names, tuple((9 * each, 0, 0) for each in range(len(names))), True, "", ())

    folder = tmp_path / "masks"

    def kill(number: int) -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "mine.txt").write_bytes(b"mine")
        if before:
            write_masks(folder, regions(0.5, "sky", "sea"), "soft")
        return dies_at(number, lambda: write_masks(folder, regions(0.25, "sky", "wall"), "soft"))

    def check() -> None:
        if before or (folder / "legend.toml").exists():
            found = read_masks(folder, folder, 3, 4)
            level = {("sky", "sea"): 0.5, ("sky", "wall"): 0.25}[found.names]
            assert (found.masks - level).abs().max() < 1 / 255
        paths = write_masks(folder, regions(0.25, "sky", "wall"), "soft")
        assert {path.name for path in folder.iterdir()} == {"mine.txt", *(path.name for path in paths)}
        assert (folder / "mine.txt").read_bytes() == b"mine"

    count = deaths(kill, check, step)
    if step == 1:
        tried("deaths", f"a folder of masks, {'over an earlier one' if before else 'new'}", count)


QUICK = "--size 48 --coarsest 48 --iterations 2 --boldness 1 --masks none --no-metrics --device cpu --threads 1 --quiet"
RUN = ["photo.jpg", "sunset.jpg", *QUICK.split(), "-o", "a.png"]
STYLISE = "stylise photo.jpg --style sunset.jpg --model m.safetensors --size 48 --quiet -o a.png".split()
ADJUST = "adjust run.json --quiet -o a.png --strength".split()
# By what they are called in docs/reliability.md: two commands that write one picture, and where their writes begin.
WRITERS = {
    "photostyle run": ([*RUN, "--strength", "0.5"], RUN, command_run, "_put"),
    "photostyle stylise": ([*STYLISE, "--strength", "0.5"], STYLISE, stylise, "write_picture"),
    "photostyle adjust": ([*ADJUST, "0.5"], [*ADJUST, "0.9"], adjust, "write_picture"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "name",
    [name if name == "photostyle run" else pytest.param(name, marks=pytest.mark.slow) for name in WRITERS],
)
def test_a_command_that_writes_a_picture(name: str, step: int, photographs: Path, tried: Tried) -> None:
    earlier, command, module, writer = WRITERS[name]
    save_model("m.safetensors")
    picture, record = Path("a.png"), Path("a.json")
    assert name != "photostyle adjust" or main([*RUN[:-1], "run.png"]) == DONE
    assert main(earlier) == DONE
    old = {path: path.read_bytes() for path in Path().glob("a*")}
    assert main(command) == DONE
    new = picture.read_bytes()
    assert new != old[picture]

    def kill(number: int) -> bool:
        for path, data in old.items():
            path.write_bytes(data)
        return dies_within(number, lambda: main(command), module, writer)

    def check() -> None:
        assert picture.read_bytes() in (old[picture], new)
        foreign = stranger(read_record(record, None), record)
        assert not foreign or picture.read_bytes() == old[picture], "a new picture has its own record"
        assert main(command) == DONE and picture.read_bytes() == new
        assert not stranger(read_record(record, None), record) and not left_over(Path())

    count = deaths(kill, check, step)
    if step == 1:
        tried("deaths", name, count)


@pytest.mark.parametrize("step", STEPS)
def test_a_checkpoint(step: int, tmp_path: Path, tried: Tried) -> None:
    path = tmp_path / "a.safetensors"

    def save(number: int) -> None:
        save_checkpoint(path, {"number": number, "canvas": torch.full((3, 4), float(number))})

    def kill(number: int) -> bool:
        save(1)
        save(2)
        return dies_at(number, lambda: save(3))

    def check() -> None:
        found = load_checkpoint(path)
        assert found is not None and found.state["number"] in (2, 3)
        save(4)
        assert (found := load_checkpoint(path)) is not None and found.state["number"] == 4
        assert not left_over(tmp_path)

    count = deaths(kill, check, min(step, 3))
    if step == 1:
        tried("deaths", "a checkpoint", count)


@pytest.mark.slow
@pytest.mark.parametrize("step", [17, 1])
def test_a_batch(step: int, photographs: Path, tried: Tried) -> None:
    command = "batch photo.jpg sunset.jpg --style sunset.jpg --preset instant --masks none".split()
    command += "--no-metrics --device cpu --threads 1 --quiet -o out".split()
    pictures = [Path("out/photo.jpg"), Path("out/sunset.jpg")]

    def kill(number: int) -> bool:
        shutil.rmtree("out", ignore_errors=True)
        return dies_within(number, lambda: main(command), command_batch, "_make")

    def check() -> None:
        for picture in filter(Path.exists, pictures):
            record = picture.with_suffix(".json")
            assert not stranger(read_record(record), record)
            read_image(picture)
        for thumbnail in Path("out/thumbnails").iterdir():
            assert thumbnail.name.startswith(".photostyle-") or read_image(thumbnail)
        page = Path("out/index.html")
        assert not page.exists() or page.read_text(encoding="utf-8").endswith("</html>\n")
        assert json.loads(Path("out/batch.json").read_bytes())["ended"] in ("running", "done")
        assert main(command) == DONE and not left_over(Path())
        assert all(each.exists() for picture in pictures for each in (picture, *thumbnail_names(picture)))

    count = deaths(kill, check, step * 4)
    if step == 1:
        tried("deaths", "photostyle batch, every fourth call", count)


@pytest.mark.parametrize("step", STEPS)
def test_an_experiment(
    step: int,
    twice: tuple[Path, ModuleType],  # noqa: F811
    tmp_path: Path,
    tried: Tried,
) -> None:
    folder, _ = twice

    def command() -> int:
        assert framework.run_experiment(folder, tmp_path, silent)
        return DONE

    def kill(number: int) -> bool:
        shutil.rmtree(folder / "runs", ignore_errors=True)
        (folder / "result.json").unlink(missing_ok=True)
        return dies_within(number, command, framework, "_do")

    def check() -> None:
        for path in (folder / "result.json", *(folder / "runs").glob("*.json")):
            assert not path.exists() or json.loads(path.read_bytes())
        assert command() == DONE and framework.read_result(folder)["figures"] == {"sum": 12}
        assert not left_over(tmp_path)

    count = deaths(kill, check, step if step == 1 else 40)
    if step == 1:
        tried("deaths", "an experiment", count)


@pytest.mark.slow
@pytest.mark.parametrize("step", [17, 1])
def test_a_trial_of_a_search(
    step: int, photographs: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried
) -> None:
    small = {"size": 48, "iterations": (2,), "patch_draws": 4, "boldness": 1.0, "device": "cpu"}
    files = {"content": Path("photo.jpg"), "style": Path("sunset.jpg")}
    problem, folder, best = prepare(configure("patches", **files, **small)), Path("out"), Path("best.toml")
    outcome = search.try_settings(problem, {})
    # Of a process that is gone, which the one that tests is not.
    gone = search.this_process() | {"pid": 2**30}
    monkeypatch.setattr(search, "this_process", lambda: gone)
    monkeypatch.setattr("photostyle.search.lock.OwnedLock", Hasty)

    def kill(number: int) -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        best.unlink(missing_ok=True)
        folder.mkdir()
        study, pool = search.Study(problem, folder), ThisProcess()
        study._ask(1, pool, pool.share(problem))

        def conclude() -> None:
            study.write_best(best, study._conclude(study._open[0], outcome))

        return dies_at(number, conclude)

    def check() -> None:
        assert not best.exists() or read_settings(best)
        for path in folder.glob("trials/*.json"):
            assert json.loads(path.read_bytes())
        study = search.Study(problem, folder)
        assert len([*study.run(1)]) <= 1 and not study.notes
        assert [each.state for each in study.trials()].count("complete") == 1
        study._write(study.trials()[-1], torch.zeros(3, 8, 8))
        assert not left_over(folder)

    count = deaths(kill, check, step)
    if step == 1:
        tried("deaths", "a trial of a search", count)


class Hasty(OwnedLock):
    """It waits so long, seconds, for the lock of a process that was killed before it had said whose it is."""

    def __init__(self, journal: str) -> None:
        super().__init__(journal)
        self.grace_period = 0.01  # type: ignore[assignment]
