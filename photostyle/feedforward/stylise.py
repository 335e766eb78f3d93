"""A photo in a style by one pass of a model: styles mixed, the picture painted and brought to the photo's size."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from photostyle.config import Recipe
from photostyle.errors import PhotostyleError
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.style import Style, mix
from photostyle.feedforward.tiles import TILE, paint
from photostyle.imaging.filters import fit_within, resize, size_of
from photostyle.imaging.matting import MattingOperator
from photostyle.imaging.rendering import enlarge
from photostyle.losses.curvature import Curvature
from photostyle.losses.photorealism import MattingCurvature
from photostyle.majorisation import conjugate_gradients

# Pixels of a style picture's long side: the larger of the two crops that models are trained on (128 and 256). A larger
# one would show the network other strokes than it has learnt from, and a model of patches 16 times as many.
STYLE_SIDE = 256

# Of the matting energy against the squared distance from the painted picture. Of noise in blots of 6 pixels, a sixth of
# the range strong, on two photographs of 512 pixels, 1 leaves as much as no smoothing does, and 1e2 hardly anything;
# with the 1e4 of Li et al. (ECCV 2018, section 3.2: 1e-4 on the distance) STEPS are far from the solution.
SMOOTHNESS = 1e2
# Conjugate gradients. Of those two the values were then within 0.6 levels of 255 of the solution.
STEPS = 100


@dataclass(frozen=True)
class Manner:
    """How a photo is stylised. Raises PhotostyleError for numbers that are none.

    weights: of the styles in their mixture, scaled to a sum of 1; none for equal ones.
    strength: share of the result in what comes out, the photo's own pixels the rest.
    photorealistic: keep the photo's own detail, and take only colours that are locally affine in its own.
    size: long side in pixels at which the model works; None for the photo's own, or where photorealistic that of
    `Recipe.size`. A photo is never enlarged.
    """

    weights: tuple[float, ...] = ()
    strength: float = 1.0
    photorealistic: bool = False
    size: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise PhotostyleError(f"--strength is {self.strength}; it must lie between 0 (the photo) and 1")
        if self.size is not None and self.size < STYLE_SIDE // 8:
            raise PhotostyleError(f"--size is {self.size}; it must be at least {STYLE_SIDE // 8}")

    def size_for(self, photo: Tensor) -> tuple[int, int]:
        """Rows and columns at which the model works."""
        own = max(size_of(photo))
        return fit_within(*size_of(photo), self.size or (Recipe.size if self.photorealistic else own))


def stylise(
    model: StyleModel, photo: Tensor, styles: Sequence[Tensor], manner: Manner | None = None, tile: int = TILE
) -> Tensor:
    """The photo in the style of one picture, or in a mixture of several. (3, H, W), (3, h, w) each -> (3, H, W).

    All sRGB in [0, 1] on the model's device. Exact at any size, and the same for every `tile` (pixels a side that are
    worked on at once; see `tiles`). Raises PhotostyleError where styles are too small, or weights do not fit.
    """
    manner = manner or Manner()
    style = mixed_style(model, styles, manner.weights)
    small = resize(photo, *manner.size_for(photo))
    painted = paint(model.generator, small, style, tile)
    if manner.photorealistic:
        result = enlarge(photo, smooth_by_matting(small, painted))
    else:
        result = resize(painted, *size_of(photo))
    return photo.lerp(result, manner.strength)


@torch.no_grad()
def mixed_style(model: StyleModel, styles: Sequence[Tensor], weights: Sequence[float] = ()) -> Style:
    """What the model makes of style pictures (3, h, w), each reduced to the size of those it was trained on."""
    if not styles:
        raise PhotostyleError("no style: give one picture or more")
    reduced = [resize(each, *fit_within(*size_of(each), STYLE_SIDE)) for each in styles]
    return mix([model.style(each[None]) for each in reduced], weights)


@torch.no_grad()
def smooth_by_matting(
    photo: Tensor, painted: Tensor, weight: float = SMOOTHNESS, steps: int = STEPS
) -> Tensor:
    """The picture near the painted one that is nearly a locally affine recolouring of the photo. (3, H, W) twice.

    Minimises weight x^T L x + ||x - y||^2 for each channel, with L the photo's matting Laplacian, as the photorealistic
    smoothing of Li et al. (ECCV 2018) does, by conjugate gradients from y; clamped to [0, 1].
    """
    bend = MattingCurvature([(weight, MattingOperator.of(photo))], luma=1)
    slope = torch.zeros_like(painted)
    bend.add(painted, slope)  # of the energy at y, where the distance has none
    return (painted + conjugate_gradients([bend, _Distance()], -slope, steps)).clamp_(0, 1)


class _Distance(Curvature):
    """The second derivative of a squared distance."""

    def add(self, direction: Tensor, total: Tensor) -> None:
        total += 2 * direction

    def diagonal(self) -> Tensor:
        return torch.full((1, 1, 1), 2.0)
