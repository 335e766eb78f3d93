"""One stage's objective: its targets computed once, then an image to named, weighted terms."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from photostyle.config import Config
from photostyle.imaging.filters import halve, luma
from photostyle.imaging.matting import MattingOperator
from photostyle.losses.encoders import Encoder
from photostyle.losses.functions import (
    content_loss,
    gram_loss,
    photorealism_loss,
    region_grams,
    structure_loss,
    variation_loss,
)
from photostyle.losses.patches import PatchStyle
from photostyle.losses.texture import DRAWS, FIXED_DRAWS, TextureStyle
from photostyle.regions.guidance import carry_masks
from photostyle.regions.mixture import Reference, only
from photostyle.stages import Stage

LEAST_COARSE_SIDE = 8  # pixels: below it a halved photo has too few 3x3 windows to say anything

Terms = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Scene:
    """The pictures and their regions at one stage's size: content (3, H, W), content_masks (K, H, W)."""

    content: Tensor
    content_masks: Tensor
    references: tuple[Reference, ...]

    @property
    def style(self) -> Tensor:
        """The one reference; raises PhotostyleError where there are several."""
        return only(self.references).image

    @property
    def style_masks(self) -> Tensor:
        """Its regions; raises as `style`."""
        return only(self.references).masks


class Objective:
    """What a stage minimises. Calling it with an image (3, H, W) gives the weighted terms by name (scalars)."""

    def __init__(self, config: Config, stage: Stage, scene: Scene, encoder: Encoder | None) -> None:
        self.terms: list[Callable[[Tensor], Terms]] = []
        if encoder is not None:
            self.terms.append(_feature_terms(config, scene, encoder))
        if config.patch_weight:
            self.terms.append(_patch_term(config, stage, scene))
        if config.texture_weight:
            self.terms.append(_texture_term(config, stage, scene))
        if config.structure_weight:
            self.terms.append(_structure_term(config, scene))
        if config.variation_weight:
            self.terms.append(_variation_term(config, scene))
        if stage.photorealism and (config.photorealism_weight or any(config.photorealism_coarse)):
            self.terms.append(_photorealism_term(config, scene))

    def __call__(self, image: Tensor) -> Terms:
        return {name: value for term in self.terms for name, value in term(image).items()}


def needs_encoder(config: Config) -> bool:
    """Whether any term compares features."""
    return bool(config.gram_weight or config.content_weight)


def feature_layers(config: Config) -> tuple[str, ...]:
    """The layers whose features the terms ask for; the encoder is cut after the deepest."""
    style = config.style_layers if config.gram_weight else ()
    content = (config.content_layer,) if config.content_weight else ()
    return (*style, *content)


def _feature_terms(config: Config, scene: Scene, encoder: Encoder) -> Callable[[Tensor], Terms]:
    released = config.feature_scale == "released"
    ours = carry_masks(scene.content_masks, encoder.plan)
    with torch.no_grad():
        content = encoder(scene.content).get(config.content_layer)
        targets = _gram_targets(config, scene, encoder) if config.gram_weight else {}
    shares = {layer: ours[layer].mean((1, 2)) for layer in targets}

    def terms(image: Tensor) -> Terms:
        features, result = encoder(image), {}
        if config.content_weight and content is not None:
            loss = content_loss(features[config.content_layer], content, not released)
            result["content"] = config.content_weight * loss
        for layer, target in targets.items():
            grams = region_grams(features[layer], ours[layer], squared_masks=released)
            result[f"gram {layer}"] = config.gram_weight * gram_loss(
                grams, target, shares[layer], not released
            )
        return result

    return terms


def _gram_targets(config: Config, scene: Scene, encoder: Encoder) -> dict[str, Tensor]:
    """Of each layer the regions' Gram matrices, (K, C, C): the mean of products of features is linear in a mixture."""
    targets: dict[str, Tensor] = {}
    for each in scene.references:
        features, masks = encoder(each.image), carry_masks(each.masks, encoder.plan)
        for layer in config.style_layers:
            grams = region_grams(
                features[layer], masks[layer], squared_masks=config.feature_scale == "released"
            )
            part = each.weights.to(grams)[:, None, None] * grams
            targets[layer] = targets[layer] + part if layer in targets else part
    return targets


def _patch_term(config: Config, stage: Stage, scene: Scene) -> Callable[[Tensor], Terms]:
    seed = config.seed + stage.number
    style = PatchStyle(
        scene.references,
        scene.content_masks,
        patch_size=config.patch_size,
        levels=config.patch_levels,
        bank=config.patch_bank,
        seed=seed,
    )
    draw = _drawing(config, lambda generator: style.draw(config.patch_draws, generator), seed)
    return lambda image: {"patches": config.patch_weight * style(image, draw())}


def _texture_term(config: Config, stage: Stage, scene: Scene) -> Callable[[Tensor], Terms]:
    seed = config.seed + stage.number
    style = TextureStyle(
        scene.references,
        scene.content,
        scene.content_masks,
        levels=config.patch_levels,
        bank=config.patch_bank,
        seed=seed,
    )
    count = DRAWS if config.optimiser == "adam" else FIXED_DRAWS
    draw = _drawing(config, lambda generator: style.draw(count, generator), seed)
    return lambda image: {"texture": config.texture_weight * style(image, draw())}


def _drawing(
    config: Config, draw: Callable[[torch.Generator], list[Tensor]], seed: int
) -> Callable[[], list[Tensor]]:
    """Others at every call; under L-BFGS, which compares gradients of successive steps, always the same."""
    generator = torch.Generator().manual_seed(seed)
    if config.optimiser == "adam":
        return lambda: draw(generator)
    fixed = draw(generator)
    return lambda: fixed


def _structure_term(config: Config, scene: Scene) -> Callable[[Tensor], Terms]:
    photo = luma(scene.content)
    window = min(config.structure_window, *photo.shape)
    return lambda image: {"structure": config.structure_weight * structure_loss(image, photo, window)}


def _variation_term(config: Config, scene: Scene) -> Callable[[Tensor], Terms]:
    weight = config.variation_weight / _pixels(config, scene)
    return lambda image: {"variation": weight * variation_loss(image)}


def _photorealism_term(config: Config, scene: Scene) -> Callable[[Tensor], Terms]:
    operators, photo = [], scene.content
    for weight in (config.photorealism_weight, *config.photorealism_coarse):
        if min(photo.shape[-2:]) < LEAST_COARSE_SIDE:
            break
        pixels = photo[0].numel() if config.energies == "mean" else 1
        operators.append((weight / pixels, MattingOperator.of(photo, config.photorealism_epsilon)))
        photo = halve(photo)
    return lambda image: {"photorealism": photorealism_loss(image, operators, config.photorealism_luma)}


def _pixels(config: Config, scene: Scene) -> int:
    return scene.content[0].numel() if config.energies == "mean" else 1
