"""Run an experiment, or go on with it: python scripts/experiment.py experiments/NNN-question [--cluster auto]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the experiments are no installed package

from photostyle.cli.signals import nothing_begun
from photostyle.process import let_threads_sleep

if __name__ == "__main__":
    let_threads_sleep()
    with nothing_begun():
        from experiments.command import main  # imports torch

    sys.exit(main(sys.argv[1:]))
