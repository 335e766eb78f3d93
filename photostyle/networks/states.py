"""The tensors of a network's file, fitted to the network: every one is there, of its shape, and finite, or an error."""

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from photostyle.errors import PhotostyleError
from photostyle.losses.weights import read_state, state_dict_in
from photostyle.networks import lite
from photostyle.networks.heads import headed
from photostyle.networks.published import Published, module_of, without_auxiliary_heads

# DenseNet's published files name layers as torchvision did before 0.2: "denselayer1.norm.1.weight", now "norm1".
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
COUNTED = (
    ".num_batches_tracked"  # of a batch normalisation, in training; files from before torch 0.4.1 lack it
)
SHOWN = 3  # names of tensors in a message: enough to see what a file is of


def network_from(path: Path, name: str, made: Published, blocks: int) -> tuple[nn.Module, tuple[str, ...]]:
    """The network with a file's weights, and the names of its classes: as many as the file's last layer has.

    blocks: of a VGG with one dense layer after them (`heads.headed`); 0 for torchvision's own layers.
    Raises PhotostyleError, one line, where the file is of no such network.
    """
    contents = state_dict_in(read_state(path), path)
    state = {OLD_DENSENET.sub(r"\1\2", str(key)): value for key, value in contents.items()}
    state = without_auxiliary_heads(name, state)
    build = partial(headed, name, blocks=blocks) if blocks else partial(module_of, name)
    names = list(build(classes=len(made.classes), initialised=False).state_dict())
    if name == lite.NAME:
        state = lite.in_timms_names(state, names)
    count = _last_layer(state, names[-1], len(made.classes))
    module: nn.Module = build(classes=count, initialised=False)
    module.load_state_dict(_fitted(state, module, path, name), assign=True)
    return module.eval().requires_grad_(False), _classes(path, count, made)


def _last_layer(state: Mapping[str, object], last: str, otherwise: int) -> int:
    """How many classes the file's last layer tells apart: a head that was trained anew has its own."""
    value = state.get(last)
    return value.shape[0] if isinstance(value, Tensor) and value.ndim and value.shape[0] else otherwise


def _fitted(state: dict[str, object], module: nn.Module, path: Path, name: str) -> "OrderedDict[str, Tensor]":
    """The state with the network's own keys, in its order, floats as float32."""
    expected = module.state_dict()
    missing = [key for key in expected if key not in state and not key.endswith(COUNTED)]
    unknown = [key for key in state if key not in expected]
    if missing or unknown:
        said = [f"lacks {_some(missing)}"] * bool(missing) + [f"has {_some(unknown)} that it has not"] * bool(
            unknown
        )
        raise PhotostyleError(
            f"{path} is no {name}: it {' and '.join(said)}; "
            f"give the whole state_dict() of {name}, or name the network that the file is of"
        )
    fitted: OrderedDict[str, Tensor] = OrderedDict(
        (key, _tensor(state.get(key, torch.tensor(0)), like, key, path, name))
        for key, like in expected.items()
    )
    # What came from no version's file is of this version, or layers take themselves for older ones and change.
    fitted._metadata = expected._metadata  # type: ignore[attr-defined]
    return fitted


def _tensor(value: object, like: Tensor, key: str, path: Path, name: str) -> Tensor:
    if not isinstance(value, Tensor) or value.is_floating_point() != like.is_floating_point():
        kind = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
        raise PhotostyleError(
            f"{path}: {key} is {kind}, expected a tensor of {like.dtype}: save the state_dict() again"
        )
    if value.shape != like.shape:
        raise PhotostyleError(
            f"{path} is no {name}: {key} is {_size(value)}, expected {_size(like)}; "
            f"give the state_dict() of {name}, or name the network that the file is of"
        )
    value = value.detach().to(like.dtype)
    if not bool(value.isfinite().all()):
        raise PhotostyleError(f"{path}: {key} holds NaN or infinity: get the file again")
    return value


def _classes(path: Path, count: int, made: Published) -> tuple[str, ...]:
    """Names from the file, else the published ones where they are as many, else numbers."""
    named = _named_classes(path)
    if named is None:
        return made.classes if len(made.classes) == count else tuple(f"class {n}" for n in range(count))
    if len(named) != count:
        raise PhotostyleError(
            f"{path} names {len(named)} classes, its last layer has {count}: write both from one training"
        )
    return named


def _named_classes(path: Path) -> tuple[str, ...] | None:
    """What a .safetensors file has in its metadata under "classes": a JSON list of names."""
    if path.suffix.lower() != ".safetensors":
        return None
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("classes")
    if text is None:
        return None
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise PhotostyleError(
            f'{path} has metadata "classes" that is no JSON list of names: write it as json.dumps(names)'
        )
    return tuple(found)


def _some(keys: Iterable[str]) -> str:
    """The first few of many names."""
    every = list(keys)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


def _size(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"
