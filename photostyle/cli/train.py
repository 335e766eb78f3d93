"""Trainings of feed-forward networks on the command line: what scripts/train.py runs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from photostyle.cli.arguments import parse
from photostyle.cli.console import DONE, exit_code, make_folder, resumable, tell
from photostyle.cli.signals import stop_asked
from photostyle.cli.terminal import voices, workers_of
from photostyle.errors import PhotostyleError, did_you_mean
from photostyle.feedforward.distributed import joined
from photostyle.feedforward.multistyle import CURVES, MODEL, RECORD, SAMPLES, Asked, multistyle
from photostyle.feedforward.presets import PRESETS, PresetName
from photostyle.feedforward.settings import ModelSettings
from photostyle.feedforward.style_classes import ClassSettings
from photostyle.feedforward.style_space import ENCODER, MAP, nearest_styles, style_space
from photostyle.feedforward.train import TrainingSettings
from photostyle.process import device_named, prepared

Settings = TypeVar("Settings")

PROGRAM = "python scripts/train.py"
USAGE = f"""Networks of many styles.

  {PROGRAM} multistyle --contents PHOTOGRAPHS --styles PICTURES [--tiny | --quick]   a model that knows the styles
  {PROGRAM} style-classes PICTURES [--query PICTURE]                                 a style encoder of movements

{PROGRAM} COMMAND --help explains every option."""
ENDING = resumable("train", ": free some, or give a smaller --batch or --size and another --output")
FLAGS: dict[str, PresetName] = {"--tiny": "tiny", "--quick": "quick"}


@dataclass(frozen=True)
class _Folders:
    """Only fields without a default, which have to come first."""

    contents: Path
    """a folder of photographs, however deep"""
    styles: Path
    """a folder of pictures in the styles to learn, however deep"""


@dataclass(frozen=True)
class _Run:
    """How a training runs, which decides nothing of what it learns."""

    weights: Path | None = None
    """the loss network's VGG-19 weights; default: the cache or a download"""
    style_encoder: Path | None = None
    """begin with a style encoder that style-classes has tuned"""
    inception: Path | None = None
    """Inception-v3's published weights; default: the cache or a download, random ones where there are none"""
    download: bool = True
    """fetch published weights that are not in the cache"""
    licence: str = ""
    """of the pictures: kept in the model's file, for who wants to pass it on"""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out-multistyle")
    """folder for all that is written"""
    every: int = 50
    """steps between two reports"""
    sample_every: int = 500
    """steps between two sheets of samples"""
    save_seconds: float = 120.0
    """seconds between two checkpoints: what a killed process loses at most"""
    tensorboard: bool = False
    """write curves for TensorBoard too; needs the extra: pip install 'photostyle[tensorboard]'"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where to compute; torchrun gives each of its processes a card"""
    threads: int = 0
    """CPU threads; 0: torch's own choice"""
    workers: int = -1
    """processes that read pictures; 0: none but this, -1: one a core, 8 at most"""


@dataclass(frozen=True)
class MultistyleCommand(_Run, TrainingSettings, ModelSettings, _Folders):
    """A network learns many styles from two folders. --tiny: two CPU cores, half an hour; --quick: an H100, ten
    minutes; neither: the numbers of the description that it is built after, a day on a card. What is given beside them
    replaces their numbers.

    What was done is kept: the same command goes on where it was ended or killed.
    """

    def __post_init__(self) -> None:
        """Nothing: both kinds of settings are checked when they are taken out."""


@dataclass(frozen=True)
class _Tree:
    data: Annotated[Path, tyro.conf.Positional]
    """a folder with a folder of pictures for each style"""


@dataclass(frozen=True)
class ClassesCommand(ClassSettings, _Tree):
    """The style encoder learns to tell styles apart: encoder.safetensors, embeddings.npz, map.png (t-SNE), record.json.

    What was done is not done again: with --query the folder that was written answers.
    """

    query: Path | None = None
    """a picture: which of the pictures have the nearest style?"""
    inception: Path | None = None
    """Inception-v3's published weights; default: the cache or a download, random ones where there are none"""
    download: bool = True
    """fetch published weights that are not in the cache"""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out-style-classes")
    """folder for all that is written"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where to compute"""
    threads: int = 0
    """CPU threads; 0: torch's own choice"""
    workers: int = -1
    """processes that look the pictures through; 0: none but this, -1: one a core, 8 at most"""

    def __post_init__(self) -> None:
        """Nothing: the settings are checked when they are taken out."""


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    return exit_code(lambda: _command(list(arguments)), ENDING)


def _command(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        tell(USAGE)
        return DONE
    name, *rest = arguments
    commands = {"multistyle": _multistyle, "style-classes": _style_classes}
    if name not in commands:
        hint = did_you_mean(name, commands, "did you mean {}? ")
        raise PhotostyleError(f'no training "{name}"; {hint}there are {" and ".join(commands)}')
    return commands[name](rest)


def _multistyle(arguments: list[str]) -> int:
    flags = [each for each in arguments if each in FLAGS]
    if len(flags) > 1:
        raise PhotostyleError(f"{' and '.join(flags)} are given; give one of them")
    preset = PRESETS[FLAGS[flags[0]] if flags else "document"]
    rest = [each for each in arguments if each not in FLAGS]
    defaults: dict[str, Any] = {**asdict(preset.model), **asdict(preset.training)}
    default = MultistyleCommand(tyro.MISSING, tyro.MISSING, **defaults)
    options = parse(MultistyleCommand, rest, f"{PROGRAM} multistyle", default)
    model, training = _part(ModelSettings, options), _part(TrainingSettings, options)
    asked = Asked(
        options.contents,
        options.styles,
        options.output,
        weights=options.weights,
        style_encoder=options.style_encoder,
        inception=options.inception,
        download=options.download,
        workers=workers_of(options.workers),
        every=options.every,
        sample_every=options.sample_every,
        save_seconds=options.save_seconds,
        licence=options.licence,
        tensorboard=options.tensorboard,
    )
    return train_multistyle(asked, model, training, options.device, options.threads)


def train_multistyle(
    asked: Asked, model: ModelSettings, training: TrainingSettings, device: str, threads: int
) -> int:
    """Train while a person watches: what is said goes to the terminal, and Ctrl-C ends it with a checkpoint."""
    device_named(device)  # a card that is not there is said before anything is read
    make_folder(asked.folder)
    say, show = voices()
    with prepared(threads), joined(device) as ranks, stop_asked() as stop:
        record = multistyle(replace(asked, say=say, show=show, stop=stop), model, training, ranks)
    if record:
        _say_what_came_out(record, asked.folder)
    return DONE


def _say_what_came_out(record: dict[str, Any], folder: Path) -> None:
    for name, value in record["outcome"]["losses"].items():
        tell(f"{name:10s} {value:.4g}")
    for what, name in (("model", MODEL), ("record", RECORD), ("curves", CURVES), ("samples", SAMPLES)):
        tell(f"{what:10s} {folder / name}")
    tell(f"photostyle stylise PHOTO --style PICTURE --model {folder / MODEL}")


def _style_classes(arguments: list[str]) -> int:
    options = parse(ClassesCommand, arguments, f"{PROGRAM} style-classes")
    settings = _part(ClassSettings, options)
    device = device_named(options.device)
    make_folder(options.output)
    say, _ = voices()
    with prepared(options.threads):
        record = style_space(
            options.data,
            options.output,
            settings,
            inception=options.inception,
            download=options.download,
            device=device,
            workers=workers_of(options.workers),
            say=say,
        )
        nearest = [] if options.query is None else nearest_styles(options.query, options.output, settings)
    for file, style, cosine in nearest:
        tell(f"{cosine:.3f}  {style}  {file}")
    if not nearest:
        for name, value in record["outcome"]["last epoch"].items():
            tell(f"{name:18s} {value:.4g}")
        tell(f"{'encoder':18s} {options.output / ENCODER}\n{'map':18s} {options.output / MAP}")
    return DONE


def _part(kind: type[Settings], options: Any) -> Settings:
    """The options that are fields of a kind of settings, checked by it."""
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]  # a TypeVar cannot say that it is one
    return kind(**{name: getattr(options, name) for name in names})
