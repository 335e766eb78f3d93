"""Time the parts side by side: python scripts/bench.py [--quick | --toy] [--gpu] [--data DIR] [--output FILE]."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the experiments are no installed package

from photostyle.process import let_threads_sleep

FIGURES = Path(__file__).resolve().parent.parent / "experiments/007-cost/bench.json"


def main(arguments: list[str]) -> int:
    """Writes the figures, and prints their table; with --gpu also a profile beside them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute: small sizes")
    parser.add_argument(
        "--toy", action="store_true", help="seconds: sizes that say nothing, to see that all works"
    )
    parser.add_argument(
        "--gpu", action="store_true", help="on CUDA (eight minutes); with --toy on the CPU where none is"
    )
    parser.add_argument("--data", type=Path, help="a folder with dpst/; default: photographs of the packages")
    parser.add_argument(
        "--rounds", type=int, default=0, help="calls of each line; default: 7, quick 3, toy 1"
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; default: torch's own choice")
    parser.add_argument("--output", type=Path, default=FIGURES)
    options = parser.parse_args(arguments)
    return bench(options)


def bench(options: argparse.Namespace) -> int:
    """The imports stand here because they import torch, which reads the environment."""
    from experiments.bench import bench_table, measure, write_figures
    from experiments.bench_lines import FULL, QUICK, TOY, lines, pictures
    from photostyle.process import prepared

    sizes = TOY if options.toy else QUICK if options.quick else FULL
    rounds = options.rounds or (1 if options.toy else 3 if options.quick else 7)
    scene = pictures(options.data)
    with prepared(options.threads):
        if options.gpu:
            figures, more = on_card(options, scene, sizes, rounds)
            write_figures(options.output, "card", figures, more)
        else:
            write_figures(options.output, "cpu", measure(lines(scene, sizes), rounds, say), {})
    print(bench_table(json.loads(options.output.read_text(encoding="utf-8"))))
    return 0


def on_card(
    options: argparse.Namespace, scene: Any, sizes: Any, rounds: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures, and the memory by size; the profile is written beside the figures."""
    import torch

    from experiments.bench import measure
    from experiments.bench_card import MEMORY_SIZES, card_lines, memory_by_size, profile_table

    if not torch.cuda.is_available() and not options.toy:
        sys.exit("--gpu: torch finds no CUDA device here; with --toy it runs on the CPU")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = sizes if options.toy else replace(sizes, solves=(512, 2048))
    figures = measure(card_lines(scene, sizes, device), rounds, say)
    memory = memory_by_size(scene, sizes.solves if options.toy else MEMORY_SIZES, device)
    profiled = profile_table(scene, sizes.solves[0], device)
    options.output.with_name("bench-profile.txt").write_text(profiled, encoding="utf-8")
    return figures, {"memory": memory}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    let_threads_sleep()
    sys.exit(main(sys.argv[1:]))
