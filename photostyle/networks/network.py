"""A classification network by name: its module, its classes, and what its input has to be like."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from photostyle.losses.weights import Say, WeightsNotFound, hash_of, obtain
from photostyle.networks import lite
from photostyle.networks.heads import read_head
from photostyle.networks.published import Interpolation, Published, module_of, published
from photostyle.networks.states import network_from

Source = Literal["file", "cache", "download", "package", "random"]


@dataclass(frozen=True, eq=False)
class Network:
    """A network that tells classes apart, ready to be asked.

    module: (B, 3, H, W) of sRGB in [0, 1], less `mean` and over `deviation` → (B, len(classes)) logits. In eval mode,
    its parameters frozen.
    smallest, fixed: H and W are at least `smallest`; with `fixed` (vision transformers) both are `size`.
    resize, size, interpolation: its accuracy was measured on pictures whose short side was resized to `resize`, and
    from whose centre `size`×`size` pixels were cut.
    path, sha256, source: the file of its weights; None, None, "random" where they are random.
    """

    name: str
    module: nn.Module
    classes: tuple[str, ...]
    size: int
    resize: int
    interpolation: Interpolation
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    smallest: int
    fixed: bool
    path: Path | None
    sha256: str | None
    source: Source


def find_network(
    name: str, file: Path | None = None, *, download: bool = True, say: Say | None = None
) -> Network:
    """One of torchvision's classification networks with the weights of a file: the one given, else the torch hub
    cache's, else a download checked by its SHA-256; or efficientnet_lite0, with its package's.

    A file is a state dict of the network (.pth, .pt, .safetensors), bare or under "state_dict"; its last layer may have
    classes of its own, whose names a .safetensors file gives in its metadata ("classes", a JSON list), beside what else
    fine-tuning changed of the network (`heads.Head`).
    say is told, one line each, when a download starts and where it went. Raises WeightsNotFound where there are no
    weights (within seconds when offline), PhotostyleError for an unknown name or a file that cannot be used.
    """
    path, source = _file(name, file, download, say)
    digest = hash_of(path)
    lite.refuse_damaged(path, digest)
    made = published(name, digest)
    head = read_head(path, name)
    if head is not None:
        smallest = 2**head.blocks if head.blocks else made.smallest  # each block of a VGG halves the sides
        made = replace(made, size=head.size, resize=head.resize, interpolation="bilinear", smallest=smallest)
    module, classes = network_from(path, name, made, head.blocks if head else 0)
    return _network(name, module, classes, made, path, digest, source)


def random_network(name: str, seed: int = 0, classes: int | None = None) -> Network:
    """The network with the random weights that it starts its training from, for timing, training and tests.

    classes: how many; None for as many as were published, with their names.
    """
    made = published(name)
    with torch.random.fork_rng(devices=[]):  # the caller's numbers stay
        torch.manual_seed(seed)
        module = module_of(name, classes or len(made.classes), initialised=True)
    labels = made.classes if classes is None else tuple(f"class {number}" for number in range(classes))
    return _network(name, module.eval().requires_grad_(False), labels, made, None, None, "random")


def _file(name: str, file: Path | None, download: bool, say: Say | None) -> tuple[Path, Source]:
    url = published(name).url
    if name != lite.NAME or file is not None:
        return obtain(name, url, file, download=download, progress=say)
    packaged = lite.weights_file()
    if packaged is None:
        raise WeightsNotFound(f"no {name} weights: they come with a package: {lite.INSTALL}")
    return packaged, "package"


def _network(
    name: str,
    module: nn.Module,
    classes: tuple[str, ...],
    made: Published,
    path: Path | None,
    sha256: str | None,
    source: Source,
) -> Network:
    return Network(
        name=name,
        module=module,
        classes=classes,
        size=made.size,
        resize=made.resize,
        interpolation=made.interpolation,
        mean=made.mean,
        deviation=made.deviation,
        smallest=made.smallest,
        fixed=made.fixed,
        path=path,
        sha256=sha256,
        source=source,
    )
