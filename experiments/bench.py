"""Timing what belongs together in one run: lines side by side, each as a ratio to the one that it is compared with.

Seconds of a shared machine say little, ratios of calls that alternate say more. A line is set up once and called as
often as the others of its group, in turns: A B A B … A line that cannot be had here is left out with a sentence.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from experiments.tables import table
from photostyle.evaluation.records import commit
from photostyle.files.atomic import write_bytes_atomically

LIBRARIES = ("torch", "numpy", "scipy", "pillow", "numba", "color-matcher", "POT")

Work = Callable[[], object]


class Absent(Exception):
    """What a line needs is not here; the message says what."""


@dataclass(frozen=True)
class Line:
    """One thing to time.

    prepare: sets it up and returns what is timed; raises Absent. baseline: the name of the line, of the same group,
    that it is a ratio to. scale: what its seconds are multiplied by, where only a part is timed; the name says so.
    rounds: how often at most it and its group are called.
    """

    name: str
    group: str
    prepare: Callable[[], Work]
    baseline: str = ""
    scale: float = 1.0
    rounds: int = 100


def measure(
    lines: Sequence[Line], rounds: int, say: Callable[[str], None] = lambda text: None
) -> dict[str, dict[str, Any]]:
    """Seconds of every line by its name: median and quartiles of the rounds, and the ratio to its baseline.

    The ratio is the median of those of the rounds, so that what slows both calls of a round changes it little. A first
    call of each is not counted: caches fill, and kernels are compiled.
    """
    figures: dict[str, dict[str, Any]] = {}
    for group in dict.fromkeys(line.group for line in lines):
        figures |= _group([line for line in lines if line.group == group], rounds, say)
    return {line.name: figures[line.name] for line in lines}


def _group(lines: Sequence[Line], rounds: int, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    ready, figures = dict[str, Work](), dict[str, dict[str, Any]]()
    for line in lines:
        try:
            ready[line.name] = line.prepare()
        except Absent as reason:
            figures[line.name] = {"group": line.group, "skipped": str(reason)}
            say(f"{line.name}: {reason}")
    taken: dict[str, list[float]] = {name: [] for name in ready}
    for number in range(1 + min(rounds, *(line.rounds for line in lines))):
        for line in lines:
            if line.name in ready:
                began = time.perf_counter()
                ready[line.name]()
                if number:
                    taken[line.name].append(line.scale * (time.perf_counter() - began))
    for line in lines:
        if line.name in taken:
            figures[line.name] = _figures(line, taken)
            say(f"{line.name}: {figures[line.name]['seconds']:.3g} s")
    return figures


def _figures(line: Line, taken: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    own, base = taken[line.name], taken.get(line.baseline)
    low, middle, high = quartiles(own)
    found: dict[str, Any] = {
        "group": line.group,
        "seconds": middle,
        "quartiles": [low, high],
        "rounds": len(own),
    }
    if base:
        ratios = [mine / other for mine, other in zip(own, base, strict=True)]
        found |= {"baseline": line.baseline, "ratio": statistics.median(ratios)}
    return found


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The first quartile, the median and the third; of one value, that."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def machine() -> dict[str, Any]:
    """What the figures are of: processor, cores, threads, versions, commit, card."""
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "commit": commit(),
        "card": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    return found | {name: _version(name) for name in LIBRARIES}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write_figures(path: Path, part: str, figures: Mapping[str, Any], more: Mapping[str, Any]) -> None:
    """Write a part of a file of figures ("cpu" or "card"), atomically, and keep its other part.

    more: what else belongs to the part, beside its machine.
    """
    held = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    held[part] = {"machine": machine(), **more, "figures": figures}
    write_bytes_atomically(path, (json.dumps(held, indent=1, ensure_ascii=False) + "\n").encode())


def bench_table(held: Mapping[str, Any]) -> str:
    """Markdown: each part's machine, and its lines with seconds, spread and ratio; below them what was left out."""
    return "\n".join(_part(held[part]) for part in ("cpu", "card") if part in held)


def _part(part: Mapping[str, Any]) -> str:
    made = part["machine"]
    where = made["card"] or f"{made['processor']}, {made['cores']} cores"
    lines = {name: entry for name, entry in part["figures"].items() if "skipped" not in entry}
    rows = [
        [
            name,
            f"{entry['seconds']:.3g} s",
            f"{entry['quartiles'][0]:.3g}–{entry['quartiles'][1]:.3g}",
            f"× {entry['ratio']:.2f} of {entry['baseline']}" if "ratio" in entry else "–",
        ]
        for name, entry in lines.items()
    ]
    head = [f"{where}, {made['threads']} threads, torch {made['torch']}", "median", "quartiles", "ratio"]
    texts = [table(head, rows), ""]
    if memory := part.get("memory"):
        sizes = [[f"{size} px", f"{peak / 1024**3:.2f} GiB"] for size, peak in memory.items()]
        texts += [table(["`patches`, long side", "peak of the card's memory"], sizes), ""]
    for name, entry in part["figures"].items():
        if "skipped" in entry:
            texts.append(f"Left out: {name} ({entry['skipped']}).\n")
    return "\n".join(texts)
