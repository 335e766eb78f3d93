"""A feed-forward model: style encoder and generator as one object, and as one file."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from photostyle.errors import PhotostyleError, shortened, shown
from photostyle.feedforward.encoder import StyleEncoder, style_network
from photostyle.feedforward.generator import Generator
from photostyle.feedforward.settings import ModelSettings, Origin
from photostyle.feedforward.style import Style
from photostyle.files.atomic import write_bytes_atomically
from photostyle.files.reading import file_bytes
from photostyle.files.tensors import parsed_tensors, tensors_of
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
    sha256: of the file that it was loaded from; None where it was made here.
    """

    sha256: str | None = None

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
        return {"settings": dataclasses.asdict(self.settings), "origin": dataclasses.asdict(self.origin)}

    def save(self, path: Path) -> str:
        """Write tensors, settings and origin as one .safetensors file, whole or not at all. Returns its SHA-256."""
        if path.suffix != SUFFIX:
            raise PhotostyleError(
                f'{path} ends in "{path.suffix}"; a model is written as {SUFFIX}: rename it'
            )
        about = {"format": FORMAT} | self.about()
        metadata = {KEY: json.dumps(about, sort_keys=True)}
        return write_bytes_atomically(path, save(tensors_of(self), metadata))

    @classmethod
    def load(cls, path: Path) -> Self:
        """A model as `save` wrote it, on the CPU and in evaluation mode; tensors and text only, never code.

        Raises PhotostyleError, one line, for a file that is missing, damaged, of another kind or of another format, or
        whose tensors do not fit its settings.
        """
        if path.suffix != SUFFIX:
            raise PhotostyleError(f'{path} ends in "{path.suffix}"; a model is a {SUFFIX} file')
        data = file_bytes(path)
        state, about = parsed_tensors(path, data, KEY)
        settings, origin = _described(about, path)
        if settings.blocks > len(state):  # of which each has tensors: sooner said than built
            raise PhotostyleError(
                f"{path} lacks tensors for its {settings.blocks} blocks: get the file again"
            )
        try:
            with torch.device("meta"):  # no weights are drawn that are replaced at once
                inception = module_of("inception_v3", 1, initialised=False)
                model = cls(settings, inception=inception, origin=origin)
        except (RuntimeError, TypeError) as error:  # sizes, or their product, that torch has no number for
            raise PhotostyleError(f"{path} is of impossible size: get the file again") from error
        _check(state, model, path)
        model.load_state_dict(state, assign=True)
        model.sha256 = hashlib.sha256(data).hexdigest()
        return model.eval()


def _described(about: dict[str, Any], path: Path) -> tuple[ModelSettings, Origin]:
    """What a model is, and where it comes from, by what its file says of itself."""
    if "format" not in about:
        raise PhotostyleError(
            f"{path} holds tensors but no photostyle model; give a file that training wrote"
        )
    if about["format"] != FORMAT:
        raise PhotostyleError(
            f"{path} is a model of format {shown(about['format'])}, this version reads {FORMAT}"
        )
    try:
        return ModelSettings(**about["settings"]), Origin.from_json(about["origin"])
    except (PhotostyleError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise PhotostyleError(
            f"{path} does not say what model it is ({shortened(error)}): save it again with this version"
        ) from error


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
