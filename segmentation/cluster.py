"""Regions of photographs without a segmenter: the superpixels of all pictures, clustered together.

Because the pictures share one clustering, a region of one corresponds to the region of the same name in another: sky to
sky, land to land. What the regions show is not known. They are numbered from the top of the pictures to the bottom.
"""

import colorsys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture
from sklearn.utils import check_random_state
from torch import Tensor, nn

from photostyle.files.legends import Colour
from photostyle.files.masks import MaskSet
from photostyle.imaging.filters import size_of
from photostyle.imaging.lightness import JND
from segmentation.confidence import DOUBT, united
from segmentation.deep import principal, see, standardised
from segmentation.labels import FLOOR
from segmentation.places import place_names
from segmentation.superpixels import Array, Labels, Superpixels, describe

MOST = 6  # regions looked for: the published masks have 1 to 9 per picture, 3.3 in the mean
# A border between two regions of the content must be this much stronger than the differences inside them, or else their
# two treatments would draw an edge that the photo does not have.
BORDER = 1.25
TEXTURE = 10.0  # ΔE that a factor e in fine texture counts for in a border: about four JND
# Variance added to that of the mixture, in units of the features. With 0.05 more depended on the start.
ADDED_VARIANCE = 0.2
VOTES = 8  # rounds: a border can move by as many superpixels
ALIKE = 4 * JND  # ΔE at which the vote of a neighbour counts a third: 5 and 10 gave the same borders
# Of the mixture; the likeliest is kept. With 5 one pair in six still ended in a worse one.
STARTS = 15
SAME = 0.999  # share of superpixels in which two ends of k-means agree that are taken for one
COLOURS = 3  # the first features of a superpixel: lightness, a, b


def cluster(
    photos: Sequence[Tensor], seed: int, network: nn.Module | None = None
) -> tuple[list[MaskSet], tuple[str, ...]]:
    """Corresponding regions of pictures (3, H, W), sRGB in [0, 1]; the first is the content.

    Gaussian mixtures with one shared covariance are fitted to the superpixels of all pictures. Regions are merged that
    cover less than FLOOR of a picture or have no visible border in the content. By a vote, borders move to where
    neighbours differ. The number of regions is the one of the best silhouette (Rousseeuw 1987).
    network: of `deep.load_network`; what it sees then stands in the place of colours, and says which regions belong
    together. Without it nothing does: their confidence is that of a coin.
    Returns a set of hard masks (K, H, W) for each picture, of the same K names, and notes. Deterministic with the seed.
    """
    pictures = [describe(photo) for photo in photos]
    seen = [see(network, *each) for each in zip(photos, pictures, strict=True)] if network else []
    found = _by_meaning(pictures, seen) if seen else _by_colour(pictures, seed)
    parts = _of_pictures(_from_the_top(found, pictures), pictures)
    sure = (1.0 if len(photos) == 1 else DOUBT,) * (1 + int(found.max()))
    if seen:
        parts, confidence = united(parts, _shares(pictures), seen)
        sure = tuple(confidence.tolist())
    maps = [part[picture.index] for part, picture in zip(parts, pictures, strict=True)]
    names = place_names(maps)
    sets = [
        MaskSet(_masks(each, len(names), *size_of(photo)), names, palette(len(names)), True, "", (), sure)
        for each, photo in zip(maps, photos, strict=True)
    ]
    what = "what an ImageNet network sees, texture and height" if seen else "colour, texture and height"
    return sets, (_note(int(found.max()) + 1, len(names), what),)


def _note(found: int, left: int, what: str) -> str:
    if found == 1:
        return "clustering found no two regions that all pictures have: each is one region"
    if left == found:
        return f"{found} regions found by clustering {what}"
    whole = "each picture is one region" if left == 1 else f"{left} are left"
    return f"{found} regions found by clustering {what}; those whose partner is doubtful were united: {whole}"


def _by_colour(pictures: Sequence[Superpixels], seed: int) -> Labels:
    """Regions by the descriptors of superpixels alone, from STARTS random starts for each number of regions."""
    features = _features(pictures)
    mixtures = (likeliest(features, k_means(features, count, seed)) for count in range(2, MOST + 1))
    return best([_tidied(labels, pictures) for labels in mixtures], features)


def _by_meaning(pictures: Sequence[Superpixels], seen: Sequence[Array]) -> Labels:
    """Regions by deep features (N, C) of each picture, texture and height, from Ward's hierarchy: without chance.

    The silhouette is that of the deep features alone: how many things there are is a question of meaning. With that of
    all features the mean IoU with 12 painted photographs was 0.76 where this gave 0.81.
    """
    shares = _shares(pictures)
    parts = principal(standardised(seen, shares), shares)
    described = [
        replace(picture, features=np.hstack((picture.features[:, COLOURS:], part)))
        for picture, part in zip(pictures, parts, strict=True)
    ]
    features = _features(described)
    tree = linkage(features, "ward")
    cuts = [
        np.unique(fcluster(tree, count, "maxclust"), return_inverse=True)[1] for count in range(2, MOST + 1)
    ]
    mixtures = [likeliest(features, [labels]) for labels in cuts]
    return best([_tidied(labels, described) for labels in (*cuts, *mixtures)], np.concatenate(parts))


def _tidied(labels: Labels, pictures: Sequence[Superpixels]) -> Labels:
    return merge(vote(merge(labels, pictures), pictures), pictures)


def _of_pictures(values: npt.NDArray[Any], pictures: Sequence[Superpixels]) -> list[npt.NDArray[Any]]:
    """What all superpixels have, (N, …), as a part for each picture."""
    return np.split(values, np.cumsum([len(picture.pixels) for picture in pictures])[:-1])


def palette(count: int) -> tuple[Colour, ...]:
    """Colours that people can tell apart: hues at equal steps, every other one darker."""
    hues = [(number / count + 0.58, 0.55 if number % 2 else 0.8) for number in range(count)]
    return tuple(
        tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 1, 0.7, value))  # type: ignore[misc]
        for hue, value in hues
    )


def _features(pictures: Sequence[Superpixels]) -> Array:
    return np.concatenate([picture.features for picture in pictures])


def _shares(pictures: Sequence[Superpixels]) -> list[Array]:
    """The share of its picture that each superpixel covers, so that pictures of any size count the same."""
    return [picture.pixels / picture.pixels.sum() for picture in pictures]


def k_means(features: Array, count: int, seed: int) -> list[Labels]:
    """The different clusterings into so many that k-means ends in from STARTS random starts."""
    count, found, random = min(count, len(features)), list[Labels](), check_random_state(seed)
    with warnings.catch_warnings():
        # Flat pictures have fewer distinct points than clusters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(STARTS):
            ended: Labels = KMeans(count, n_init=1, random_state=random).fit(features).labels_
            # Most starts end alike but for the numbers of the clusters, and one mixture for all of them is enough.
            if all(_agreement(ended, other) < SAME for other in found):
                found.append(ended)
    return found


def _agreement(one: Labels, other: Labels) -> float:
    """The share of superpixels that are in the cluster of `other` in which most of their cluster of `one` are."""
    count = int(max(one.max(), other.max())) + 1
    return float(
        np.bincount(one * count + other, minlength=count**2).reshape(count, count).max(1).sum() / len(one)
    )


def likeliest(features: Array, starts: Sequence[Labels]) -> Labels:
    """The clusters of the likeliest Gaussian mixture of one covariance, (N,), that EM ends in from given clusters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixtures = [_started(features, labels).fit(features) for labels in starts]
    labels: Labels = max(mixtures, key=lambda mixture: float(mixture.lower_bound_)).predict(features)
    return labels


def _started(features: Array, labels: Labels) -> GaussianMixture:
    """A mixture that begins where these clusters are its components."""
    members = np.eye(int(labels.max()) + 1)[labels]
    sizes = members.sum(0)
    means = members.T @ features / sizes[:, None]
    within = (features - means[labels]).T @ (features - means[labels]) / len(features)
    within += ADDED_VARIANCE * np.eye(features.shape[1])
    return GaussianMixture(
        len(sizes),
        covariance_type="tied",
        weights_init=sizes / sizes.sum(),
        means_init=means,
        precisions_init=np.linalg.inv(within),
        reg_covar=ADDED_VARIANCE,
        random_state=0,  # of a start that is thrown away
    )


def merge(labels: Labels, pictures: Sequence[Superpixels]) -> Labels:
    """Join clusters, one at a time: the smallest under FLOOR to its nearest, then the two of the faintest border."""
    while True:
        labels = np.unique(labels, return_inverse=True)[1]
        count = int(labels.max()) + 1
        if count == 1:
            return labels
        smallest = _least_shares(labels, count, pictures)
        if smallest.min() < FLOOR:
            lost = int(smallest.argmin())
            host = _nearest_cluster(labels, lost, pictures)
        else:
            borders = _borders(labels[: len(pictures[0].pixels)], count, pictures[0])
            lost, host = (int(k) for k in np.unravel_index(borders.argmin(), borders.shape))
            if borders[lost, host] >= BORDER:
                return labels
        labels = np.where(labels == lost, host, labels)


def vote(labels: Labels, pictures: Sequence[Superpixels]) -> Labels:
    """Each superpixel takes the label of most of its neighbours, VOTES times; those that look like it count most.

    A superpixel beside an edge has the texture of the edge and is clustered with the object, but it looks like the
    backdrop.
    """
    count, voted = int(labels.max()) + 1, []
    parts = _of_pictures(labels, pictures)
    for part, picture in zip(parts, pictures, strict=True):
        first, second = picture.neighbours.T
        difference = np.linalg.norm(picture.colours[first] - picture.colours[second], axis=1)
        alike = picture.lengths * np.exp(-((difference / ALIKE) ** 2))
        for _ in range(VOTES):
            votes = np.zeros((len(part), count))
            np.add.at(votes, (first, part[second]), alike)
            np.add.at(votes, (second, part[first]), alike)
            part = np.where(votes.any(1), votes.argmax(1), part)
        voted.append(part)
    return np.concatenate(voted)


def _least_shares(labels: Labels, count: int, pictures: Sequence[Superpixels]) -> Array:
    """(K,): of each cluster, its share of the picture that has the least of it."""
    parts = _of_pictures(labels, pictures)
    shares = [
        np.bincount(part, picture.pixels, count) / picture.pixels.sum()
        for part, picture in zip(parts, pictures, strict=True)
    ]
    least: Array = np.min(shares, axis=0)
    return least


def _nearest_cluster(labels: Labels, lost: int, pictures: Sequence[Superpixels]) -> int:
    """The cluster whose mean features are nearest to those of another."""
    features, weights = _features(pictures), np.concatenate(_shares(pictures))
    means = np.stack(
        [
            np.average(features[labels == k], axis=0, weights=weights[labels == k])
            for k in range(labels.max() + 1)
        ]
    )
    distances = ((means - means[lost]) ** 2).sum(1)
    distances[lost] = np.inf
    return int(distances.argmin())


def _borders(labels: Labels, count: int, picture: Superpixels) -> Array:
    """(K, K): mean difference of neighbours across each border over that of neighbours inside; inf without a border."""
    first, second = picture.neighbours.T
    difference = np.linalg.norm(picture.colours[first] - picture.colours[second], axis=1)
    difference += TEXTURE * np.abs(picture.texture[first] - picture.texture[second])
    within = labels[first] == labels[second]
    usual = np.average(difference[within], weights=picture.lengths[within]) if within.any() else 0.0
    pair = np.sort(np.stack((labels[first], labels[second])), axis=0)
    flat = pair[0] * count + pair[1]
    length = np.bincount(flat, picture.lengths * ~within, count**2)
    total = np.bincount(flat, picture.lengths * difference * ~within, count**2)
    mean = np.divide(total, length, out=np.full(count**2, np.inf), where=length > 0)
    borders: Array = mean.reshape(count, count) / (usual + JND)
    return borders


def best(candidates: Sequence[Labels], features: Array) -> Labels:
    """The clustering of the best silhouette. A single region has none and is the last resort."""
    return max(
        candidates, key=lambda labels: float(silhouette_score(features, labels)) if labels.max() else -1.0
    )


def _from_the_top(labels: Labels, pictures: Sequence[Superpixels]) -> Labels:
    """The labels renumbered by mean height in the pictures, so that the number of a region says where it lies."""
    weights = np.concatenate(_shares(pictures))
    rows = np.concatenate(
        [
            np.bincount(picture.index.ravel(), np.repeat(np.arange(h), w) / h) / picture.pixels
            for picture in pictures
            for h, w in [picture.index.shape]
        ]
    )
    heights = [np.average(rows[labels == k], weights=weights[labels == k]) for k in range(labels.max() + 1)]
    renumbered: Labels = np.argsort(np.argsort(heights))[labels]
    return renumbered


def _masks(labels: Labels, count: int, height: int, width: int) -> Tensor:
    """(h, w) labels -> (K, height, width) hard masks, whose borders are smoothed on the way up and have no steps."""
    small = F.one_hot(torch.from_numpy(labels), count).permute(2, 0, 1).float()
    large = F.interpolate(small[None], (height, width), mode="bilinear", align_corners=False)[0]
    return F.one_hot(large.argmax(0), count).permute(2, 0, 1).float()
