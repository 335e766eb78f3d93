"""Checkpoints: tensors and plain values in one .safetensors, the one before kept, no code on load.

A state is nested as it comes, as `state_dict` gives it: mappings, lists and tuples of tensors, numbers, text, None.
Its tensors go into the file as tensors, everything else as JSON into its metadata, beside a SHA-256 of both: a
safetensors file has no checksum of its own, and weights that a disk has damaged still look like weights.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.files.tensors import write_tensors

HEAD = 4096  # bytes in which the header of a checkpoint shows its format and SHA-256, which come first
FORMAT = "1"  # of the file: another one is refused, not guessed at

# Nested: a mapping (keys are text or whole numbers), list or tuple of states, a Tensor, or a plain value.
State = object
Say = Callable[[str], None]


@dataclass(frozen=True)
class Checkpoint:
    """What was read: the state as it was saved, its tensors on the CPU, and the file it came from."""

    state: dict[str, State]
    path: Path


def previous_path(path: Path) -> Path:
    """Where `save_checkpoint` keeps the checkpoint before the last: "x.safetensors" -> "x.previous.safetensors"."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_checkpoint(path: Path, state: Mapping[str, State]) -> None:
    """Write a state, atomically and flushed to disk; the checkpoint that was there becomes `previous_path`.

    Whenever the process is killed, one of the two is whole. Raises ComputationError where the disk fails,
    TypeError for a value that a checkpoint cannot hold.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_flattened(dict(state), tensors))
    metadata = {"format": FORMAT, "state": text, "sha256": _digest(text, tensors)}
    write_tensors(path, tensors, metadata, before=lambda: _keep(path))


def load_checkpoint(path: Path, say: Say = lambda line: None) -> Checkpoint | None:
    """The last checkpoint that is whole: the file, else the one before it, which say is told; None where neither is.

    Raises PhotostyleError where both are there and damaged, or one is of another format.
    """
    damaged: list[PhotostyleError] = []
    for each in (path, previous_path(path)):
        if not each.exists():
            continue
        try:
            state = _read(each)
        except PhotostyleError as error:
            damaged.append(error)
            continue
        if each != path:
            say(f"{damaged[0] if damaged else f'{path} is missing'}; going on from the one before it, {each}")
        return Checkpoint(state, each)
    if damaged:
        raise damaged[0]
    return None


def is_checkpoint(path: Path) -> bool:
    """Whether a file was written by `save_checkpoint`, whole or damaged: it begins as one, or it is empty."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return False
    return not head or (b'"__metadata__"' in head and b'"format":"' in head and b'"sha256":"' in head)


def refuse_other(
    checkpoint: Checkpoint, wanted: Mapping[str, State], instead: str = "or another folder"
) -> None:
    """Raise PhotostyleError where the state's "settings" are not the wanted ones: it names the first that differs.

    instead: what else to do than to use what it was made with.
    """
    found = mapping_of(checkpoint.state.get("settings", {}))
    for name in dict.fromkeys((*wanted, *found)):
        if wanted.get(name) != found.get(name):
            raise PhotostyleError(
                f"{checkpoint.path} was made with {name} = {found.get(name)!r}, not {wanted.get(name)!r}: "
                f"use what it was made with, {instead}"
            )


def _keep(path: Path) -> None:
    if path.exists():
        path.replace(previous_path(path))


def _read(path: Path) -> dict[str, State]:
    damaged = f"{path} is a damaged checkpoint"
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise PhotostyleError(f"{damaged} ({error}): delete it, or restore it") from error
    if metadata.get("format") != FORMAT or "state" not in metadata:
        raise PhotostyleError(f"{path} is no checkpoint of this version: give it another folder")
    if metadata.get("sha256") != _digest(metadata["state"], tensors):
        raise PhotostyleError(f"{damaged} (its SHA-256 differs): delete it, or restore it")
    return dict(mapping_of(_nested(json.loads(metadata["state"]), tensors)))


def _flattened(value: State, tensors: dict[str, Tensor]) -> object:
    """A state as JSON in which every container is {"kind": entries} and a tensor is its name among the tensors."""
    if isinstance(value, Tensor):
        name = f"{len(tensors):06d}"
        # A copy, because two entries may share memory, and the strides of a view or of channels_last are not kept.
        tensors[name] = value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str | int)]:
            raise TypeError(f"a checkpoint's keys are text or whole numbers, not {wrong[0]!r}")
        return {"mapping": [[key, _flattened(each, tensors)] for key, each in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_flattened(each, tensors) for each in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint holds tensors and plain values, no {type(value).__name__}")


def _nested(value: object, tensors: Mapping[str, Tensor]) -> State:
    """`_flattened`, undone."""
    if not isinstance(value, dict):
        return value
    ((kind, entries),) = value.items()
    if kind == "tensor":
        return tensors[entries]
    if kind == "mapping":
        return {key: _nested(each, tensors) for key, each in entries}
    nested = [_nested(each, tensors) for each in entries]
    return nested if kind == "list" else tuple(nested)


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def mapping_of(value: State) -> Mapping[str, State]:
    """A state that has to be a mapping. Raises TypeError where it is none."""
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a mapping, found {type(value).__name__}")
    return value
