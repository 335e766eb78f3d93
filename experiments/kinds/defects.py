"""The objective of the source slides, with each of four defects of its notebooks on or off.

The method is Luan et al. 2017 on a VGG-19 with average pooling, with features from before the ReLU, one weight for
every region, and photo and reference squeezed to one fixed size. What the notebooks do not record (the kernel of the
variation, the reduction of the losses) is taken in its usual form.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array, dia_array
from scipy.sparse.linalg import eigsh
from torch import Tensor

from photostyle.imaging.filters import IMAGENET_DEVIATION, IMAGENET_MEAN, area_average, resize, size_of
from photostyle.imaging.matting import MattingOperator, matting_laplacian
from photostyle.imaging.naive_matting import naive_laplacian
from photostyle.losses.content import content_loss
from photostyle.losses.encoders import Encoder
from photostyle.losses.gram import gram_loss, region_grams
from photostyle.losses.term import Terms
from photostyle.losses.variation import variation_loss
from photostyle.regions.mixture import alone
from photostyle.scene import Scene

CONTENT_LAYER = "conv4_2"
STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
LAYERS = (*STYLE_LAYERS, CONTENT_LAYER)
EIGENVALUE_TOLERANCE = 1e-4  # relative, of an eigenvalue near 10: 1e-3, where the indefinite matrix has −50


@dataclass(frozen=True)
class Defects:
    """Which defects are on. All are in the notebooks."""

    naive_laplacian: bool = True  # float32 and uncentred: indefinite
    whole_picture_grams: bool = True  # divided by the picture's area, not the region's
    weight_decay: bool = True  # L2 on the pixels: towards black
    grey_variation: bool = True  # of the sum of the channels, with a border of zeros


VARIANTS = {
    "as it was": Defects(),
    "exact Laplacian": Defects(naive_laplacian=False),
    "Grams over area": Defects(whole_picture_grams=False),
    "no weight decay": Defects(weight_decay=False),
    "variation of each channel": Defects(grey_variation=False),
    "all four off": Defects(False, False, False, False),
}


@dataclass(frozen=True)
class Weights:
    """The weights of the four terms, as the notebooks multiply them."""

    content: float
    style: float
    variation: float
    photorealism: float


class SlidesObjective:
    """The weighted terms of an image (3, H, W) in [0, 1], without photorealism until `with_matting` is set.

    Weight decay belongs to the optimiser and is no term. `laplacian` is the matrix that the photorealism term uses.
    """

    def __init__(self, scene: Scene, encoder: Encoder, weights: Weights, defects: Defects) -> None:
        self.scene, self.encoder, self.weights, self.defects = scene, encoder, weights, defects
        self.with_matting = False
        photo = scene.content.permute(1, 2, 0).cpu().numpy()
        self.laplacian = (naive_laplacian if defects.naive_laplacian else matting_laplacian)(photo)
        self.operator = MattingOperator(self.laplacian, *size_of(scene.content), scene.content.device)
        self.masks = pooled_masks(scene.content_masks, encoder.plan)
        theirs = pooled_masks(scene.style_masks, encoder.plan)
        with torch.no_grad():
            self.content = encoder(scene.content)[CONTENT_LAYER]
            style = encoder(scene.style)
        self.targets = {layer: self._grams(style[layer], theirs[layer]) for layer in STYLE_LAYERS}

    def __call__(self, image: Tensor) -> Terms:
        features, weights = self.encoder(image), self.weights
        distance = content_loss(features[CONTENT_LAYER], self.content, relative=False)
        terms = {
            "content": weights.content * distance,
            "style": weights.style * self._style(features),
            "variation": weights.variation * self._variation(image),
        }
        if self.with_matting:
            terms["photorealism"] = weights.photorealism * self.operator.energy(image)
        return terms

    def at(self, height: int, width: int) -> "SlidesObjective":
        """The same at another size."""
        other = SlidesObjective(at_size(self.scene, height, width), self.encoder, self.weights, self.defects)
        other.with_matting = self.with_matting
        return other

    def _style(self, features: Mapping[str, Tensor]) -> Tensor:
        total = self.content.new_zeros(())
        for layer, target in self.targets.items():
            masks = self.masks[layer]
            # A Gram matrix over the region's area is weighted by the region's share, as in the released code; one over
            # the whole picture has the weight 1.
            shares = masks.new_ones(len(masks)) if self.defects.whole_picture_grams else masks.mean((1, 2))
            total = total + gram_loss(self._grams(features[layer], masks), target, shares, relative=False)
        return total

    def _grams(self, features: Tensor, masks: Tensor) -> Tensor:
        if self.defects.whole_picture_grams:
            return whole_picture_grams(features, masks)
        return region_grams(features, masks, squared_masks=True)

    def _variation(self, image: Tensor) -> Tensor:
        mean, deviation = (
            image.new_tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_DEVIATION)
        )
        normalised = (image - mean) / deviation
        return grey_variation(normalised) if self.defects.grey_variation else 2 * variation_loss(normalised)


def at_size(scene: Scene, height: int, width: int) -> Scene:
    """Both pictures and their masks at one size, whatever their shape."""
    return Scene(
        resize(scene.content, height, width),
        area_average(scene.content_masks, height, width),
        alone(resize(scene.style, height, width), area_average(scene.style_masks, height, width)),
    )


def pooled_masks(masks: Tensor, plan: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """Regions (K, H, W) at every convolution: averaged 2x2 where the encoder pools, untouched where it convolves."""
    carried = {}
    for step, name in plan:
        if step == "pool":
            masks = F.avg_pool2d(masks, 2, ceil_mode=True)
        else:
            carried[name.replace("relu", "conv")] = masks
    return carried


def whole_picture_grams(features: Tensor, masks: Tensor) -> Tensor:
    """(F M_k)(F M_k)^T / (C h w): a region's Gram matrix grows with its share. (C, h, w), (K, h, w) -> (K, C, C)."""
    masked = features.flatten(1) * masks.flatten(1)[:, None]
    return masked @ masked.mT / features.numel()


def grey_variation(image: Tensor) -> Tensor:
    """sum_ij (Σ_c dx)^2 + (Σ_c dy)^2: one kernel over all channels, zeros to the right and below. (3, H, W) -> scalar.

    Blind to a change of hue that keeps the sum; the border is drawn towards zero, the mean colour where the image is
    normalised.
    """
    grey = F.pad(image.sum(0), (0, 1, 0, 1))
    across, down = grey[:-1, 1:] - grey[:-1, :-1], grey[1:, :-1] - grey[:-1, :-1]
    return across.square().sum() + down.square().sum()


def energy(laplacian: csr_array, image: Tensor) -> float:
    """Σ_c xᵀLx in float64. (3, H, W) -> in squared image units."""
    flat = image.detach().cpu().double().flatten(1)
    x = (flat - flat.mean(1, keepdim=True)).numpy().T
    return float((x * (laplacian.astype(np.float64) @ x)).sum())


def least_eigenvalue(laplacian: csr_array) -> float:
    """The most negative eigenvalue, to 1e-3. The exact Laplacian has none below 0 and none above 9."""
    size = laplacian.shape[0]
    # Of 10 I - L the wanted eigenvalue is the largest in magnitude, so Lanczos needs no factorisation.
    turned = 10 * dia_array((np.ones((1, size)), [0]), shape=laplacian.shape).tocsr() - laplacian.astype(
        np.float64
    )
    start = np.random.default_rng(612).standard_normal(size)
    (largest,) = eigsh(turned, k=1, which="LA", tol=EIGENVALUE_TOLERANCE, v0=start, return_eigenvectors=False)
    return float(10 - largest)


def slides_encoder(state: Mapping[str, Tensor]) -> Encoder:
    """Average pooling and features before the ReLU. An odd side is rounded up; the notebooks round it down."""
    return Encoder(state, "vgg19", layers=LAYERS, pooling="average")
