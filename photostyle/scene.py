"""What one optimisation is of: the pictures with their regions, and the stage at which they are looked at."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.imaging.filters import area_average, fit_within, resize, size_of, unchanged
from photostyle.regions.canvas import recoloured
from photostyle.regions.colour import mixture_colour_maps
from photostyle.regions.mixture import Anchor, Reference, alone, only

# Pixels: on a shorter side too few patches and windows fit for a distribution or a Laplacian to mean anything.
LEAST_SIDE = 16


@dataclass(frozen=True)
class Stage:
    """One optimisation at one size."""

    number: int
    long_side: int  # pixels; the style picture gets the same
    height: int
    width: int
    iterations: int
    photorealism: bool
    squeezed: bool = False  # the style picture gets the same height and width, whatever its shape


@dataclass(frozen=True, eq=False)
class Restraint:
    """How far each of K regions goes beyond the closed form. Without one every region follows its references entirely.

    boldness: (K,) float64 in [0, 1], see `mixture.Anchor`. maps: (K, 3, 4), the closed-form colour maps. feather:
    radius in pixels, at 256 px, over which the maps' borders follow the photo's edges.
    """

    boldness: Tensor
    maps: Tensor
    feather: int


@dataclass(frozen=True, eq=False)
class Scene:
    """A photo, its regions, and the references that they take their style from.

    content: (3, H, W), sRGB in [0, 1]. content_masks: (K, H, W), float in [0, 1], of sum at most 1 in each pixel.
    references: each with K masks of its own, see `Reference`.
    Raises PhotostyleError where the shapes do not belong together.
    """

    content: Tensor
    content_masks: Tensor
    references: tuple[Reference, ...]
    restraint: Restraint | None = None

    @cached_property
    def anchor(self) -> Anchor | None:
        """What regions that are not entirely bold stay near; None where all are."""
        if self.restraint is None or bool((self.restraint.boldness == 1).all()):
            return None
        return Anchor(self.recoloured, self.content_masks, self.restraint.boldness)

    @cached_property
    def recoloured(self) -> Tensor:
        """The closed form, (3, H, W): the photo through its regions' maps, the restraint's or those all the way."""
        if self.restraint is None:
            maps, feather = mixture_colour_maps(self.content, self.content_masks, self.references), 0
        else:
            maps, feather = self.restraint.maps.to(self.content), self.restraint.feather
        return recoloured(self.content, self.content_masks, maps, feather)

    @cached_property
    def kept(self) -> Tensor:
        """What the closed form leaves of the photo as it was, (3, H, W): all of one that looks like its reference."""
        return unchanged(self.content, self.recoloured) * self.content

    def __post_init__(self) -> None:
        _check("content", self.content, self.content_masks)
        if not self.references:
            raise PhotostyleError("a scene has no reference; give one or more")
        for number, each in enumerate(self.references, 1):
            _check(f"reference {number}", each.image, each.masks)
            if len(each.masks) != len(self.content_masks):
                raise PhotostyleError(
                    f"reference {number} has {len(each.masks)} masks but the content {len(self.content_masks)}; "
                    "give one for each region of the content, in its order"
                )

    @classmethod
    def of(
        cls,
        content: Tensor,
        style: Tensor,
        content_masks: Tensor | None = None,
        style_masks: Tensor | None = None,
    ) -> "Scene":
        """A scene with one reference: content (3, H, W), style (3, h, w), masks (K, H, W) and (K, h, w).

        Without masks each picture is one region.
        """
        ours = torch.ones_like(content[:1]) if content_masks is None else content_masks
        theirs = torch.ones_like(style[:1]) if style_masks is None else style_masks
        return cls(content, ours, alone(style, theirs))

    @property
    def style(self) -> Tensor:
        """The one reference; raises PhotostyleError where there are several."""
        return only(self.references).image

    @property
    def style_masks(self) -> Tensor:
        """Its regions; raises as `style`."""
        return only(self.references).masks

    def to(self, device: torch.device | str) -> "Scene":
        """The same scene on another device."""
        references = tuple(
            replace(each, image=each.image.to(device), masks=each.masks.to(device))
            for each in self.references
        )
        held = self.restraint and replace(self.restraint, maps=self.restraint.maps.to(device))
        return replace(
            self,
            restraint=held,
            content=self.content.to(device),
            content_masks=self.content_masks.to(device),
            references=references,
        )


def at_stage(full: Scene, stage: Stage) -> Scene:
    """The scene at a stage's size. The references get the stage's long side too, but are never enlarged.

    A long, narrow one gets more, so that its short side holds patches. Where the stage is squeezed all have its shape.
    """
    references = []
    for each in full.references:
        height, width = size_of(each.image)
        long_side = max(stage.long_side, -(-LEAST_SIDE * max(height, width) // min(height, width)))
        size = (stage.height, stage.width) if stage.squeezed else fit_within(height, width, long_side)
        references.append(resized(each, *size))
    return Scene(
        resize(full.content, stage.height, stage.width),
        area_average(full.content_masks, stage.height, stage.width),
        tuple(references),
        full.restraint,
    )


def reduced(reference: Reference, long_side: int) -> Reference:
    """A reference of at most that long side in pixels."""
    return resized(reference, *fit_within(*size_of(reference.image), long_side))


def resized(reference: Reference, height: int, width: int) -> Reference:
    """A reference at another size, with its masks."""
    image = resize(reference.image, height, width)
    return replace(reference, image=image, masks=area_average(reference.masks, height, width))


def _check(name: str, image: Tensor, masks: Tensor) -> None:
    if image.ndim != 3 or len(image) != 3 or not image.is_floating_point():
        raise PhotostyleError(
            f"the {name} is {tuple(image.shape)} of {image.dtype}; expected (3, height, width), floats in [0, 1]"
        )
    if masks.ndim != 3 or not len(masks) or masks.shape[1:] != image.shape[1:]:
        raise PhotostyleError(
            f"the masks of the {name} are {tuple(masks.shape)}; expected (regions, {image.shape[1]}, {image.shape[2]})"
        )
