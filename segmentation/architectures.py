"""From a file of weights to the network that they belong to. Only tensors are read, never code.

The heavy libraries are imported by the functions that need them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from photostyle.errors import PhotostyleError
from photostyle.imaging.filters import IMAGENET_DEVIATION, IMAGENET_MEAN
from photostyle.losses import weights
from segmentation.groups import VOCABULARIES
from segmentation.hub import CONFIG, one_line

# torchvision's segmenters and the output strides of their dilated backbones.
TORCHVISION = {
    "deeplabv3_resnet50": 8,
    "deeplabv3_resnet101": 8,
    "deeplabv3_mobilenet_v3_large": 16,
    "lraspp_mobilenet_v3_large": 16,
}
TORCHVISION_SIZE = 520  # the resize_size of all their transforms
LAST_LAYERS = ("classifier.4.weight", "classifier.low_classifier.weight")  # DeepLabHead's, LRASPPHead's
# Short sides in the test pipelines of mmsegmentation's configs/_base_/datasets/{ade20k,cityscapes}.py.
SIZES = {"ade20k": 512, "cityscapes": 1024, "voc": TORCHVISION_SIZE}
# The encoders whose ADE20K networks were trained larger: mmsegmentation's convnext-{large,xlarge}_upernet and
# segformer_mit-b5 with …_ade20k-640x640, DPT's own net_w.
LARGE = {"tu-convnext_large": 640, "tu-convnext_xlarge": 640, "mit_b5": 640, "tu-vit_large_patch16_384": 480}
IMAGENET = (IMAGENET_MEAN, IMAGENET_DEVIATION)

Triple = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Architecture:
    """A network with its weights, in float32, and what its input must be like.

    stride: both sides of the input are multiples of it. size: the short side, in pixels, that such a network is made
    for. fixed: whether it takes size × size only. squeezed: the height and width at which it is given the whole
    picture, whatever that one's aspect, or None. normalisation: mean and standard deviation of RGB in [0, 1].
    classes: their names, in the words of the vocabulary, where they are not all of it in its order.
    encoder: smp's name of the encoder, "" for other networks. licence: of the weights, where the file says it.
    """

    network: nn.Module
    vocabulary: str
    stride: int
    size: int
    fixed: bool = False
    squeezed: tuple[int, int] | None = None
    normalisation: tuple[Triple, Triple] = IMAGENET
    classes: tuple[str, ...] = ()
    encoder: str = ""
    licence: str = ""


def smp_model(file: Path) -> Architecture:
    """A model of segmentation_models_pytorch as `save_pretrained` writes it: a file of weights beside its config.json.

    smp's own `from_pretrained` prints, and it downloads the encoder of a config that was saved with smp's defaults.
    Raises PhotostyleError where the two files do not make a network of a known vocabulary.
    """
    config = _config(file.parent / CONFIG)
    vocabulary = _vocabulary(config.get("classes", 1), file.parent / CONFIG)
    network = _smp_network(config, file.parent / CONFIG)
    state = _tensors(file, "classification_head.")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise PhotostyleError(
            f"{file} does not fit the {CONFIG} beside it ({one_line(error)}): get both again"
        ) from error
    encoder = str(config["encoder_name"])
    side = _fixed_side(network, file.parent / CONFIG)
    return Architecture(
        network=network,
        vocabulary=vocabulary,
        stride=network.encoder.output_stride,
        size=side or (LARGE.get(encoder) if vocabulary == "ade20k" else None) or SIZES[vocabulary],
        fixed=side > 0,
        normalisation=_normalisation(encoder),
        encoder=encoder,
    )


def torchvision_model(file: Path) -> Architecture:
    """One of torchvision's segmenters from its state dict, recognised by the names and shapes of the tensors.

    Raises PhotostyleError for any other, and for one whose number of classes is of no known vocabulary.
    """
    from torchvision.models import get_model

    state = _tensors(file, "aux_classifier.")
    shapes = {key: value.shape for key, value in state.items()}
    classes = next((shapes[key][0] for key in LAST_LAYERS if shapes.get(key)), 0)
    for name, stride in TORCHVISION.items() if classes else ():
        with torch.device("meta"):
            network = get_model(
                name, weights=None, weights_backbone=None, num_classes=classes, aux_loss=False
            )
        if {key: value.shape for key, value in network.state_dict().items()} == shapes:
            vocabulary = _vocabulary(classes, file)
            network.load_state_dict(state, assign=True)
            return Architecture(network.float(), vocabulary, stride, TORCHVISION_SIZE)
    some = ", ".join(list(state)[:3]) or "nothing"
    raise PhotostyleError(
        f"{file} fits none of {', '.join(TORCHVISION)} (found {some}): "
        "save the state_dict() of one of these, or give an smp model as a folder"
    )


def _tensors(file: Path, unused: str) -> dict[str, Tensor]:
    """The tensors of a file, bare or under "state_dict" or "model", without those of a head that only training uses."""
    if file.stat().st_size == 0:
        raise PhotostyleError(f"{file} is empty (0 bytes): delete it and get it again")
    contents = weights.read_state(file)
    for key in ("state_dict", "model"):  # "model" is where torchvision's own training script puts it
        if isinstance(contents, Mapping) and isinstance(contents.get(key), Mapping):
            contents = contents[key]
    if not isinstance(contents, Mapping) or not all(isinstance(v, Tensor) for v in contents.values()):
        raise PhotostyleError(f"{file} holds no state dict: save the model's state_dict() alone")
    return {str(key): value for key, value in contents.items() if not str(key).startswith(unused)}


def _config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PhotostyleError(f"{file} is no JSON ({one_line(error)}): get it again") from error
    if not isinstance(config, dict):
        raise PhotostyleError(f"{file} holds a {type(config).__name__}, expected a table: get it again")
    if config.get("in_channels", 3) != 3:
        raise PhotostyleError(
            f"{file} has in_channels = {config['in_channels']!r}, expected 3: give a network of RGB"
        )
    return config


def _smp_network(config: Mapping[str, Any], file: Path) -> Any:
    import segmentation_models_pytorch as smp  # type: ignore[import-untyped]
    import timm

    classes = {kind.__name__: kind for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    kind, encoder = config.get("_model_class"), str(config.get("encoder_name"))
    if kind not in classes:
        raise PhotostyleError(
            f"{file} has _model_class = {kind!r}, expected one of {', '.join(classes)}: "
            "save the model with smp's save_pretrained"
        )
    # With a name such as "tu-hf-hub:…" timm would download a model. Only what timm and smp have built in is allowed.
    if not (timm.is_model(encoder[3:]) if encoder.startswith("tu-") else encoder in smp.encoders.encoders):
        raise PhotostyleError(
            f"{file} has encoder_name = {encoder!r}, unknown to smp {smp.__version__} with timm "
            f"{timm.__version__}: update them, or give another model"
        )
    options = {key: value for key, value in config.items() if not key.startswith("_")}
    # As saved, these would download an encoder, hide the logits and compute a head that nobody reads.
    options |= {"encoder_weights": None, "activation": None, "aux_params": None}
    try:
        # It begins with random weights; the random numbers of the caller stay as they are.
        with torch.random.fork_rng(devices=[]):
            network = classes[kind](**options)
    except Exception as error:  # smp and timm raise whatever comes for options that they do not take
        raise PhotostyleError(f"{file} describes no {kind} ({one_line(error)}): get it again") from error
    return network


def _vocabulary(classes: object, file: Path) -> str:
    for name, count in VOCABULARIES.items():
        if count == classes:
            return name
    known = ", ".join(f"{count} ({name})" for name, count in VOCABULARIES.items())
    raise PhotostyleError(f"{file} has {classes} classes, expected one of {known}: give another model")


def _fixed_side(network: Any, file: Path) -> int:
    """The one side that timm's encoder takes (Swin; ViT without dynamic_img_size); 0 where it takes any."""
    patches = getattr(getattr(network.encoder, "model", None), "patch_embed", None)
    if patches is None or not getattr(patches, "strict_img_size", False):
        return 0
    height, width = patches.img_size
    if height != width:
        raise PhotostyleError(f"{file} takes {width}x{height} only, expected a square: give another model")
    return int(height)


def _normalisation(encoder: str) -> tuple[Triple, Triple]:
    """Mean and std of timm's pretrained encoder, as smp.encoders.get_preprocessing_params has it; else ImageNet's."""
    import timm

    config = timm.get_pretrained_cfg(encoder[3:]) if encoder.startswith("tu-") else None
    return (tuple(config.mean), tuple(config.std)) if config else IMAGENET
