"""Which region takes its style from which, and the regions at the size of every layer.

Labels pair by name. A label without a partner is an orphan (Luan et al. 2017 restrict the content's labels to the
style's). It pairs with the label nearest in colour statistics: by the 2-Wasserstein distance of Gaussians in CIELAB,
in ΔE.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from photostyle.files.legends import Colour
from photostyle.files.masks import MaskSet
from photostyle.imaging.filters import area_average, fit_within
from photostyle.imaging.lightness import lab
from photostyle.regions.colour import symmetric_root
from photostyle.regions.mixture import Moments, mixed_moments, only, weighted_moments

# A region under this share of its picture is the trace of a brush, and has no statistics of its own. In the published
# pairs the labels that only the content has cover 0.1 to 0.4 %.
TRACE = 0.003

# The distance in 8-bit RGB up to which two colours of compressed masks are one label. In each mask JPEG moves a flat
# colour by up to 7.2 (nine published mask colours and thirty random ones, quality 20 and up), and a histogram of 5 bits
# per channel by up to 7. The published colours are 221 apart.
REACH = 30.0

# Long side, in pixels, at which colour statistics are taken: the default size of a transfer.
STATISTICS_SIDE = 512

# Trust in a pair whose label the style's mask lacks: its colours chose it, and nobody else.
ORPHAN = 0.5

WHOLE = ("all",)  # the names of masks.whole_picture, which stands for a mask that was not given

Gaussian = Moments  # of colours in CIELAB


@dataclass(frozen=True)
class Pair:
    """A label of the content and the style region it takes its style from; shares of the picture, 0 to 1.

    trust: in [0, 1], how far the label itself says that both show the same: 1 for one that both masks have, ORPHAN for
    one that the style's lacks, 0 where one of the pictures has no mask; times (2 c - 1)^2 for regions that were made
    with a confidence c.
    """

    name: str
    colour: Colour
    partner: str
    content_share: float
    style_share: float
    orphan: bool
    reason: str
    trust: float = 1.0


@dataclass(frozen=True, eq=False)
class Guidance:
    """The regions of the pictures side by side: content[k] takes its style from row k of the references.

    content: (K, H, W) float32, of sum at most 1 in each pixel. styles: (K, h, w) float32 for each of R references. A
    style region that serves two content regions stands there twice; one that a reference does not give is zero.
    weights: (R, K) float64, the weight of each reference in the mixture that a region takes; over the references they
    sum to 1. names, colours: of the K content labels. pairs: one for every label of the content's mask, in its order,
    also for those too small for a row of their own. notes: what was decided for the user, one line each.
    """

    content: Tensor
    styles: tuple[Tensor, ...]
    weights: Tensor
    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]

    @property
    def style(self) -> Tensor:
        """The regions of the one reference; raises PhotostyleError where there are several."""
        return only(self.styles)


def pair_regions(content: Tensor, content_masks: MaskSet, style: Tensor, style_masks: MaskSet) -> Guidance:
    """`pair_with_references` for one reference: content (3, H, W), style (3, h, w)."""
    return pair_with_references(content, content_masks, [(style, style_masks)], [1.0])


def pair_with_references(
    content: Tensor,
    content_masks: MaskSet,
    references: Sequence[tuple[Tensor, MaskSet]],
    weights: Sequence[float],
) -> Guidance:
    """Pair the regions of content (3, H, W) with those of references (3, h, w), sRGB in [0, 1], masks at their sizes.

    * A content label that covers less than TRACE of its picture joins the content region nearest in colour statistics.
    * A content label that the style lacks, or has in less than TRACE, takes the style region nearest in them.
    * Without a style mask every region takes the whole style. Without a content mask the content takes all regions of
      the style together. Style regions that no content region takes are unused.
    * Where colours were clustered (`exact` is False), two labels within REACH pair if each is the other's nearest.
    * Of several references, all that have a label give it, in a mixture by their weights. Those that lack it, or have
      it in less than TRACE, give nothing of it. A label that none has takes the mixture of the label nearest in
      statistics.

    Pixels outside every region stay outside. The order of labels changes nothing but the order of rows.
    """
    ours, theirs = _Side(content, content_masks), _Styles(references, weights, content_masks)
    rows = ours.usable
    partners = {row: theirs.of_label(row) or theirs.nearest(ours.gaussians[row]) for row in rows}
    hosts = [k if k in rows else ours.nearest(ours.gaussians[k]) for k in range(len(ours.names))]
    pairs = tuple(_pair(ours, theirs, k, host, partners[host]) for k, host in enumerate(hosts))
    return Guidance(
        content=_gathered(ours.masks, [rows.index(host) for host in hosts]),
        styles=tuple(theirs.masks(r, [partners[row] for row in rows]) for r in range(len(references))),
        weights=torch.tensor([theirs.mixture(partners[row]) for row in rows], dtype=torch.float64).T,
        names=tuple(ours.names[row] for row in rows),
        colours=tuple(ours.colours[row] for row in rows),
        pairs=pairs,
        notes=_notes(pairs, content_masks, [each for _, each in references], theirs, partners),
    )


def _gathered(masks: Tensor, slots: list[int]) -> Tensor:
    """Masks (K, H, W) added up into slots; as they are, and not copied, where each has its own."""
    if slots == list(range(len(masks))):
        return masks
    gathered = torch.zeros(max(slots) + 1, *masks.shape[1:]).to(masks)
    return gathered.index_add_(0, torch.tensor(slots, device=masks.device), masks)


def carry_masks(masks: Tensor, plan: Sequence[tuple[str, str]], soft: bool = True) -> dict[str, Tensor]:
    """Regions (K, H, W) at every layer of an encoder's plan (encoders.Encoder.plan), by layer name.

    As the released code does it (neuralstyle_seg.lua). At a convolution: a 3×3 mean with zeros around the picture, so
    that a mask reaches as far as the features do and darkens at the border. At a pool: the area average on
    ⌈H/2⌉ × ⌈W/2⌉ cells. Convolutions stand under both names, "conv1_1" and "relu1_1". soft: False leaves out the means
    at convolutions, so that a mask of ones stays one.
    """
    carried = {}
    for step, name in plan:
        if step == "pool":
            masks = area_average(masks, -(-masks.shape[-2] // 2), -(-masks.shape[-1] // 2))
        else:
            if soft:
                masks = functional.avg_pool2d(masks, 3, stride=1, padding=1, count_include_pad=True)
            carried[name.replace("relu", "conv")] = masks
        carried[name] = masks
    return carried


class _Side:
    """One picture's regions with their shares and colour statistics."""

    def __init__(self, image: Tensor, regions: MaskSet) -> None:
        self.image, self.masks = image, regions.masks
        self.names, self.colours = regions.names, regions.colours
        self.confidences = regions.confidence
        self.shares: list[float] = regions.masks.mean((1, 2), dtype=torch.float64).tolist()

    def confidence(self, k: int) -> float:
        """How sure it is that region k is what its name says: 1 where the mask was given."""
        return self.confidences[k] if self.confidences else 1.0

    @cached_property
    def usable(self) -> list[int]:
        """Regions with statistics of their own; where all are under TRACE, the largest alone."""
        above = [k for k, share in enumerate(self.shares) if share >= TRACE]
        return above or [max(range(len(self.names)), key=lambda k: (self.shares[k], self.names[k]))]

    @cached_property
    def gaussians(self) -> list[Gaussian]:
        """Mean and covariance of each region's Lab colours, computed only where there is an orphan."""
        return colour_statistics(self.image, self.masks)

    def nearest(self, gaussian: Gaussian) -> int:
        """The usable region nearest in colour statistics; of two at the same distance, the first by name."""
        return min(self.usable, key=lambda k: (wasserstein(self.gaussians[k], gaussian), self.names[k]))


Rows = dict[int, int]  # reference → its region: what one content region takes its style from


class _Styles:
    """The regions of the references by label: a label that several references have is one mixture."""

    def __init__(
        self, references: Sequence[tuple[Tensor, MaskSet]], weights: Sequence[float], content_masks: MaskSet
    ) -> None:
        whole = content_masks.names == WHOLE
        sets = [_union(each) if whole else each for _, each in references]
        self.sides = [_Side(image, each) for (image, _), each in zip(references, sets, strict=True)]
        self.weights = weights
        self.labels = [_same_labels(content_masks, each) for each in sets]

    def of_label(self, k: int) -> Rows:
        """The regions that have the content's label k, usable ones only."""
        return {r: row for r, row in self.rows_of(k).items() if row in self.sides[r].usable}

    def rows_of(self, k: int) -> Rows:
        """The regions that have the content's label k, whatever their size."""
        return {r: labels[k] for r, labels in enumerate(self.labels) if k in labels}

    def nearest(self, gaussian: Gaussian) -> Rows:
        """The label whose mixture is nearest in colour statistics; of two at the same distance, the first by name."""
        return min(
            self._by_name.values(),
            key=lambda rows: (wasserstein(self._gaussian(rows), gaussian), self.name(rows)),
        )

    @cached_property
    def _by_name(self) -> dict[str, Rows]:
        named: dict[str, Rows] = {}
        for r, side in enumerate(self.sides):
            for row in side.usable:
                named.setdefault(side.names[row], {})[r] = row
        return named

    def _gaussian(self, rows: Rows) -> Gaussian:
        shares = self.mixture(rows)
        return mixed_moments([(shares[r], self.sides[r].gaussians[row]) for r, row in rows.items()])

    def mixture(self, rows: Rows) -> list[float]:
        """The weight of each reference in a mixture; 0 where it has no part in it."""
        total = sum(self.weights[r] for r in rows)
        return [self.weights[r] / total if r in rows else 0.0 for r in range(len(self.sides))]

    def share(self, rows: Rows) -> float:
        """The share of their pictures that the regions cover, weighted as in their mixture."""
        shares = self.mixture(rows)
        return sum(shares[r] * self.sides[r].shares[row] for r, row in rows.items())

    def name(self, rows: Rows) -> str:
        """Their name, or all their names where clustered masks and whole pictures have different ones."""
        return " + ".join(dict.fromkeys(self.sides[r].names[row] for r, row in rows.items()))

    def masks(self, r: int, rows: Sequence[Rows]) -> Tensor:
        """The regions of reference r, one per content region: (K, h, w), zero where it gives none."""
        side = self.sides[r]
        taken = [each.get(r) for each in rows]
        if taken == list(range(len(side.masks))):  # as they are: no copy
            return side.masks
        if len(set(taken)) == 1 and taken[0] is not None:  # one region for all, seen several times
            return side.masks[taken[0]].expand(len(taken), -1, -1)
        empty = torch.zeros_like(side.masks[0])
        return torch.stack([side.masks[each[r]] if r in each else empty for each in rows])


def colour_statistics(image: Tensor, masks: Tensor) -> list[Gaussian]:
    """Mean and covariance of each region's CIELAB colours. image (3, H, W), sRGB in [0, 1], masks (K, H, W)."""
    height, width = image.shape[-2:]
    size = fit_within(height, width, STATISTICS_SIDE)
    colours = lab(area_average(image, *size).cpu()).flatten(1).numpy()
    weights = area_average(masks, *size).double().cpu().numpy().reshape(len(masks), -1)
    return [weighted_moments(colours, weight) for weight in weights]


def wasserstein(one: Gaussian, other: Gaussian) -> float:
    """2-Wasserstein distance of two Gaussians (Dowson & Landau 1982, eq. 4)."""
    root = symmetric_root(one[1])
    cross = np.sqrt(np.linalg.eigvalsh(root @ other[1] @ root).clip(0)).sum()
    squared = ((one[0] - other[0]) ** 2).sum() + np.trace(one[1]) + np.trace(other[1]) - 2 * cross
    return float(np.sqrt(max(squared, 0.0)))


def _union(regions: MaskSet) -> MaskSet:
    """All regions as one, as if there were no mask."""
    masks, colours = regions.masks.sum(0, keepdim=True), regions.colours[:1]
    return replace(regions, masks=masks, names=WHOLE, colours=colours, confidence=())


def _same_labels(content: MaskSet, style: MaskSet) -> dict[int, int]:
    """From content region to style region, for the labels that both masks have."""
    if style.names == WHOLE:
        return dict.fromkeys(range(len(content.names)), 0)
    same = {k: style.names.index(name) for k, name in enumerate(content.names) if name in style.names}
    if content.exact and style.exact:
        return same
    distances = _colour_distances(content, style)
    # A name that both have is a label already: only the others are compared by colour.
    distances[list(same)] = np.inf
    distances[:, list(same.values())] = np.inf
    nearest, back = distances.argmin(1), distances.argmin(0)
    return same | {
        k: int(other) for k, other in enumerate(nearest) if back[other] == k and distances[k, other] <= REACH
    }


def _colour_distances(content: MaskSet, style: MaskSet) -> NDArray[np.float64]:
    ours, theirs = np.array(content.colours, np.float64), np.array(style.colours, np.float64)
    distances: NDArray[np.float64] = np.linalg.norm(ours[:, None] - theirs[None], axis=-1)
    return distances


def _pair(ours: _Side, theirs: _Styles, k: int, host: int, partner: Rows) -> Pair:
    return Pair(
        name=ours.names[k],
        colour=ours.colours[k],
        partner=theirs.name(partner),
        content_share=ours.shares[k],
        style_share=theirs.share(partner),
        orphan=host != k or theirs.of_label(k) != partner,
        reason=_reason(ours, theirs, k, host, partner),
        trust=_trust(ours, theirs, k, host, partner),
    )


def _trust(ours: _Side, theirs: _Styles, k: int, host: int, partner: Rows) -> float:
    if ours.names == WHOLE or all(theirs.sides[r].names == WHOLE for r in partner):
        return 0.0
    sure = min(ours.confidence(k), *(theirs.sides[r].confidence(row) for r, row in partner.items()))
    # A guess that is right half of the time is worth nothing. The square is by eye, on experiment 013: without it a
    # robin takes the red of a flower.
    return max(0.0, 2 * sure - 1) ** 2 * (1.0 if host == k and theirs.of_label(k) == partner else ORPHAN)


def _reason(ours: _Side, theirs: _Styles, k: int, host: int, partner: Rows) -> str:
    if host != k:
        share = f"only {ours.shares[k]:.2%} of the content"
        return f"{share}, joins {ours.names[host]}, nearest in colour statistics"
    label = theirs.rows_of(k)
    if not label:
        return "not in the style's mask, nearest in colour statistics"
    if theirs.of_label(k) != partner:
        return f"its own is only {theirs.share(label):.2%} of the style, nearest in colour statistics"
    labelled = {r: row for r, row in partner.items() if theirs.sides[r].names != WHOLE}
    if ours.names == WHOLE or not labelled:
        return "no mask"
    same = "same label" if ours.names[k] == theirs.name(labelled) else "nearest label colour"
    return same if len(partner) == len(theirs.sides) else f"{same}, only in {_listed(partner)}"


def _listed(references: Iterable[int]) -> str:
    return "reference " + " and ".join(str(r + 1) for r in references)


def _notes(
    pairs: Sequence[Pair],
    content_masks: MaskSet,
    style_masks: Sequence[MaskSet],
    theirs: _Styles,
    partners: Mapping[int, Rows],
) -> tuple[str, ...]:
    """What was decided for the user: nothing where every label found itself."""
    notes = []
    for r, masks in enumerate(style_masks):
        name = "the style" if len(style_masks) == 1 else _listed([r])
        taken = {theirs.sides[r].names[rows[r]] for rows in partners.values() if r in rows}
        if content_masks.names == WHOLE != masks.names:
            notes.append(f"the content has no mask: it takes its style from all regions of {name} together")
        elif masks.names == WHOLE != content_masks.names:
            notes.append(f"{name} has no mask: every region takes its style from the whole of it")
        elif unused := [label for label in masks.names if label not in taken]:
            notes.append(f"regions of {name} that no region takes: {', '.join(unused)}")
    if not any(theirs.labels):
        notes.append("no label is in both masks: all regions pair by colour statistics")
    notes += [
        f"{pair.name} takes its style from {pair.partner}: {pair.reason}"
        for pair in pairs
        if pair.reason not in ("same label", "no mask")
    ]
    return tuple(notes)
