"""What a model of many styles is worth: the document's losses, its "ArtFID", which is FID, and the real ArtFID.

FID and ArtFID are published scales, so they are measured in published backbones or not at all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from photostyle.feedforward.data import Pictures, as_pictures, middle
from photostyle.feedforward.frechet import check_inception, distance_between, inception_features
from photostyle.feedforward.lpips import art_fid, lpips
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.objective import BatchObjective
from photostyle.losses.encoders import Encoder
from photostyle.networks.network import Network


@dataclass(frozen=True, eq=False)
class Backbones:
    """Published networks that published figures are measured in; a figure whose network is None is left out.

    inception: for FID. perceptual: a VGG-16 with `lpips.LAYERS`, and LPIPS's linear layers, for ArtFID beside it.
    """

    inception: Network | None = None
    perceptual: tuple[Encoder, Mapping[str, Tensor]] | None = None

    def __post_init__(self) -> None:
        if self.inception is not None:
            check_inception(self.inception)


@torch.no_grad()
def evaluate(
    model: StyleModel,
    contents: Pictures,
    styles: Pictures,
    objective: BatchObjective,
    size: int,
    backbones: Backbones,
) -> dict[str, float]:
    """Every content in every style, whole middles of `size` pixels: means of "content" and "style" without weights.

    With backbones also "FID" (pictures against styles, what the document prints as ArtFID), "LPIPS" (pictures against
    contents) and "ArtFID" = (1 + LPIPS)(1 + FID). Published figures are of thousands of pictures; of few, FID is
    higher.
    """
    model.eval()
    losses, made, perceptual = list[Tensor](), list[Tensor](), list[Tensor]()
    for content, style in _pairs(contents, styles, size):
        picture = model(content, model.style(style)).float().clamp(0, 1)
        terms = objective.per_picture(picture, content, objective.style_targets(style))
        losses.append(torch.stack([terms["content"][0], terms["style"][0]]))
        if backbones.inception is not None:
            made.append(inception_features(backbones.inception, [picture]))
        if backbones.perceptual is not None:
            perceptual.append(lpips(*backbones.perceptual, picture, content))
    content_loss, style_loss = torch.stack(losses).mean(0).tolist()
    found = {"content": content_loss, "style": style_loss}
    if perceptual:
        found["LPIPS"] = float(torch.cat(perceptual).mean())
    if backbones.inception is not None:
        shown = (_middle(styles, number, size) for number in range(len(styles)))
        found["FID"] = distance_between(torch.cat(made), inception_features(backbones.inception, shown))
    if "FID" in found and "LPIPS" in found:
        found["ArtFID"] = art_fid(found["LPIPS"], found["FID"])
    return found


def _pairs(contents: Pictures, styles: Pictures, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for style in range(len(styles)):
        for content in range(len(contents)):
            yield _middle(contents, content, size), _middle(styles, style, size)


def _middle(pictures: Pictures, number: int, size: int) -> Tensor:
    return as_pictures(middle(pictures[number], size)[None], torch.device("cpu"))
