"""What a transfer costs by size: seconds and peak memory, every run in a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from experiments.bench import bench_table
from experiments.pairs import free_pairs
from experiments.tables import table
from photostyle import configure, transfer
from photostyle.errors import PhotostyleError
from photostyle.files.atomic import temporary_folder
from photostyle.files.images import write_image
from photostyle.imaging.filters import resize
from photostyle.losses.weights import convolutions

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "experiments/007-cost/bench.json"
BESIDE = (
    "Side by side in one run of `scripts/bench.py`: calls that alternate, the median of their seconds and the median "
    "of the ratios of the rounds."
)
PAIR = "china from rocket"
# Output channels of VGG-19's blocks: Simonyan & Zisserman (ICLR 2015), table 1. What a network costs depends on its
# widths and not on the values of its weights, so random ones serve where the 548 MB file is not to be had.
WIDTHS = (64, 128, 256, 512, 512)


def runs(settings: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """One process for every line."""
    return {entry["name"]: entry for entry in settings["lines"]}


def inputs(parameters: Mapping[str, Any]) -> list[str]:
    """Nothing: the photographs come with the packages."""
    return []


def execute(parameters: Mapping[str, Any], data: Path, folder: Path) -> dict[str, Any]:
    """Run in a process of its own, so that its peak memory is its own, and with two threads."""
    environment = os.environ | {"OMP_NUM_THREADS": str(parameters["threads"]), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [
        sys.executable,
        "-c",
        "from experiments.kinds.cost import main; main()",
        json.dumps(parameters),
    ]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or [f"ended with {ended.returncode}, perhaps out of memory"]
        raise PhotostyleError(f"{parameters['name']}: {said[-1]}")
    measured: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return measured


def main() -> None:
    """In the process: the whole of one transfer, measured; its figures to the standard output."""
    parameters = json.loads(sys.argv[1])
    torch.set_num_threads(parameters["threads"])
    with temporary_folder() as folder:
        sys.stdout.write(json.dumps(measure(parameters, folder)) + "\n")


def measure(parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Seconds, seconds an evaluation of the last stage (median), peak MiB of this process so far.

    parameters: "photo" the long side in pixels that the photograph is resampled to, "config", "full_width".
    """
    files = [folder / "content.png", folder / "style.png"]
    photo, reference = free_pairs()[PAIR]
    # Enlarged too: what a size costs does not depend on what there is to see.
    scale = parameters["photo"] / max(photo.shape[1:])
    height, width = (round(scale * side) for side in photo.shape[1:])
    write_image(files[0], resize(photo, height, width))
    write_image(files[1], reference)
    config = dict(parameters["config"])
    if parameters.get("full_width"):
        config["weights"] = folder / "random.safetensors"
        save_file(random_vgg19(), config["weights"])
    config = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    began = time.perf_counter()
    result = transfer(configure(content=files[0], style=files[1], device="cpu", **config))
    seconds = time.perf_counter() - began
    last = [entry["seconds"] for entry in result.trace if entry["stage"] == result.trace[-1]["stage"]]
    return {
        "seconds": seconds,
        "evaluation": float(np.median(np.diff(last))) if len(last) > 1 else None,
        "evaluations": len(result.trace),
        "width": result.photo.width,
        "peak": peak(),
    }


def peak() -> float:
    """Most memory of this process so far in MiB. Not ru_maxrss, which Linux hands on from the parent through exec."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def random_vgg19() -> dict[str, torch.Tensor]:
    """A VGG-19 to conv5_1 of the real widths and random values (He et al. 2015): good for seconds and bytes alone."""
    generator, state, channels = torch.Generator().manual_seed(612), {}, 3
    for name, position in convolutions("vgg19").items():
        width = WIDTHS[int(name[4]) - 1]
        scale = (2 / (9 * channels)) ** 0.5
        state[f"features.{position}.weight"] = scale * torch.randn(width, channels, 3, 3, generator=generator)
        state[f"features.{position}.bias"] = torch.zeros(width)
        channels = width
    return state


def summarise(settings: Mapping[str, Any], records: Mapping[str, Any]) -> dict[str, Any]:
    """As measured, and over the first line."""
    first = records[settings["lines"][0]["name"]]["figures"]
    return {
        name: record["figures"] | {"ratio": record["figures"]["seconds"] / first["seconds"]}
        for name, record in records.items()
    }


def tables(figures: Mapping[str, Any]) -> str:
    """A line a run."""
    head = [
        "",
        "seconds",
        "over the first line",
        "evaluations",
        "ms an evaluation at the last size",
        "peak MiB",
    ]
    rows = [
        [
            name,
            f"{entry['seconds']:.1f}",
            f"× {entry['ratio']:.2f}",
            f"{entry['evaluations']}",
            "–" if entry["evaluation"] is None else f"{1000 * entry['evaluation']:.0f}",
            f"{entry['peak']:.0f}",
        ]
        for name, entry in figures.items()
    ]
    held = json.loads(BENCH.read_text(encoding="utf-8")) if BENCH.exists() else {}
    return "\n".join(
        [
            "From reading the files to the picture at the photo's own size, Python's start and imports apart. Peak "
            "memory is of the whole process, libraries included. Compare the ratios: the machine is shared.",
            "",
            table(head, rows),
            *(["", BESIDE, "", bench_table(held)] if held else []),
        ]
    )
