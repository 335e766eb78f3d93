"""Pretrained segmenters by name, from a cache, a folder, a file or a download, with what is known about them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import torch
from torch import nn

from photostyle.errors import PhotostyleError, did_you_mean
from photostyle.losses import weights
from segmentation import onnx_file
from segmentation.architectures import smp_model, torchvision_model
from segmentation.hub import CONFIG, MODEL, cached, downloaded
from segmentation.hub import SegmenterNotFound as SegmenterNotFound

# smp's conversions of published weights: the cheapest and the best under a free licence that run on a laptop, and the
# best for its cost under any licence. ADE20K mIoU 46.1, 53.2 and 46.5 % in mmsegmentation's tables.
NAMES = {
    "light": "smp-hub/upernet-convnext-tiny",
    "strong": "smp-hub/upernet-convnext-large",
    "segformer": "smp-hub/segformer-b2-512x512-ade-160k",
}
DEEPLAB = "deeplab"
# torchvision's DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.url, held to it by a test: the import takes a second.
DEEPLAB_URL = "https://download.pytorch.org/models/deeplabv3_resnet50_coco-cd0a2569.pth"

NVIDIA = "NVIDIA Source Code License (research and evaluation only, no commercial use)"
LICENCES = {
    "smp-hub/segformer-": NVIDIA,
    "smp-hub/upernet-": "MIT",
    "smp-hub/dpt-": "MIT",
    DEEPLAB: "BSD-3-Clause",
}
UNSTATED = "not stated"

Source = Literal["hub", "cache", "folder", "file"]
Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A segmentation network, ready to run, and where it came from.

    name, revision: with both, `find_segmenter` gives the same network again, or an error. The revision is the commit of
    a hub snapshot, else the SHA-256 of the weights.
    source: "hub" where it was downloaded now, "cache" where it was downloaded before, "folder" or "file".
    sha256: of the file of weights. licence: of the weights; "not stated" where they are the user's own.
    vocabulary: what its classes are, a key of groups.VOCABULARIES.
    size: the short side, in pixels, that it was made for. stride: both sides of its input are multiples of it.
    fixed: whether it takes pictures of size × size only. mean, std: of RGB in [0, 1], which normalise its input.
    squeezed: the height and width at which it is given the whole picture, whatever that one's aspect, or None.
    classes: their names, in the words of the vocabulary, where they are not all of it in its order.
    network: in eval mode on `device`; (1, 3, H, W) → logits (1, classes, H, W), or a dict that has them as "out".
    """

    name: str
    source: Source
    revision: str
    sha256: str
    licence: str
    vocabulary: str
    size: int
    stride: int
    fixed: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    network: nn.Module
    device: torch.device
    squeezed: tuple[int, int] | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    """A file of weights. digits: the start of its SHA-256. commit: of the hub snapshot that it is in, or ""."""

    name: str
    source: Source
    file: Path
    digits: str
    commit: str = ""


def find_segmenter(
    name: str = "light",
    revision: str | None = None,
    *,
    download: bool = True,
    device: torch.device | str = "cpu",
    say: Say | None = None,
) -> Segmenter:
    """The segmenter of a name: a local or cached one, else a download.

    name: "light", "strong", "segformer" or another "smp-hub/…" model; "deeplab" (torchvision, the 21 VOC classes); a
    folder with config.json and model.safetensors; a file with the state dict of a torchvision segmenter; an .onnx file,
    described as `onnx_file` says, which runs on the CPU whatever the device.
    revision: a commit, branch or tag of a hub model (by default "main", from the cache where it has it); of other
    weights the SHA-256 that they must have, or its beginning.
    say: is told, in one line each, of a download and of a licence that forbids commercial use.
    Raises SegmenterNotFound where there is none (within seconds when offline), PhotostyleError for one that cannot be
    used.
    """
    say = say or (lambda line: None)
    found = _find(name, revision or "", download, say)
    digest = _checked_hash(found)
    graph = found.file.suffix.lower() == onnx_file.SUFFIX
    torchvisions = found.source == "file" or found.name == DEEPLAB
    build = onnx_file.onnx_model if graph else torchvision_model if torchvisions else smp_model
    built = build(found.file)
    licence = built.licence or _licence(found, built.encoder)
    if licence == NVIDIA:
        say(f"the weights of {found.name} are under the {NVIDIA}")
    return Segmenter(
        name=found.name,
        source=found.source,
        revision=found.commit or digest,
        sha256=digest,
        licence=licence,
        vocabulary=built.vocabulary,
        size=_named_size(found) or built.size,
        stride=built.stride,
        fixed=built.fixed,
        mean=built.normalisation[0],
        std=built.normalisation[1],
        network=built.network.to(device).eval().requires_grad_(False),
        device=torch.device("cpu" if graph else device),
        squeezed=built.squeezed,
        classes=built.classes,
    )


def _checked_hash(found: _Found) -> str:
    """The SHA-256 of the weights. Raises PhotostyleError where it is not the one that they must have."""
    digest = weights.hash_of(found.file)
    if not digest.startswith(found.digits):
        raise PhotostyleError(
            f"{found.file} has the SHA-256 {digest[:16]}…, expected {found.digits[:16]}…: "
            "it is damaged or another file; delete it and get it again"
        )
    return digest


def _find(name: str, revision: str, download: bool, say: Say) -> _Found:
    """Where the weights of a name are, after a download if there has to be one. Local files go before the hub."""
    path = Path(name)
    if name == DEEPLAB:
        return _in_torch_hub(revision, download, say)
    if name not in NAMES and path.is_dir():
        return _in_folder(path, revision)
    if name not in NAMES and path.is_file():
        return _Found(name, "file", path, revision)
    repository = NAMES.get(name, name)
    if re.fullmatch(r"smp-hub/\w[\w.-]*", repository):
        return _in_hub(repository, revision, download, say)
    known = (*NAMES, DEEPLAB)
    hint = "" if "/" in name else did_you_mean(name, known, "; did you mean {!r}?")
    raise SegmenterNotFound(
        f'no segmenter "{name}"{hint}: '
        f"give {', '.join(known)}, an smp-hub/… model, or a folder or file that exists"
    )


def _in_folder(folder: Path, revision: str) -> _Found:
    missing = [file for file in (CONFIG, MODEL) if not (folder / file).is_file()]
    if missing:
        raise PhotostyleError(
            f"{folder} lacks {' and '.join(missing)}: give a folder as smp's save_pretrained writes it"
        )
    return _Found(str(folder), "folder", folder / MODEL, revision)


def _in_hub(repository: str, revision: str, download: bool, say: Say) -> _Found:
    source: Source = "cache"
    if (folder := cached(repository, revision)) is None:
        folder, source = downloaded(repository, revision, download, say), "hub"
    # On file systems with links the cache names a large file by its SHA-256.
    blob = (folder / MODEL).resolve().name
    digits = blob if re.fullmatch("[0-9a-f]{64}", blob) else ""
    return _Found(repository, source, folder / MODEL, digits, commit=folder.name)


def _in_torch_hub(revision: str, download: bool, say: Say) -> _Found:
    # The directory is asked for at every call, because TORCH_HOME and `torch.hub.set_dir` may change it.
    file = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(DEEPLAB_URL).name
    source: Source = "cache"
    if not file.exists():
        if not download or not weights.reachable(DEEPLAB_URL):
            reason = f"{DEEPLAB_URL} cannot be reached" if download else "no download was asked for"
            raise SegmenterNotFound(
                f"{DEEPLAB} could not be loaded: it is not at {file} and {reason}; "
                f"get {DEEPLAB_URL} elsewhere and put it there, or give its path"
            )
        try:
            weights.download_file(DEEPLAB_URL, file, say)
        except weights.WeightsNotFound as error:
            raise SegmenterNotFound(str(error)) from error
        source = "hub"
    return _Found(DEEPLAB, source, file, revision or file.stem.rpartition("-")[2])


def _licence(found: _Found, encoder: str) -> str:
    if encoder.startswith("mit_b"):  # the Mix Transformer is NVIDIA's, whoever trained it
        return NVIDIA
    stated = (text for start, text in LICENCES.items() if found.name.startswith(start))
    return next(stated, UNSTATED) if found.source in ("hub", "cache") else UNSTATED


def _named_size(found: _Found) -> int:
    """The short side that the name of a hub model gives ("…-512x1024-…"); 0 where it gives none."""
    sides = re.search(r"(\d+)x(\d+)", found.name) if found.commit else None
    return min(int(sides[1]), int(sides[2])) if sides else 0
