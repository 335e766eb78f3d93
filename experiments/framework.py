"""An experiment is a folder: config.toml asks, result.json answers, README.md is generated from both.

config.toml has the question, what was expected before the first run, the cost, the command, the kind (a module of
experiments/kinds) and the [settings] of that kind. A table [full], if there is one, replaces some of them where an
experiment is run in full: its runs are kept in runs-full/ and its result is result-full.json, and the README stays that
of the ordinary run. A kind is five functions:

* runs(settings, data) -> {key: parameters}, everything that is to be computed, as JSON types
* inputs(parameters) -> the files that a run reads, relative to the data folder
* execute(parameters, data, folder) -> figures of one run, as JSON types; pictures go into the folder
* summarise(settings, records) -> figures of the experiment, as JSON types; records: {key: {"parameters", "figures"}}
* tables(figures) -> Markdown for the README

A kind may also have sheet(settings, data, folder), which draws folder/sheet.jpg from photographs that may be shown and
puts whatever else a person should look at into folder/runs, and headline(figures), a table for the main README. Every
finished run is a file in runs/ (not under version control) that holds its parameters: an interrupted experiment goes on
with the runs that have no such file, and a changed setting repeats only the runs that it changes.

A run is a pure function from bytes to bytes, `run_task`: execute sees a data folder with its inputs alone, and every
file that it writes is handed back. So a run may be computed anywhere (photostyle.workers.pool), and only the process
that asked for it reads and writes files.
"""

import hashlib
import importlib
import json
import os
import platform
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import commit, library_versions
from photostyle.files.atomic import temporary_folder, write_bytes_atomically
from photostyle.version import __version__
from photostyle.workers.pool import Pool, Task, ThisProcess

ROOT = Path(__file__).resolve().parent.parent
KEYS = {"question", "expectation", "cost", "command", "kind", "answer", "settings"}
OPTIONAL = {"full"}
RECORD = {"parameters", "figures", "seconds"}  # what every record of a run has
KIND_PACKAGE = "experiments.kinds"  # of the modules that config.toml calls kinds
PACKAGES = ("photostyle", "segmentation", "experiments")  # the code that a run needs
INDEX_BEGIN, INDEX_END = "<!-- index: written by scripts/experiment.py -->", "<!-- /index -->"
RESULTS_BEGIN, RESULTS_END = "<!-- results: written by scripts/experiment.py -->", "<!-- /results -->"

Say = Callable[[str], None]


def read_config(folder: Path, full: bool = False) -> dict[str, Any]:
    """The config.toml of an experiment. full: with the entries of [full] in place of those in [settings].

    Raises PhotostyleError where the file is missing or is no such configuration.
    """
    path = folder / "config.toml"
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PhotostyleError(f"{path} does not exist; give the folder of an experiment") from error
    except tomllib.TOMLDecodeError as error:
        raise PhotostyleError(f"{path} is no TOML: {error}; correct it") from error
    if config.keys() - OPTIONAL != KEYS:
        wrong = ", ".join(sorted(config.keys() - OPTIONAL ^ KEYS))
        raise PhotostyleError(f"{path} must have {', '.join(sorted(KEYS))} and no other keys; see {wrong}")
    if unknown := config.get("full", {}).keys() - config["settings"].keys():
        raise PhotostyleError(
            f"{path} has {', '.join(sorted(unknown))} in [full] but not in [settings]; name what it replaces"
        )
    if full and "full" not in config:
        raise PhotostyleError(f"{path} has no table [full]; leave out --full, or say there what it replaces")
    replaced = config.pop("full", {}) if full else {}
    return config | {"settings": config["settings"] | replaced}


def config_hash(config: dict[str, Any]) -> str:
    """SHA-256 of what the result depends on: the kind and its settings, not the texts beside them."""
    text = json.dumps({"kind": config["kind"], "settings": config["settings"]}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def run_experiment(
    folder: Path,
    data: Path,
    say: Say,
    part: tuple[int, int] = (1, 1),
    *,
    full: bool = False,
    pool: Pool | None = None,
) -> dict[str, Any] | None:
    """Do what is not done yet and write result.json, sheet.jpg and README.md. Returns the result.

    data: the folder with dpst/ and encoders/. part: (k, n) does every n-th run from the k-th on, so that n processes
    share the work. While runs of other parts are missing, only runs are written and None is returned. full: use the
    settings of [full] and write result-full.json alone. pool: where runs are computed; by default in this process.
    """
    config = read_config(folder, full)
    kind = importlib.import_module(f"{KIND_PACKAGE}.{config['kind']}")
    try:
        wanted = kind.runs(config["settings"], data)
    except KeyError as error:
        raise PhotostyleError(f"{folder / 'config.toml'} lacks {error} in [settings]; add it") from error
    runs = folder / ("runs-full" if full else "runs")
    _do(kind, wanted, data, runs, part, say, pool or ThisProcess(say))
    records = {key: _finished(runs, key, parameters) for key, parameters in wanted.items()}
    if missing := [key for key, record in records.items() if record is None]:
        say(
            f"{len(missing)} of {len(wanted)} runs are missing, {missing[0]} the first; run the other parts too"
        )
        return None
    result = {
        "config": config_hash(config),
        "photostyle": {"version": __version__, "commit": commit(), "runs": _commits(records)},
        **_machines(list(records.values())),
        "seconds": sum(record["seconds"] for record in records.values()),
        "figures": kind.summarise(config["settings"], records),
    }
    name = "result-full.json" if full else "result.json"
    write_bytes_atomically(folder / name, (json.dumps(result, indent=1) + "\n").encode())
    if full:
        return result
    if hasattr(kind, "sheet"):
        kind.sheet(config["settings"], data, folder)
    write_texts(folder)
    return result


def run_task(kind: str, parameters: Mapping[str, Any], inputs: Mapping[str, bytes]) -> dict[str, Any]:
    """One run, from bytes to bytes: "figures", "files" (name: bytes, as written), "seconds", "machine".

    kind: a module's full name. inputs: by their names relative to the data folder.
    """
    module = importlib.import_module(kind)
    with temporary_folder() as temporary:
        data, folder = temporary / "data", temporary / "runs"
        for each in (data, folder):
            each.mkdir()
        _write(data, inputs)
        began = time.perf_counter()
        figures = module.execute(parameters, data, folder)
        seconds = time.perf_counter() - began
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    return {"figures": figures, "files": files, "seconds": seconds, "machine": machine()}


def _do(
    kind: ModuleType,
    wanted: Mapping[str, Any],
    data: Path,
    runs: Path,
    part: tuple[int, int],
    say: Say,
    pool: Pool,
) -> None:
    own = list(wanted.items())[part[0] - 1 :: part[1]]
    left = [(key, parameters) for key, parameters in own if _finished(runs, key, parameters) is None]
    if len(left) < len(own):
        say(f"{len(own) - len(left)} of {len(own)} runs were done before")
    for key, _ in left:
        if _record_path(runs, key).exists():
            say(f"{_record_path(runs, key)} is damaged or of other parameters: the run is done again")
    runs.mkdir(exist_ok=True)
    done = pool.run(_tasks(kind, dict(left), data, pool))
    for number, (key, run) in enumerate(done, 1):
        _write(runs, run.pop("files"))
        record = {"parameters": wanted[key], "commit": commit(), **run}
        # Written last, whole or not at all: a run that has a record is done.
        write_bytes_atomically(_record_path(runs, key), (json.dumps(record, indent=1) + "\n").encode())
        say(f"{number}/{len(left)}  {key}  {record['seconds']:.0f} s")


def _tasks(kind: ModuleType, left: Mapping[str, Any], data: Path, pool: Pool) -> Iterator[Task]:
    """The runs as tasks. A file is read when the first run that needs it begins, and released after the last."""
    names = {key: kind.inputs(parameters) for key, parameters in left.items()}
    last = {name: key for key, each in names.items() for name in each}
    for name in last:
        if not (data / name).is_file():
            raise PhotostyleError(f"{data / name} does not exist; give the folder that holds it with --data")
    shared: dict[str, Any] = {}
    for key, parameters in left.items():
        for name in names[key]:
            if name not in shared:
                shared[name] = pool.share((data / name).read_bytes())
        contents = [shared[name] for name in names[key]]
        for name in names[key]:
            if last[name] == key:
                del shared[name]
        yield Task(key, _run_named, (kind.__name__, parameters, names[key], *contents))


def _run_named(
    kind: str, parameters: Mapping[str, Any], names: list[str], *contents: bytes
) -> dict[str, Any]:
    """`run_task` with the contents of its inputs as separate arguments, because a pool shares whole arguments."""
    return run_task(kind, parameters, dict(zip(names, contents, strict=True)))


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, content)


def _finished(runs: Path, key: str, parameters: Any) -> dict[str, Any] | None:
    """The record of a run with exactly these parameters; None where there is none."""
    path = _record_path(runs, key)
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # cut or no JSON: done again, and said by who does it
        return None
    whole = (
        isinstance(record, dict) and RECORD <= record.keys() and isinstance(record["seconds"], int | float)
    )
    return record if whole and record["parameters"] == parameters else None


def _record_path(runs: Path, key: str) -> Path:
    return runs / f"{key}.json"


def _commits(records: Mapping[str, Any]) -> list[str]:
    """The commits that computed the runs. Parameters name a preset, whose settings may change between commits."""
    return sorted({str(record.get("commit")) for record in records.values()})


def _machines(records: list[dict[str, Any]]) -> dict[str, Any]:
    """What the seconds were measured on: "machine", and "other machines" where runs went to different ones."""
    first, *others = [record.get("machine") or machine() for record in records] or [machine()]
    different = [each for number, each in enumerate(others) if each not in (first, *others[:number])]
    return {"machine": first} | ({"other machines": different} if different else {})


def machine() -> dict[str, Any]:
    """This machine and its libraries, as JSON types."""
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **library_versions(),
    }


def readme(folder: Path) -> str:
    """The README of an experiment, from its config and result."""
    config, result = read_config(folder), read_result(folder)
    kind = importlib.import_module(f"{KIND_PACKAGE}.{config['kind']}")
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
        f"{result['photostyle']['version']}, commit {_of_commits(result['photostyle'])}, torch "
        f"{result['machine']['torch']}, threads a process: {result['machine']['threads']})."
    )
    return "\n\n".join(parts) + "\n"


def _of_commits(origin: Mapping[str, Any]) -> str:
    others = [each for each in origin.get("runs", ()) if each != origin["commit"]]
    return f"{origin['commit']}, runs of {', '.join(others)}" if others else str(origin["commit"])


def read_result(folder: Path) -> dict[str, Any]:
    """The result.json of an experiment."""
    path = folder / "result.json"
    if not path.exists():
        raise PhotostyleError(f"{path} does not exist; run the experiment first")
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PhotostyleError(f"{path} is damaged; remove it and run the experiment again") from error
    if not isinstance(result, dict) or not {"config", "photostyle", "machine", "figures"} <= result.keys():
        raise PhotostyleError(f"{path} is no result; remove it and run the experiment again")
    return result


def experiments(folder: Path) -> Iterator[Path]:
    """The folders of all experiments that have a result, by number."""
    yield from sorted(path.parent for path in folder.glob("[0-9][0-9][0-9]-*/result.json"))


def index(folder: Path) -> str:
    """One line per experiment: its question and its answer."""
    lines = ["| | question | answer |", "|---|---|---|"]
    for path in experiments(folder):
        config = read_config(path)
        lines.append(f"| [{path.name}]({path.name}/README.md) | {config['question']} | {config['answer']} |")
    return "\n".join(lines)


def headline(folder: Path) -> str | None:
    """What the main README shows of an experiment; None where its kind has nothing for it."""
    kind = importlib.import_module(f"{KIND_PACKAGE}.{read_config(folder)['kind']}")
    if not hasattr(kind, "headline"):
        return None
    text: str = kind.headline(read_result(folder)["figures"])
    return text


def write_texts(folder: Path) -> None:
    """README.md of an experiment, the index above it, and the main README's table where it comes from this one."""
    write_bytes_atomically(folder / "README.md", readme(folder).encode())
    above = folder.resolve().parent
    _replace_between(above / "README.md", INDEX_BEGIN, INDEX_END, index(above))
    if table := headline(folder):
        _replace_between(above.parent / "README.md", RESULTS_BEGIN, RESULTS_END, table)


def _replace_between(path: Path, begin: str, end: str, text: str) -> None:
    before, rest = path.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    write_bytes_atomically(path, f"{before}{begin}\n{text}\n{end}{after}".encode())
