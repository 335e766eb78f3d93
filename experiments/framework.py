"""An experiment is a folder: config.toml asks, result.json answers, README.md is generated from both.

config.toml has the question, what was expected before the first run, the cost, the command, the kind (a module of
experiments) and that kind's [settings]. A kind is four functions:

* runs(settings, data) -> {key: parameters}, everything to be computed, as JSON types
* execute(parameters, data, folder) -> figures of one run, as JSON types; pictures go into the folder
* summarise(settings, records) -> figures of the experiment, as JSON types; records: {key: {"parameters", "figures"}}
* tables(figures) -> Markdown for the README

and may have sheet(settings, data, folder), which draws folder/sheet.jpg from photographs that may be shown, and
whatever else a person should look at into folder/runs. Every finished run is a file in runs/ (not under
version control) that holds its parameters: an interrupted experiment goes on with the runs that have none, and a
changed setting repeats only the runs that it changes.
"""

import hashlib
import importlib
import json
import os
import platform
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from photostyle.errors import PhotostyleError
from photostyle.images import write_bytes_atomically
from photostyle.record import LIBRARIES, commit, installed_version
from photostyle.version import __version__

ROOT = Path(__file__).resolve().parent.parent
KEYS = {"question", "expectation", "cost", "command", "kind", "answer", "settings"}
OPTIONAL = {"full"}  # settings that replace those of the short version
INDEX_BEGIN, INDEX_END = "<!-- index: written by scripts/experiment.py -->", "<!-- /index -->"

Say = Callable[[str], None]


def read_config(folder: Path) -> dict[str, Any]:
    """The config.toml of an experiment. Raises PhotostyleError where it is none."""
    path = folder / "config.toml"
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PhotostyleError(f"{path} does not exist; give the folder of an experiment") from error
    except tomllib.TOMLDecodeError as error:
        raise PhotostyleError(f"{path} is no TOML: {error}; correct it") from error
    if config.keys() - OPTIONAL != KEYS:
        wrong = ", ".join(sorted((config.keys() - OPTIONAL) ^ KEYS))
        raise PhotostyleError(f"{path} must have {', '.join(sorted(KEYS))} and no other keys; see {wrong}")
    return config


def config_hash(config: dict[str, Any]) -> str:
    """SHA-256 of what the result depends on: the kind and its settings, not the words around them."""
    text = json.dumps({"kind": config["kind"], "settings": config["settings"]}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def run_experiment(
    folder: Path, data: Path, say: Say, part: tuple[int, int] = (1, 1)
) -> dict[str, Any] | None:
    """Do what is not done yet, write result.json, sheet.jpg and README.md; returns the result.

    data: the folder with dpst/ and encoders/. part: (k, n) does every n-th run from the k-th on, so that n processes
    share the work; None is returned, and nothing but runs written, while runs of other parts are missing.
    """
    config = read_config(folder)
    kind = importlib.import_module(f"experiments.{config['kind']}")
    wanted = kind.runs(config["settings"], data)
    _do(kind, wanted, data, folder, part, say)
    records = {key: _finished(folder, key, parameters) for key, parameters in wanted.items()}
    if missing := [key for key, record in records.items() if record is None]:
        say(
            f"{len(missing)} of {len(wanted)} runs are missing, {missing[0]} the first; run the other parts too"
        )
        return None
    result = {
        "config": config_hash(config),
        "photostyle": {"version": __version__, "commit": commit()},
        "machine": machine(),
        "seconds": sum(record["seconds"] for record in records.values()),
        "figures": kind.summarise(config["settings"], records),
    }
    write_bytes_atomically(folder / "result.json", (json.dumps(result, indent=1) + "\n").encode())
    if hasattr(kind, "sheet"):
        kind.sheet(config["settings"], data, folder)
    write_bytes_atomically(folder / "README.md", readme(folder).encode())
    write_index(folder.parent)
    return result


def _do(
    kind: ModuleType, wanted: dict[str, Any], data: Path, folder: Path, part: tuple[int, int], say: Say
) -> None:
    own = list(wanted.items())[part[0] - 1 :: part[1]]
    left = [(key, parameters) for key, parameters in own if _finished(folder, key, parameters) is None]
    if len(left) < len(own):
        say(f"{len(own) - len(left)} of {len(own)} runs were done before")
    (folder / "runs").mkdir(exist_ok=True)
    for number, (key, parameters) in enumerate(left, 1):
        began = time.perf_counter()
        figures = kind.execute(parameters, data, folder / "runs")
        record = {"parameters": parameters, "figures": figures, "seconds": time.perf_counter() - began}
        write_bytes_atomically(_record_path(folder, key), (json.dumps(record, indent=1) + "\n").encode())
        say(f"{number}/{len(left)}  {key}  {record['seconds']:.0f} s")


def _finished(folder: Path, key: str, parameters: Any) -> dict[str, Any] | None:
    """The record of a run with exactly these parameters; None where there is none."""
    path = _record_path(folder, key)
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record if record["parameters"] == parameters else None


def _record_path(folder: Path, key: str) -> Path:
    return folder / "runs" / f"{key}.json"


def machine() -> dict[str, Any]:
    """What the seconds were measured on."""
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: installed_version(name) for name in LIBRARIES},
    }


def readme(folder: Path) -> str:
    """The README of an experiment, from its config and result."""
    config, result = read_config(folder), read_result(folder)
    kind = importlib.import_module(f"experiments.{config['kind']}")
    parts = [
        f"# {config['question']}",
        f"**Answer.** {config['answer']}",
        f"**Expected before the first run.** {config['expectation']}",
        kind.tables(result["figures"]).strip(),
        f"Cost: {config['cost']} Command:",
        f"```\n{config['command']}\n```",
    ]
    if (folder / "sheet.jpg").exists():
        parts.insert(4, f"![{config['question']}](sheet.jpg)")
    parts.append(
        f"Generated from config.toml (settings {result['config'][:12]}) and result.json (photostyle "
        f"{result['photostyle']['version']}, commit {result['photostyle']['commit']}, torch "
        f"{result['machine']['torch']}, threads a process: {result['machine']['threads']})."
    )
    return "\n\n".join(parts) + "\n"


def read_result(folder: Path) -> dict[str, Any]:
    """The result.json of an experiment."""
    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return result


def experiments(folder: Path) -> Iterator[Path]:
    """The folders of all experiments, by number."""
    yield from sorted(path.parent for path in folder.glob("[0-9][0-9][0-9]-*/config.toml"))


def index(folder: Path) -> str:
    """A line an experiment: its question and its answer."""
    lines = ["| | question | answer |", "|---|---|---|"]
    for path in experiments(folder):
        config = read_config(path)
        lines.append(f"| [{path.name}]({path.name}/README.md) | {config['question']} | {config['answer']} |")
    return "\n".join(lines)


def write_index(folder: Path) -> None:
    """Bring the table in experiments/README.md up to date."""
    path = folder / "README.md"
    before, rest = path.read_text(encoding="utf-8").split(INDEX_BEGIN)
    after = rest.split(INDEX_END)[1]
    text = f"{before}{INDEX_BEGIN}\n{index(folder)}\n{INDEX_END}{after}"
    write_bytes_atomically(path, text.encode())
