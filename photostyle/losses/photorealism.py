"""Photorealism: the result recolours the photo by locally affine maps, at several scales (Luan et al. 2017, eq. 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from torch import Tensor

from photostyle.bounds import Between, Share
from photostyle.imaging.filters import halve
from photostyle.imaging.matting import MattingOperator
from photostyle.imaging.naive_matting import naive_operator
from photostyle.losses.curvature import Curvature, add_through_pyramid, pyramid_diagonal
from photostyle.losses.encoders import Features
from photostyle.losses.energies import EnergySettings, pixels
from photostyle.losses.term import Term
from photostyle.scene import Scene, Stage

LEAST_COARSE_SIDE = 8  # pixels: below it a halved photo has too few 3x3 windows to say anything


@dataclass(frozen=True)
class PhotorealismSettings(EnergySettings):
    """Settings of the photorealism term."""

    photorealism_weight: float = 0.44
    """matting energy at the stage's own resolution"""
    photorealism_coarse: tuple[float, ...] = (0.25, 0.25, 0.25, 0.1, 0.1)
    """matting energy at 1/2, 1/4, 1/8 ... of the stage's resolution"""
    photorealism_luma: Share = 0.3
    """share of the coarse energies' weight that brightness has, 0 to 1: light may fall otherwise, hues may not drift"""
    # Under 1e-12 float64 cannot invert the covariance of a flat window.
    photorealism_epsilon: Annotated[float, Between(1e-12, 1)] = 3e-5
    """ridge of the matting Laplacian in squared image units: variation below its root counts as noise and is not
    amplified (released: 1e-7)"""
    photorealism_of: Literal["change", "picture"] = "change"
    """what has these energies: the change beyond what the closed form leaves of the photo, so that a photo that already
    looks like its reference stays as it is; or the picture (released)"""
    photorealism_laplacian: Literal["exact", "naive"] = "exact"
    """the matting Laplacian, or what comes of it in single precision: an indefinite matrix, which rewards noise (a
    defect of the source slides' notebooks)"""


class Photorealism(Term):
    """Matting energies of the image and of its halvings."""

    name = "photorealism"
    weights = ("photorealism_weight", "photorealism_coarse")
    in_first_pass = False
    before: ClassVar[Mapping[str, Any] | None] = {"photorealism_luma": 1.0, "photorealism_of": "picture"}

    def __init__(
        self, recipe: PhotorealismSettings, stage: Stage, scene: Scene, encoder: Features | None
    ) -> None:
        self.luma, photo = recipe.photorealism_luma, scene.content
        self.kept = scene.kept if recipe.photorealism_of == "change" else None
        self.exact = recipe.photorealism_laplacian == "exact"
        made = MattingOperator.of if self.exact else naive_operator
        self.operators: list[tuple[float, MattingOperator]] = []
        for weight in (recipe.photorealism_weight, *recipe.photorealism_coarse):
            if min(photo.shape[-2:]) < LEAST_COARSE_SIDE:
                break
            operator = made(photo, recipe.photorealism_epsilon)
            self.operators.append((weight / pixels(recipe, photo), operator))
            photo = halve(photo)

    def __call__(self, image: Tensor) -> Tensor:
        change = image if self.kept is None else image - self.kept
        return photorealism_loss(change, self.operators, self.luma)

    def curvature(self, image: Tensor) -> Curvature | None:
        # An indefinite matrix is no curvature that a minimum could be found by.
        return MattingCurvature(self.operators, self.luma) if self.exact else None


class MattingCurvature(Curvature):
    """The second derivative itself: the energy is quadratic. Grey has the luma's share at the coarser scales."""

    def __init__(self, operators: Sequence[tuple[float, MattingOperator]], luma: float) -> None:
        self.levels: list[tuple[Tensor, MattingOperator]] = []
        for level, (weight, operator) in enumerate(operators):
            grey = 2 * weight * (luma if level else 1)
            self.levels.append((operator.stencil.new_tensor((grey, 2 * weight, 2 * weight)), operator))

    def add(self, direction: Tensor, total: Tensor) -> None:
        add_through_pyramid(direction, [partial(self._add, *level) for level in self.levels], total)

    def diagonal(self) -> Tensor:
        return pyramid_diagonal(
            [scales.to(each.diagonal)[:, None, None] * each.diagonal for scales, each in self.levels]
        )

    @staticmethod
    def _add(scales: Tensor, operator: MattingOperator, direction: Tensor, total: Tensor) -> None:
        operator.add(direction, scales, total)


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
