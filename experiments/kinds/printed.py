"""The paper's objective as its equations are printed: Luan et al. 2017, eq. 1 to 4.

L = alpha L_c + Gamma sum_l beta_l L_s+,l + lambda L_m. The Gram matrices are printed without any division by the number
of positions, which the released code has.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from photostyle.imaging.matting import EPSILON, MattingOperator
from photostyle.losses.encoders import Encoder
from photostyle.losses.gram import region_grams
from photostyle.losses.photorealism import photorealism_loss
from photostyle.losses.term import Terms
from photostyle.regions.guidance import carry_masks
from photostyle.scene import Scene

ALPHA, GAMMA, LAMBDA = 1.0, 1e2, 1e4  # section 4: alpha of conv4_2, Gamma, lambda
BETA = 1 / 5  # section 4: of each of conv1_1 … conv5_1
CONTENT_LAYER = "relu4_2"
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


def printed_content(features: Tensor, target: Tensor) -> Tensor:
    """L_c = 1/(2 N D) sum_ij (F[O] - F[I])_ij^2: eq. 1. (N, h, w) twice, D = h w -> scalar."""
    return 0.5 * (features - target).square().mean()


def printed_grams(features: Tensor, masks: Tensor) -> Tensor:
    """G_k = (F M_k)(F M_k)^T, the sum over positions and not their mean: eq. 3. (N, h, w), (K, h, w) -> (K, N, N)."""
    masked = features.flatten(1) * masks.flatten(1)[:, None]
    return masked @ masked.mT


def printed_style(grams: Tensor, targets: Tensor) -> Tensor:
    """L_s+ = sum_k 1/(2 N^2) sum_ij (G_k[O] - G_k[S])_ij^2: eq. 3. (K, N, N) twice -> scalar."""
    return 0.5 * (grams - targets).square().mean((1, 2)).sum()


def printed_objective(
    scene: Scene, encoder: Encoder, units: tuple[float, float], photorealism: bool, area: bool = False
) -> Callable[[Tensor], Terms]:
    """Eq. 4 as a function of the image (3, H, W), terms named as the library names them.

    units: what the printed weights of content and style are multiplied by, because the encoder's features are not
    Caffe's; (1, 1) for Caffe's. area: Gram matrices over N times the region's area, as the released code has them.
    """
    alpha, gamma = ALPHA * units[0], GAMMA * BETA * units[1]
    ours, theirs = (carry_masks(masks, encoder.plan) for masks in (scene.content_masks, scene.style_masks))

    def grams(features: dict[str, Tensor], masks: dict[str, Tensor], layer: str) -> Tensor:
        if area:
            return region_grams(features[layer], masks[layer], squared_masks=True)
        return printed_grams(features[layer], masks[layer])

    with torch.no_grad():
        reference = encoder(scene.style)
        targets = {layer: grams(reference, theirs, layer) for layer in STYLE_LAYERS}
        content = encoder(scene.content)[CONTENT_LAYER]
    operators = [(LAMBDA, MattingOperator.of(scene.content, EPSILON))] if photorealism else []

    def terms(image: Tensor) -> Terms:
        features = encoder(image)
        result = {"content": alpha * printed_content(features[CONTENT_LAYER], content)}
        for layer, target in targets.items():
            result[f"gram {layer}"] = gamma * printed_style(grams(features, ours, layer), target)
        if operators:
            result["photorealism"] = photorealism_loss(image, operators)
        return result

    return terms
