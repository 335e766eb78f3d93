"""Run an experiment, or go on with it: python scripts/experiment.py experiments/NNN-question [--part 1/2]."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments.framework import readme, run_experiment, write_index
from photostyle.arguments import parse
from photostyle.errors import PhotostyleError
from photostyle.images import write_bytes_atomically


@dataclass(frozen=True)
class ExperimentCommand:
    """Run an experiment: what was done before is not done again."""

    folder: Annotated[Path, tyro.conf.Positional]
    """the folder with the experiment's config.toml"""
    data: Path = Path(os.environ.get("PHOTOSTYLE_DATA", "../shared"))
    """the folder with dpst/ (published pairs) and encoders/"""
    part: str = "1/1"
    """K/N: every N-th run from the K-th on, so that N processes share the work"""
    threads: int = 0
    """CPU threads a process; 0: torch's own choice"""
    write: bool = False
    """only write README.md and the index again, from config.toml and result.json"""


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 done, 2 bad input."""
    try:
        options = parse(ExperimentCommand, arguments, "python scripts/experiment.py")
        if options.write:
            write_bytes_atomically(options.folder / "README.md", readme(options.folder).encode())
            write_index(options.folder.resolve().parent)
            return 0
        part, parts = (int(number) for number in options.part.split("/"))
        if options.threads:
            torch.set_num_threads(options.threads)
        run_experiment(options.folder, options.data, lambda line: print(line, flush=True), (part, parts))
    except PhotostyleError as error:
        print(f"experiment: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
