"""Fine-tuning on the command line: what scripts/finetune.py runs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from photostyle.cli.arguments import parse
from photostyle.cli.console import DONE, exit_code, make_folder, resumable, tell
from photostyle.cli.signals import stop_asked
from photostyle.cli.terminal import voices, workers_of
from photostyle.files.checkpoints import previous_path
from photostyle.process import device_named, prepared
from photostyle.recognition.finetune.loop import CHECKPOINT, WEIGHTS, Hooks
from photostyle.recognition.finetune.settings import FinetuneSettings
from photostyle.recognition.finetune.tune import CONFUSION, CURVES, RECORD, finetune

PROGRAM = "python scripts/finetune.py"
ENDING = resumable("finetune", ": free some, or give a smaller --batch or --size and another --output")


@dataclass(frozen=True)
class _Data:
    """Only a field without a default, which has to come first."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """a folder with a folder of pictures for each class; CIFAR-10 as torchvision keeps it (cifar-10-python.tar.gz, or
    the folder cifar-10-batches-py); or the word digits"""


@dataclass(frozen=True)
class FinetuneCommand(FinetuneSettings, _Data):
    """A classification network learns the classes of your pictures: weights, curves, confusion matrix and record.

    What was done is kept: the same command goes on where it was ended or killed.
    """

    weights: Path | None = None
    """begin with a file's weights in place of the published ones"""
    download: bool = True
    """fetch published weights that are not in the cache"""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out-finetune")
    """folder for all that is written"""
    restart: bool = False
    """begin anew, whatever the folder holds"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where to compute; CUDA computes in half precision where that is enough"""
    threads: int = 0
    """CPU threads; 0: torch's own choice"""
    workers: int = -1
    """processes that read pictures from files; 0: none but this, -1: one a core, 8 at most"""


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    return exit_code(lambda: _finetune(arguments), ENDING)


def _finetune(arguments: Sequence[str]) -> int:
    options = parse(FinetuneCommand, arguments, PROGRAM)
    settings = settings_in(options)
    device = device_named(options.device)
    make_folder(options.output)
    if options.restart:
        for name in (options.output / CHECKPOINT, previous_path(options.output / CHECKPOINT)):
            name.unlink(missing_ok=True)
    say, show = voices()
    with prepared(options.threads), stop_asked() as stop:
        record = finetune(
            options.data,
            settings,
            options.output,
            weights=options.weights,
            download=options.download,
            device=device,
            workers=workers_of(options.workers),
            hooks=Hooks(say, show, stop),
        )
    _print_summary(record, options.output)
    return DONE


def settings_in(options: FinetuneCommand) -> FinetuneSettings:
    """What decides the weights, without how the command goes."""
    return FinetuneSettings(**{each.name: getattr(options, each.name) for each in fields(FinetuneSettings)})


def _print_summary(record: dict[str, Any], folder: Path) -> None:
    outcome = record["outcome"]
    tell(f"test accuracy        {outcome['test accuracy']:.1%}")
    tell(f"validation accuracy  {outcome['validation accuracy']:.1%} (epoch {outcome['best epoch']})")
    for name, share in outcome["accuracy by class"].items():
        tell(f"  {name:18s} {'–' if share is None else f'{share:.1%}'}")
    for each in outcome["confused"]:
        tell(f"  {each['class']} taken for {each['taken for']}: {each['times']}")
    for what, name in (
        ("weights", WEIGHTS),
        ("record", RECORD),
        ("curves", CURVES),
        ("confusion", CONFUSION),
    ):
        tell(f"{what:10s} {folder / name}")
