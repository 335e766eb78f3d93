"""From the words of `photostyle batch` to the pictures that are to be made: settings, names, and what is in the way."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from photostyle.batch.names import COMPANY, RESERVED, distinct_stems
from photostyle.batch.pairs import Row, read_pairs
from photostyle.batch.photos import find_photos
from photostyle.batch.summary import Job
from photostyle.cli.arguments import HELP, named, parse, parse_config
from photostyle.cli.outputs import record_path, refuse_foreign_record
from photostyle.config import Config
from photostyle.errors import PhotostyleError, did_you_mean
from photostyle.evaluation.records import read_record
from photostyle.files.images import SUFFIXES
from photostyle.files.reading import path_exists, path_is_file
from photostyle.materials import TO_BE_MADE
from photostyle.settings import KINDS
from photostyle.validate import check

PROGRAM = "photostyle batch"


@dataclasses.dataclass(frozen=True)
class BatchCommand:
    """Many photographs after one reference (--style), or pairs from a CSV; every option of photostyle run is taken too.

    The same command goes on where it was stopped, and makes what is missing, failed, or of other settings or inputs."""

    photos: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """files, folders and patterns; before the options"""
    pairs: Path | None = None
    """a CSV in their place: columns content, style, masks, output and any option of photostyle run"""
    outside: bool = False
    """let the CSV name files outside its own folder"""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("batch")
    """the folder to write"""
    format: Literal["same", "jpg", "png", "tif", "webp"] = "same"
    """what pictures are written as; same: as each photograph is"""
    consistent: bool = False
    """one closed-form look for all: equal colours of two photographs come out equal"""
    cluster: str | None = None
    """where pictures are made: auto, ray://HOST:PORT (machines that see the same files) or local (processes of this
    machine); default: processes of this machine, one a core, where that is faster"""
    cores: int = 1
    """CPU cores for each picture on a cluster"""


# Of one picture, not of many.
REFUSED = {
    "content": "photographs come first, before the options",
    "animate": "it is of one picture",
    "show": "it is of one picture",
}
# Where a batch differs from as many runs: making masks takes ten seconds a photograph, and nobody looks at fifty sheets
# of regions.
MASKS = ("none",)
DEFAULTS = {"masks": ["--masks", *MASKS], "region_sheet": ["--no-region-sheet"]}


def read_command(arguments: Sequence[str]) -> tuple[BatchCommand, list[str]]:
    """The command's own options, and the words that are options of run."""
    own, rest = _split(arguments)
    options = parse(BatchCommand, own, PROGRAM)
    given = named(rest)
    for name, why in REFUSED.items():
        if name in given:
            raise PhotostyleError(f"--{name} is given to {PROGRAM}: {why}")
    if options.pairs is not None and options.photos:
        raise PhotostyleError(f"--pairs is given beside {options.photos[0]}; give photographs or a CSV")
    if options.pairs is None and not options.photos:
        raise PhotostyleError(
            f"no photographs; give them before the options: {PROGRAM} photos/ --style sunset.jpg -o out"
        )
    return options, rest


def jobs_of(options: BatchCommand, words: Sequence[str]) -> tuple[list[Job], list[str]]:
    """The pictures that are wanted, named, with the settings of each checked; and notes. Nothing is read of the photos.

    Raises PhotostyleError, one line, for whatever can be found wrong before the work.
    """
    if options.pairs is None:
        template = _template(words, {})
        photos, notes = find_photos(options.photos, options.output, _paths(template))
        _refuse_one_mask(template)
        configs = [dataclasses.replace(template, content=photo) for photo in photos]
        stems = distinct_stems(photos, [photo.stem for photo in photos])
        names = [f"{stem}{_suffix(photo, options)}" for photo, stem in zip(photos, stems, strict=True)]
    else:
        rows, notes = read_pairs(options.pairs, options.outside), ()
        configs = _configs(rows, words)
        names = _names(rows, configs, options)
    if options.consistent:
        configs = [_closed(config, words) for config in configs]
    jobs = [
        Job(dataclasses.replace(config, output=options.output / name, quiet=True, first_picture=False))
        for config, name in zip(configs, names, strict=True)
    ]
    return jobs, list(notes)


def refuse_to_overwrite(jobs: Sequence[Job], made_here: set[str]) -> None:
    """Nothing that is read may be written over, and no picture that this batch, or one before it, has not made.

    made_here: names of those that an earlier batch made in the folder. Raises PhotostyleError.
    """
    read = {_identity(path) for job in jobs for path in job.config.files if path_is_file(path)}
    for job in jobs:
        picture, record = job.output, record_path(job.output)
        for path in (picture, record):
            if path_is_file(path) and _identity(path) in read:
                raise PhotostyleError(f"{path} is an input and would be overwritten; choose another --output")
        refuse_foreign_record(picture)
        if picture.name in made_here or _is_of(job, record):
            continue
        if standing := [path for path in (picture, record) if path_exists(path)]:
            raise PhotostyleError(
                f"{standing[0]} exists and is not the result of {job.config.content}, so it is not overwritten; "
                "choose another --output"
            )


def _is_of(job: Job, record: Path) -> bool:
    """Whether the record beside a picture says that it was made from the photograph, under this name."""
    if not path_exists(record):
        return False
    entries = read_record(record, command=None)
    content, output = (entries.get(part) for part in ("inputs", "output"))
    if not isinstance(content, dict) or not isinstance(output, dict):
        return False
    source = content.get("content")
    named_alike = Path(str(output.get("path"))).name == job.output.name
    return (
        named_alike
        and isinstance(source, dict)
        and source.get("path") == str(Path(str(job.config.content)).absolute())
    )


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of BatchCommand, and those of run, each option with its values; photographs stand anywhere else."""
    own_fields = {field.name: field.type is not bool for field in dataclasses.fields(BatchCommand)}
    own, rest, target, values = list[str](), list[str](), None, 0
    photos = list[str]()
    for word in arguments:
        if word.startswith("-") and word != "-":
            name = (
                "output" if word.partition("=")[0] == "-o" else word.partition("=")[0][2:].replace("-", "_")
            )
            mine = name in own_fields or word in HELP or name.removeprefix("no_") in own_fields
            _refuse_unknown(word, name, mine)
            target = own if mine else rest
            values = int(mine and "=" not in word and own_fields.get(name, False))
            target.append(word)
        elif target is rest:
            rest.append(word)
        elif target is own and values:
            own.append(word)
            values = 0
        else:
            photos.append(word)
    return [*photos, *own], rest


def _refuse_unknown(word: str, name: str, mine: bool) -> None:
    known = {field.name for field in dataclasses.fields(BatchCommand)} | {*KINDS, "config"}
    if not mine and name not in known and name.removeprefix("no_") not in known:
        hint = did_you_mean(name, known, "did you mean --{}? ").replace("_", "-")
        raise PhotostyleError(
            f"unknown option {word.partition('=')[0]}; {hint}{PROGRAM} --help and photostyle run --help list all"
        )


def _template(words: Sequence[str], row: dict[str, tuple[str, ...]]) -> Config:
    """The settings of a picture: a row's options in place of the command's. Its photograph is a placeholder."""
    kept = _without(words, row.keys())
    for name, values in row.items():
        option = f"--{name.replace('_', '-')}"
        if KINDS[name] is bool:
            kept.append(option if values == ("true",) else f"--no-{option[2:]}")
        elif len(values) == 1:
            kept.append(f"{option}={values[0]}")
        else:
            kept += [option, *values]
    given = named(kept)
    if "style" not in given:
        raise PhotostyleError(f"{PROGRAM} needs --style, as in {PROGRAM} photos/ --style sunset.jpg -o out")
    for name, default in DEFAULTS.items():
        kept += [] if name in given else default
    return parse_config(["--content", "photo", *kept], PROGRAM)


def _without(words: Sequence[str], names: Collection[str]) -> list[str]:
    """Options of run without those of these names and their values."""
    kept, dropped = list[str](), False
    for word in words:
        if word.startswith("--"):
            dropped = bool(named([word]) & set(names))
        if not dropped:
            kept.append(word)
    return kept


def _configs(rows: Sequence[Row], words: Sequence[str]) -> list[Config]:
    """A configuration for each row, checked; what is wrong is named by its line."""
    templates, configs = dict[tuple[object, ...], Config](), list[Config]()
    for row in rows:
        options = dict(row.options)
        if row.style:
            options["style"] = tuple(map(str, row.style))
        # References are replaced, so that a thousand pairs of the same settings are parsed once.
        settled = {name: values for name, values in options.items() if name not in ("style", "masks")}
        key = (*sorted(settled.items()), len(row.style))
        try:
            if key not in templates:
                templates[key] = _template(words, options)
            config = dataclasses.replace(templates[key], content=row.content)
            if row.style:
                config = dataclasses.replace(config, style=row.style)
            if "masks" in options:
                config = dataclasses.replace(config, masks=options["masks"])
            elif not row.style or "masks" not in settled:
                config = dataclasses.replace(config, masks=_masks_of(words))
            check(config)
            _refuse_mask_count(config)
        except PhotostyleError as error:
            raise PhotostyleError(f"{row.where}: {error}") from None
        configs.append(config)
    return configs


def _masks_of(words: Sequence[str]) -> tuple[str, ...]:
    """What the command itself says of masks."""
    if "masks" not in named(words):
        return MASKS
    template = parse_config(["--content", "photo", "--style", "style", *_without(words, {"style"})], PROGRAM)
    _refuse_one_mask(template)
    return tuple(str(each) for each in template.masks)


def _refuse_mask_count(config: Config) -> None:
    if config.masks not in (("none",), *TO_BE_MADE) and len(config.masks) != 1 + len(config.style):
        raise PhotostyleError(
            f"masks names {len(config.masks)}, expected {1 + len(config.style)} with | between them: the photo's, and "
            "one for each reference"
        )


def _refuse_one_mask(config: Config) -> None:
    if config.masks not in (("none",), *TO_BE_MADE):
        raise PhotostyleError(
            f"--masks {config.masks[0]} is of one photograph; name the masks of each in a CSV (--pairs), or give auto, "
            "cluster or none"
        )


def _closed(config: Config, words: Sequence[str]) -> Config:
    """The settings of the closed form. Raises PhotostyleError for what one look for all cannot keep."""
    if config.masks in TO_BE_MADE:
        raise PhotostyleError(
            f"--consistent with --masks {config.masks[0]}: regions that are made photo by photo have no common names; "
            "make them once with photostyle segment, look, and name them in a CSV (--pairs)"
        )
    given = named(words)
    if "preset" in given and config.preset != "instant":
        raise PhotostyleError(f"--consistent is closed-form and --preset is {config.preset}; leave it out")
    if "protect" in given and config.protect != ("none",):
        raise PhotostyleError(
            "--consistent gives equal colours equal colours, --protect would not; leave it out"
        )
    if config.region_strength:
        raise PhotostyleError("--consistent has one strength for all; leave out --region-strength")
    instant = parse_config(
        ["--content", "photo", "--style", "style", "--preset", "instant", "--masks", "none", "--no-download"],
        PROGRAM,
    )
    kept = (
        "content",
        "style",
        "masks",
        "boldness",
        "strength",
        "style_weights",
        "preserve_luminance",
        "feather",
    )
    same = {name: getattr(config, name) for name in (*kept, "device", "threads", "deterministic")}
    return dataclasses.replace(instant, **same, protect=("none",))


def _names(rows: Sequence[Row], configs: Sequence[Config], options: BatchCommand) -> list[str]:
    """As rows say, else the photograph's and the reference's. Raises PhotostyleError for two alike."""
    free = [k for k, row in enumerate(rows) if row.output is None]
    photos = [rows[k].content for k in free]
    stems = distinct_stems(photos, [f"{rows[k].content.stem}-{_paths(configs[k])[0].stem}" for k in free])
    names = {k: row.output for k, row in enumerate(rows) if row.output is not None}
    names |= {k: f"{stem}{_suffix(rows[k].content, options)}" for k, stem in zip(free, stems, strict=True)}
    counts = Counter(Path(name).stem.casefold() for name in names.values())
    for k, name in sorted(names.items()):
        stem = Path(name).stem.casefold()
        company = next(
            (each for each in COMPANY if stem.endswith(each) and counts[stem.removesuffix(each)]), ""
        )
        if counts[stem] > 1 or stem in RESERVED or company:
            raise PhotostyleError(
                f"{rows[k].where}: output {name} is also the name of another picture or of what is written beside one; "
                "name another in a column output"
            )
    return [names[k] for k in range(len(rows))]


def _suffix(photo: Path, options: BatchCommand) -> str:
    if options.format != "same":
        return f".{options.format}"
    return photo.suffix if photo.suffix.lower() in SUFFIXES else ".png"


def _paths(config: Config) -> list[Path]:
    return [each for each in config.style if isinstance(each, Path)]


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
