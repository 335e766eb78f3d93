"""The terms of the objective, each a small pure function of the image or its features, each naming its equation.

What is reported is what is optimised: every term is an ordinary differentiable value and nothing but autograd (and
the matting energy's own gradient) makes the step.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from photostyle.imaging.filters import halve, luma
from photostyle.imaging.matting import MattingOperator

# Keeps the local correlation defined in calm windows: four 8-bit levels, as much as JPEG's blocks and noise vary there.
# With one level the borders of blocks in a clear sky became edges to keep, and colours changed along them.
FLAT = (4 / 255) ** 2


def content_loss(features: Tensor, target: Tensor, relative: bool) -> Tensor:
    """Mean squared feature distance. (C, h, w) twice -> scalar.

    Luan et al. 2017, eq. 1 with the released normalisation (the mean over C h w); relative: over the target's own
    mean square, so that the weight does not depend on the encoder's scale.
    """
    distance = (features - target).square().mean()
    return distance / target.square().mean() if relative else distance


def region_grams(features: Tensor, masks: Tensor, squared_masks: bool = False) -> Tensor:
    """One Gram matrix a region, normalised by the region's area. (C, h, w), (K, h, w) -> (K, C, C).

    G_k = F diag(m_k) F^T / (C sum m_k). squared_masks has m_k^2 above the line, as the released code does by
    multiplying features with masks (neuralstyle_seg.lua: StyleLossWithSeg); the same for masks of 0 and 1.
    """
    flat = features.flatten(1)
    grams = []
    for mask in masks.flatten(1):
        weight = mask.square() if squared_masks else mask
        # An empty region has no pixels to compare: its Gram is zero and its share of the loss too.
        grams.append((flat * weight) @ flat.T / (len(flat) * mask.sum().clamp(min=1e-6)))
    return torch.stack(grams)


def gram_loss(grams: Tensor, targets: Tensor, shares: Tensor, relative: bool) -> Tensor:
    """Augmented style loss at one layer: Luan et al. 2017, eq. 3. (K, C, C) twice, (K,) -> scalar.

    sum_k share_k mean_ij (G_k - T_k)^2, share_k being the region's mean mask in the content (released code; the paper
    weighs regions alike). relative: each region's squared distance over ||T_k||^2.
    """
    distances = (grams - targets).square().mean((1, 2))
    if relative:
        distances = distances / targets.square().mean((1, 2)).clamp(min=1e-12)
    return (shares * distances).sum()


def structure_loss(image: Tensor, photo_luma: Tensor, window: int) -> Tensor:
    """1 - mean zero-normalised cross-correlation of luma in k x k windows. (3, H, W), (H, W) -> scalar in [0, 2].

    Invariant to any gain > 0 and offset of each window, so light may change and edges may not.
    """
    ours, theirs = luma(image), photo_luma
    stack = torch.stack((ours, theirs, ours * ours, theirs * theirs, ours * theirs))
    rows = F.avg_pool2d(stack[None], (window, 1), 1)
    mean_a, mean_b, aa, bb, ab = F.avg_pool2d(rows, (1, window), 1)[0]
    variance_a = (aa - mean_a * mean_a).clamp(min=0) + FLAT
    variance_b = (bb - mean_b * mean_b).clamp(min=0) + FLAT
    # FLAT above the line too: a window that is flat in both pictures agrees perfectly.
    correlation: Tensor = (ab - mean_a * mean_b + FLAT) * (variance_a * variance_b).rsqrt()
    return 1 - correlation.mean()


def variation_loss(image: Tensor) -> Tensor:
    """Total variation, summed over pixels and all three channels. (3, H, W) -> scalar.

    1/2 sum_c sum_{i<H-1, j<W-1} (x_ij - x_i,j+1)^2 + (x_ij - x_i+1,j)^2: TVLoss of neuralstyle_seg.lua; the paper
    has no such term.
    """
    corner = image[:, :-1, :-1]
    across, down = image[:, :-1, 1:] - corner, image[:, 1:, :-1] - corner
    return 0.5 * (across.square().sum() + down.square().sum())


def photorealism_loss(
    image: Tensor, operators: Sequence[tuple[float, MattingOperator]], luma: float = 1
) -> Tensor:
    """sum_s weight_s sum_c x_s^T L_s x_s: Luan et al. 2017, eq. 2, at one scale or several. (3, H, W) -> scalar.

    operators: for each halving of the image (the first at its own size), a weight and the Laplacian of the equally
    halved photo. The 3x3 energy at one scale is blind to colours that drift slowly; the coarser ones see them. luma:
    the share, 0 to 1, of the coarser energies' weight that brightness has, since light may fall otherwise across a
    scene and a surface may not change its hue.
    """
    total = image.new_zeros(())
    for level, (weight, operator) in enumerate(operators):
        if level:
            image = halve(image)
        total = total + weight * operator.energy(without_grey(image, luma) if level else image)
    return total


def without_grey(image: Tensor, share: float) -> Tensor:
    """What a quadratic energy of the channels sees of a picture whose grey axis counts only by a share. (3, H, W).

    The mean of the channels, g, and what is left, c, are orthogonal, so that sum_c E(x_c) = 3 E(g) + sum_c E(c_c) for
    any quadratic form E; of the returned picture it is share 3 E(g) + sum_c E(c_c).
    """
    dimmed: Tensor = image - (1 - share**0.5) * image.mean(0, keepdim=True)
    return dimmed
