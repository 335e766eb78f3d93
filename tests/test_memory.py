"""What a run needs is estimated before it starts; what does not fit is refused with both numbers and a way out."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from photostyle import pipeline
from photostyle.cli import program as cli
from photostyle.cli.run import execute
from photostyle.config import Config
from photostyle.errors import NotEnoughMemory, PhotostyleError, is_out_of_memory
from photostyle.files import decoding
from photostyle.files.images import sha256_of, write_image
from photostyle.imaging.filters import resize
from photostyle.memory import GB, PICTURE, PROCESS, Work, check_memory, estimate
from photostyle.optimisers import Step
from photostyle.presets import recipe
from photostyle.solver import solve

PHOTO = Work((4000, 6000), ((427, 640),), 1)
INSTANT, PATCHES = recipe("instant"), recipe("patches")


def test_an_estimate_grows_with_everything_that_is_held():
    least = estimate(INSTANT, PHOTO)
    assert PROCESS + 2 * PICTURE * 24_000_000 < least < 4 * GB
    more = [
        estimate(PATCHES, PHOTO, 2048),
        estimate(INSTANT, Work((4000, 6000), ((4000, 6000),), 1)),
        estimate(INSTANT, Work((4000, 6000), ((427, 640),), 5)),
        estimate(recipe("instant", preserve_luminance=True), PHOTO),
        estimate(INSTANT, replace(PHOTO, mapped=True)),
        estimate(INSTANT, replace(PHOTO, protected=True)),
    ]
    assert all(each > least for each in more)
    sizes = [estimate(PATCHES, PHOTO, size) for size in (1024, 2048, 4096)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    assert estimate(PATCHES, Work((4000, 6000), ((427, 640),), 1, network=True), 2048) > sizes[1]


def test_what_fits_or_is_not_known_goes_on():
    check_memory(PATCHES, PHOTO, estimate(PATCHES, PHOTO))
    check_memory(PATCHES, PHOTO, None)


def test_a_refusal_says_what_is_needed_what_is_free_and_a_size_that_fits():
    large = recipe("patches", size=4096)
    free = estimate(large, PHOTO, 2048)
    with pytest.raises(PhotostyleError) as refused:
        check_memory(large, PHOTO, free)
    text = str(refused.value)
    assert (
        f"needs about {estimate(large, PHOTO) / GB:.1f} GB" in text and f"{free / GB:.1f} GB are free" in text
    )
    size = int(text.split("--size ")[2].split(",")[0])
    assert 1024 < size <= 2048 and estimate(large, PHOTO, size) <= free


def test_where_no_size_fits_the_photo_is_what_to_change():
    with pytest.raises(PhotostyleError, match="use a smaller photo"):
        check_memory(INSTANT, PHOTO, PROCESS)


def test_the_command_refuses_in_one_line(
    coffee: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write_image(tmp_path / "a.png", resize(coffee, 64, 96))
    monkeypatch.setattr(pipeline, "free_memory", lambda device: PROCESS // 2)
    photo, output = str(tmp_path / "a.png"), tmp_path / "out.png"
    arguments = ["run", "--content", photo, "--style", photo, "--preset", "instant", "--masks", "none"]
    assert cli.main([*arguments, "--output", str(output)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "GB are free" in line and not output.exists()


def _not_loaded(why: str) -> OSError:
    """As llvmlite says that its library was not loaded (its binding/ffi.py), the reason behind it."""
    try:
        try:
            raise OSError(f"libllvmlite.so: {why}")
        except OSError:
            raise OSError("Could not find/load shared object file 'libllvmlite.so'")  # noqa: B904
    except OSError as error:
        return error


def test_a_library_that_does_not_fit_is_told_from_one_that_is_not_there():
    assert is_out_of_memory(_not_loaded("failed to map segment from shared object"))
    assert not is_out_of_memory(_not_loaded("cannot open shared object file: No such file or directory"))


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("std::bad_alloc"), OSError(12, "Cannot allocate memory")]
)
def test_a_picture_that_does_not_fit_is_not_called_damaged(
    error: Exception, coffee: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(*_: object) -> None:
        raise error

    write_image(tmp_path / "a.png", coffee)
    monkeypatch.setattr(decoding, "_plain_samples", fails)
    with pytest.raises(type(error)) as raised:
        decoding.decode(tmp_path / "a.png")
    assert raised.value is error


class Ends:
    """A transfer in whose solve memory ends, after so many evaluations, above a size."""

    def __init__(self, evaluations: int, largest: int) -> None:
        self.evaluations, self.largest, self.tried = evaluations, largest, list[int]()

    def __call__(self, scene: object, config: Config, *others: object, **named: object) -> Iterator[Step]:
        self.tried.append(config.size)
        for number, step in enumerate(solve(scene, config, *others, **named)):  # type: ignore[arg-type]
            if config.size > self.largest and number == self.evaluations:
                raise RuntimeError(
                    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
                )
            yield step


@pytest.mark.slow
@pytest.mark.parametrize("evaluations", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_where_memory_ends_fit_tries_again_at_smaller_sizes(
    evaluations: int,
    coffee: Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    write_image(tmp_path / "a.png", resize(coffee, 64, 96))
    photo, output = str(tmp_path / "a.png"), tmp_path / "out.png"
    run = ["run", "--content", photo, "--style", photo, "--preset", "patches", "--masks", "none"]
    run += ["--boldness=1", "--iterations=2", "--coarsest=32", "--no-metrics", f"--output={output}"]
    ends = Ends(evaluations, 60)
    monkeypatch.setattr(pipeline, "solve", ends)
    assert cli.main(run) == 1
    assert ends.tried == [512]
    ends.tried.clear()
    assert cli.main([*run, "--fit"]) == 0
    assert ends.tried == [512, 72, 48]
    record = json.loads(output.with_suffix(".json").read_text())
    assert (record["config"]["size"], record["asked_size"]) == (48, 512)
    said = "memory does not suffice at --size 72: again at --size 48"
    assert said in record["notes"] and f"note: {said}" in capsys.readouterr().err
    ends.largest, ends.tried[:] = 0, []
    assert cli.main([*run, "--fit"]) == 1
    assert ends.tried == [512, 72, 48, 32]  # no further than --coarsest


def test_fit_keeps_the_last_good_picture_where_nothing_smaller_comes_to_one(
    coffee: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write_image(tmp_path / "a.png", resize(coffee, 64, 96))
    photo, output = str(tmp_path / "a.png"), tmp_path / "out.png"
    run = ["run", "--content", photo, "--style", photo, "--preset", "patches", "--masks", "none", "--fit"]
    run += ["--boldness=1", "--iterations=2", "--coarsest=72", "--no-metrics", f"--output={output}"]
    ends = Ends(1, 0)

    def less_each_time(*given: Any, **named: Any) -> Iterator[Step]:
        ends.evaluations = 1 - len(ends.tried)
        return ends(*given, **named)

    monkeypatch.setattr(pipeline, "solve", less_each_time)
    assert cli.main(run) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert ends.tried == [512, 72] and last.startswith("photostyle: out of memory at --size 72")
    assert last.endswith("out.png is the last good picture, of --size 512")
    record = json.loads(output.with_suffix(".json").read_text())
    assert record["config"]["size"] == 512 and len(record["trace"]) == 1
    assert record["output"]["sha256"] == sha256_of(output)


def test_what_cannot_fit_at_any_size_is_tried_once(
    coffee: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_image(tmp_path / "a.png", resize(coffee, 64, 96))
    monkeypatch.setattr(pipeline, "free_memory", lambda device: PROCESS // 2)
    photo = tmp_path / "a.png"
    config = Config(photo, (photo,), fit=True, boldness=1.0, output=tmp_path / "out.png", quiet=True)
    with pytest.raises(NotEnoughMemory, match="use a smaller photo"):
        execute(config)


def test_a_working_folder_that_is_gone_is_said_before_a_library_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert cli.main(["score", "a.png"]) == 2
    assert capsys.readouterr().err.startswith("photostyle: the working folder is gone (No such file")


# Runs a command and prints the most memory that it had, in KiB on Linux (getrusage(2)).
PEAK = """
import json, resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(json.dumps(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))
"""
# A run must not take more than is said, and what is refused should be near to what would not fit.
LEAST, MOST = 0.6, 1.05


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss has other units elsewhere")
@pytest.mark.parametrize(
    ("preset", "photo", "size"),
    [("instant", 6000, 512), ("patches", 700, 512), ("patches", 1024, 1024), ("patches", 2048, 2048)],
)
def test_a_run_takes_about_what_was_estimated(
    coffee: Tensor, chelsea: Tensor, tmp_path: Path, preset: str, photo: int, size: int
):
    height = photo * 2 // 3
    write_image(tmp_path / "a.jpg", resize(coffee, height, photo))
    write_image(tmp_path / "b.jpg", chelsea)
    run = "import sys; from photostyle.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [
        sys.executable,
        "-c",
        run,
        "run",
        "--preset",
        preset,
        "--size",
        str(size),
        "--masks",
        "none",
        "--quiet",
    ]
    if preset == "patches":
        command += ["--iterations", "2", "--boldness", "1"]
    files = ["--content", "a.jpg", "--style", "b.jpg", "--output", "c.jpg"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    measured = json.loads(
        subprocess.run(
            [sys.executable, "-c", PEAK, *command, *files],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=True,
        ).stdout
    )
    said = estimate(recipe(preset), Work((height, photo), (chelsea.shape[1:],), 1), size)
    assert LEAST * said < measured < MOST * said, (measured / 1e6, said / 1e6)
