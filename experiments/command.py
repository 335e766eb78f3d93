"""The command line of experiments: what scripts/experiment.py runs."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.framework import PACKAGES, read_config, run_experiment, write_texts
from photostyle.cli.arguments import parse
from photostyle.cli.console import DONE, exit_code, resumable
from photostyle.errors import PhotostyleError
from photostyle.process import prepared
from photostyle.workers.ray_pool import check_cluster, open_pool

ENDING = resumable("experiment")


@dataclass(frozen=True)
class ExperimentCommand:
    """Run an experiment: what was done before is not done again."""

    folder: Annotated[Path, tyro.conf.Positional]
    """the folder with the experiment's config.toml"""
    data: Path = Path(os.environ.get("PHOTOSTYLE_DATA", "../shared"))
    """the folder with dpst/ (published pairs) and encoders/"""
    part: str = "1/1"
    """K/N: every N-th run from the K-th on, so that N processes share the work"""
    full: bool = False
    """with the settings of the table [full]: writes runs-full/ and result-full.json, no README"""
    cluster: str | None = None
    """where runs are computed: auto (Ray at RAY_ADDRESS, else Ray on this machine), ray://HOST:PORT, local (processes
    of this machine); default: this process"""
    cores: int = 1
    """CPU cores per run on a cluster; where it has GPUs, a run gets one too"""
    threads: int = 0
    """CPU threads of this process, where runs are computed in it; 0: torch's own choice"""
    write: bool = False
    """only write README.md and the index again, from config.toml and result.json"""


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    return exit_code(lambda: _experiment(arguments), ENDING)


def _experiment(arguments: list[str]) -> int:
    options = parse(ExperimentCommand, arguments, "python scripts/experiment.py")
    if options.write:
        write_texts(options.folder)
    else:
        _run(options)
    return DONE


def _run(options: ExperimentCommand) -> None:
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", options.part)
    if not found or int(found[1]) > int(found[2]):
        raise PhotostyleError(f"--part is {options.part}; give K/N with 1 <= K <= N, as in 1/2")
    part = int(found[1]), int(found[2])
    if options.cluster and options.threads:
        raise PhotostyleError("--threads is of this process alone; on a cluster give --cores")
    # What is wrong with the options is said before a cluster is started.
    check_cluster(options.cluster, options.cores)
    read_config(options.folder, options.full)
    pool = open_pool(options.cluster, options.cores, packages=PACKAGES, say=_say)
    with prepared(options.threads), pool:
        if options.cluster:
            _say(pool.description)
        run_experiment(options.folder, options.data, _say, part, full=options.full, pool=pool)


def _say(line: str) -> None:
    print(line, flush=True)
