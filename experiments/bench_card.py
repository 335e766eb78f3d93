"""The bench on a CUDA device: solves, memory by size, and where the time of a step goes. At toy size on the CPU too."""

from dataclasses import replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from experiments.bench import Line
from experiments.bench_lines import Sizes, at_size, gram_loop, shortened, solving
from photostyle.presets import recipe
from photostyle.scene import Scene

MEMORY_SIZES = (512, 1024, 2048, 4096)  # long sides in pixels
ROWS = 25  # of the profiler's table
GRAM_STEPS = 100
FEW = 2  # evaluations of the last stage where memory is measured: it is full after the first


def card_lines(scene: Scene, sizes: Sizes, device: str) -> list[Line]:
    """Eight minutes on one card at most: the photo is enlarged to each size that is solved."""
    small, large = sizes.solves[0], sizes.solves[-1]
    gram = f"plain Gram loop, Adam, full-width VGG-19, {small} px, {_steps(sizes)} steps"
    made = [Line(gram, "solve", lambda: gram_loop(at_size(scene, small), _steps(sizes), device), rounds=3)]
    for name, preset, size, rounds in (
        (f"patches {small} px{sizes.cut}", "patches", small, 3),
        (f"photoreal {small} px, full-width VGG-19{sizes.cut}", "photoreal", small, 3),
        (f"patches {large} px{sizes.cut}", "patches", large, 1),
    ):
        asked = shortened(recipe(preset, size=size), sizes.share)
        prepare = solving(at_size(scene, size), asked, device, network=preset == "photoreal")
        group = "solve" if size == small else "large"
        made.append(Line(name, group, prepare, gram if group == "solve" else "", rounds=rounds))
    return [*made, *ancestors(scene, sizes, device)]


def ancestors(scene: Scene, sizes: Sizes, device: str) -> list[Line]:
    """The steps of the programs that came before: Gatys's hundred, and the two thousand of the slides' second stage."""
    small = sizes.solves[0]
    asked = {
        "gatys-vgg19": recipe("gatys-vgg19", size=small, coarsest=small),
        "slides": recipe("slides", squeeze=(small, small), first_pass=0),
    }
    return [
        Line(
            f"{preset} {small} px, full-width VGG-19, {settings.iterations[0]} steps{sizes.cut}",
            preset,
            solving(at_size(scene, small), shortened(settings, sizes.share), device, network=True),
            rounds=1,
        )
        for preset, settings in asked.items()
    ]


def _steps(sizes: Sizes) -> int:
    return max(1, round(GRAM_STEPS * sizes.share))


def memory_by_size(scene: Scene, sides: tuple[int, ...], device: str) -> dict[str, int]:
    """Bytes that torch had on the card at most, for `patches` at each size with few evaluations; 0 on the CPU.

    A size that does not fit ends the list.
    """
    found: dict[str, int] = {}
    for side in sides:
        asked = recipe("patches", size=side, coarsest=side)
        work = solving(at_size(scene, side), replace(asked, iterations=(FEW,)), device)()
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            work()
        except torch.OutOfMemoryError:
            return found
        found[str(side)] = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    return found


def profile_table(scene: Scene, size: int, device: str) -> str:
    """The operations of some evaluations of `patches` by their time, as torch.profiler has them."""
    asked = recipe("patches", size=size, coarsest=size)
    work = solving(at_size(scene, size), replace(asked, iterations=(5,)), device)()
    work()
    on_card = device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]
    with profile(activities=activities) as seen:
        work()
    events: Any = seen.key_averages()
    key = "self_device_time_total" if on_card else "self_cpu_time_total"
    return str(events.table(sort_by=key, row_limit=ROWS, max_name_column_width=48))
