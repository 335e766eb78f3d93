"""A feed-forward model: style encoder and generator as one object, and as one file."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from photostyle.errors import PhotostyleError
from photostyle.feedforward.encoder import StyleEncoder, style_network
from photostyle.feedforward.generator import Generator
from photostyle.feedforward.settings import ModelSettings, Origin
from photostyle.feedforward.style import Style
from photostyle.files.atomic import write_bytes_atomically
from photostyle.networks.published import module_of

FORMAT = 1
KEY = "photostyle"  # of the metadata of a model's file
SUFFIX = ".safetensors"
FEATURES_EPSILON = 1e-5  # nn.InstanceNorm2d's own


class StyleModel(nn.Module):
    """y = G(x_c, e(x_s)): contents (B, 3, H, W) and styles in, pictures (B, 3, H, W) out, all sRGB in [0, 1].

    encoder: None where the injection is "patch", which takes the style's own patches and no z.
    inception: torchvision's Inception-v3 with its weights (`networks.find_network`), for style_network "inception_v3";
    None for random weights.
    """

    def __init__(
        self,
        settings: ModelSettings,
        *,
        inception: nn.Module | None = None,
        origin: Origin | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.origin = settings, origin or Origin()
        self.generator = Generator(
            settings.channels,
            settings.blocks,
            settings.injection,
            settings.dimension,
            settings.decoder_norm,
        )
        self.encoder = (
            None
            if settings.injection == "patch"
            else StyleEncoder(style_network(settings.style_network, inception), settings.dimension)
        )

    def style(self, pictures: Tensor) -> Style:
        """What the generator is told of style pictures. (B, 3, h, w) -> z (B, d), or their maps for "patch".

        A map has the generator's own features, normalised as in its blocks, and the colours of each cell: both at a
        quarter of the size. Raises PhotostyleError for pictures that are too small.
        """
        if self.encoder is not None:
            return Style(z=self.encoder(pictures))
        features = F.instance_norm(self.generator.encoded(pictures), eps=FEATURES_EPSILON)
        colours = F.interpolate(pictures, size=features.shape[-2:], mode="area")
        return Style(maps=(torch.cat((features, colours), 1),))

    def forward(self, contents: Tensor, style: Style) -> Tensor:
        """Contents (B, 3, H, W) from 8 pixels a side on, with a style for each."""
        picture: Tensor = self.generator(contents, style)
        return picture

    def about(self) -> dict[str, Any]:
        """Settings and origin as JSON types."""
        return {"settings": dataclasses.asdict(self.settings), "origin": self.origin.to_json()}

    def save(self, path: Path) -> str:
        """Write tensors, settings and origin as one .safetensors file, whole or not at all. Returns its SHA-256."""
        if path.suffix != SUFFIX:
            raise PhotostyleError(
                f'{path} ends in "{path.suffix}"; a model is written as {SUFFIX}: rename it'
            )
        about = {"format": FORMAT} | self.about()
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        return write_bytes_atomically(path, save(state, {KEY: json.dumps(about, sort_keys=True)}))

    @classmethod
    def load(cls, path: Path) -> Self:
        """A model as `save` wrote it, on the CPU and in evaluation mode; tensors and text only, never code.

        Raises PhotostyleError, one line, for a file that is missing, damaged, of another kind or of another format, or
        whose tensors do not fit its settings.
        """
        about, state = _parsed(_bytes(path), path)
        try:
            settings = ModelSettings(**about["settings"])
            origin = Origin.from_json(about["origin"])
        except (PhotostyleError, KeyError, TypeError, ValueError) as error:
            raise PhotostyleError(
                f"{path} does not say what model it is ({error}): save it again with this version"
            ) from error
        with torch.device("meta"):  # no weights are drawn that are replaced at once
            inception = module_of("inception_v3", 1, initialised=False)
            model = cls(settings, inception=inception, origin=origin)
        _check(state, model, path)
        model.load_state_dict(state, assign=True)
        return model.eval()


def _bytes(path: Path) -> bytes:
    if path.suffix != SUFFIX:
        raise PhotostyleError(f'{path} ends in "{path.suffix}"; a model is a {SUFFIX} file')
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise PhotostyleError(f"{path} does not exist; give a model's {SUFFIX} file") from error
    except OSError as error:
        raise PhotostyleError(f"{path} cannot be read ({error.strerror}); give a model's file") from error


def _parsed(data: bytes, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the file says of itself, and its tensors.

    A .safetensors begins with the length of a JSON header, whose metadata is text; a loader of bytes leaves that out.
    """
    try:
        state = load(data)  # which checks the header against the bytes behind it
        length = int.from_bytes(data[:8], "little")
        about = json.loads(json.loads(data[8 : 8 + length]).get("__metadata__", {}).get(KEY, "{}"))
    except (SafetensorError, ValueError) as error:
        raise PhotostyleError(
            f"{path} is damaged or no {SUFFIX} file ({error}): get the file again"
        ) from error
    if not isinstance(about, dict) or "format" not in about:
        raise PhotostyleError(
            f"{path} holds tensors but no photostyle model; give a file that training wrote"
        )
    if about["format"] != FORMAT:
        raise PhotostyleError(f"{path} is a model of format {about['format']}, this version reads {FORMAT}")
    return about, state


def _check(state: dict[str, Tensor], model: nn.Module, path: Path) -> None:
    """Every tensor is there, of its shape and kind, and finite, and there is no other."""
    expected = model.state_dict()
    if state.keys() != expected.keys():
        odd = min(state.keys() ^ expected.keys())
        what = "lacks" if odd in expected else "has an unknown"
        raise PhotostyleError(f"{path} {what} tensor {odd} for its settings: save the whole model again")
    for name, tensor in state.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise PhotostyleError(
                f"{path}: {name} is {tuple(tensor.shape)} of {tensor.dtype}, expected {tuple(wanted.shape)} of "
                f"{wanted.dtype} by its settings: save the model again"
            )
        if not bool(tensor.isfinite().all()):
            raise PhotostyleError(f"{path}: {name} holds NaN or infinity: train it again")
