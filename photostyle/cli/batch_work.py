"""What a worker of `photostyle batch` does: one picture with its record and its small copies, or what went wrong."""

import dataclasses
import hashlib
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from photostyle.batch.look import Look, Region, dial_of, looked, regions_of
from photostyle.batch.page import small, small_of_result, thumbnail_names
from photostyle.cli.console import INTERRUPTED, reason
from photostyle.cli.outputs import checkpoint_path, company, record_path
from photostyle.cli.run import execute
from photostyle.config import Config
from photostyle.evaluation.records import made_by, make_record, read_record, write_picture
from photostyle.files.arrays import path_of, read_photograph
from photostyle.files.atomic import write_bytes_atomically
from photostyle.files.images import Picture, check_output, encode_image
from photostyle.losses.weights import Weights, find, locate
from photostyle.materials import mask_paths, notes_of, paired, read_all_masks
from photostyle.objective import feature_layers
from photostyle.process import device_named, prepared
from photostyle.result import Result
from photostyle.resuming import Checkpoints

CONSISTENT = "batch --consistent"  # the command in the records of pictures that have the look of their set


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one picture. failure: "" where it was made. value: what else was asked for."""

    failure: str
    seconds: float
    notes: tuple[str, ...] = ()
    value: Any = None


class _Reader:
    """Reads photographs: a reference once for many pictures. It keeps a small copy of the first that it reads."""

    def __init__(self) -> None:
        self.small: bytes | None = None

    def __call__(self, source: Path | Picture) -> Picture:
        if self.small is not None and isinstance(source, Path):
            status = source.stat() if source.is_file() else None
            return _kept(source, status.st_mtime_ns, status.st_size) if status else read_photograph(source)
        photo = read_photograph(source)
        self.small = small(photo.pixels)
        return photo


@lru_cache(maxsize=2)  # a reference of 12 MP is 144 MB, and most batches have one
def _kept(path: Path, changed: int, size: int) -> Picture:
    return read_photograph(path)


def _with_weights(config: Config) -> Config:
    """With VGG weights in memory where any are here: read and hashed once, 1.1 s for torchvision's file of VGG-19."""
    if not feature_layers(config) or (path := locate(config.weights, config.encoder, False)) is None:
        return config
    status = path.stat()
    given = config.weights is not None
    kept = _kept_weights(given, config.encoder, path, status.st_mtime_ns, status.st_size)
    return dataclasses.replace(config, weights=kept)


@lru_cache(maxsize=1)
def _kept_weights(given: bool, encoder: str, path: Path, changed: int, size: int) -> Weights:
    return find(path if given else None, encoder, download=False)


def make(config: Config) -> Outcome:
    """One picture as `photostyle run` makes it. Raises KeyboardInterrupt alone."""
    began, reader = time.perf_counter(), _Reader()
    try:
        code = execute(_with_weights(config), read=reader, keep=_checkpoints)
        record = read_record(record_path(config.output))
        if code == INTERRUPTED and record["ended"] != "done":
            raise KeyboardInterrupt
        _put_thumbnails(config.output, reader)
        failure = "" if record["ended"] == "done" else str(record["ended"])
        return Outcome(failure, time.perf_counter() - began, tuple(record["notes"]))
    except Exception as error:  # of one photograph; the others go on
        return Outcome(reason(error), time.perf_counter() - began)


def _checkpoints(config: Config, say: Callable[[str], None]) -> Checkpoints | None:
    """An unfinished picture goes on from its checkpoint where that is of the same settings and inputs."""
    path = checkpoint_path(config.output)
    if not (config.checkpoints or config.resume):
        return None
    return Checkpoints.resumed_or_begun(path, say, config.checkpoints)


def measure(config: Config) -> Outcome:
    """What one photograph adds to the look of its set: {region: Region}."""
    began, value = time.perf_counter(), dict[str, Region]()
    try:
        photo, references, masks = _read(config, _Reader())
        value = regions_of(photo, references, paired(config, photo, references, masks))
        return Outcome("", time.perf_counter() - began, value=value)
    except Exception as error:
        return Outcome(reason(error), time.perf_counter() - began)


def apply(config: Config, look: Look) -> Outcome:
    """One picture in the look of its set. Raises KeyboardInterrupt alone."""
    began, reader = time.perf_counter(), _Reader()
    try:
        result = _in_look(config, look, reader)
        photo, output = result.photo, config.output
        picture = encode_image(
            output, result.image, alpha=photo.alpha, depth=photo.depth, resolution=photo.resolution
        )
        seconds, digest = time.perf_counter() - began, hashlib.sha256(picture).hexdigest()
        record = make_record(config, result, digest, seconds, {}, {})
        record |= {"photostyle": made_by(CONSISTENT), "look": vars(look), "beside": company(output)}
        write_picture(output, picture, record_path(output), record)
        _put_thumbnails(output, reader)
        return Outcome("", time.perf_counter() - began, result.notes)
    except Exception as error:
        return Outcome(reason(error), time.perf_counter() - began)


def _in_look(config: Config, look: Look, reader: _Reader) -> Result:
    import torch

    with prepared(config.threads, config.deterministic):
        photo, references, masks = _read(config, reader)
        alpha = photo.alpha is not None
        size = (photo.height, photo.width)
        said = check_output(config.output, alpha=alpha, depth=photo.depth, size=size)
        guidance, device = paired(config, photo, references, masks), device_named(config.device)
        placed = dataclasses.replace(guidance, content=guidance.content.to(device))
        image = looked(photo.pixels.to(device), placed, look, config).cpu()
        return Result(
            image,
            photo,
            references,
            guidance,
            dial_of(look, guidance.names),
            masks,
            mask_paths(config.masks, 1 + len(references)),
            None,
            None,
            str(device),
            torch.get_num_threads(),
            {},
            notes=(*said, *notes_of((photo, *references), masks, guidance)),
        )


def _read(config: Config, reader: _Reader) -> tuple[Picture, tuple[Picture, ...], tuple[Any, ...]]:
    """Photograph, references, and the masks of all."""
    photo, references = reader(config.content), tuple(map(reader, config.style))
    return photo, references, read_all_masks(config.masks, photo, references)


def _put_thumbnails(output: Path, reader: _Reader) -> None:
    before, after = thumbnail_names(output)
    assert reader.small is not None
    write_bytes_atomically(before, reader.small)
    write_bytes_atomically(after, small_of_result(output))


def restore_thumbnails(config: Config) -> None:
    """Make the small copies of a picture that was kept, where they are gone or older than it."""
    before, after = thumbnail_names(config.output)
    made = config.output.stat().st_mtime
    if not all(each.is_file() and each.stat().st_mtime >= made for each in (before, after)):
        write_bytes_atomically(before, small(read_photograph(path_of(config.content)).pixels))
        write_bytes_atomically(after, small_of_result(config.output))
