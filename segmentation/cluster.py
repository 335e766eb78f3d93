"""Regions of photographs without any training: the superpixels of all pictures, clustered together.

Because the pictures share one clustering, a region of one corresponds to the region of the same name in another: sky to
sky, land to land. What the regions show is not known. They are numbered from the top of the pictures to the bottom.
"""

import colorsys
import warnings
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture
from torch import Tensor

from photostyle.files.legends import Colour
from photostyle.files.masks import MaskSet
from photostyle.imaging.filters import size_of
from photostyle.imaging.lightness import JND
from segmentation.labels import FLOOR
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


def cluster(photos: Sequence[Tensor], seed: int) -> tuple[list[MaskSet], tuple[str, ...]]:
    """Corresponding regions of pictures (3, H, W), sRGB in [0, 1]; the first is the content.

    A Gaussian mixture with one shared covariance is fitted to the superpixels of all pictures. Regions are merged that
    cover less than FLOOR of a picture or have no visible border in the content. By a vote, borders move to where
    neighbours differ. The number of regions is the one of the best silhouette (Rousseeuw 1987).
    Returns a set of hard masks (K, H, W) for each picture, of the same K names, and notes. Deterministic with the seed.
    """
    pictures = [describe(photo) for photo in photos]
    mixtures = (_mixture(pictures, count, seed) for count in range(2, MOST + 1))
    candidates = [merge(vote(merge(labels, pictures), pictures), pictures) for labels in mixtures]
    labels = _from_the_top(best(candidates, pictures), pictures)
    count = int(labels.max()) + 1
    names = tuple(f"region {number}" for number in range(1, count + 1))
    parts = np.split(labels, np.cumsum([len(picture.pixels) for picture in pictures])[:-1])
    sets = [
        MaskSet(_masks(part[picture.index], count, *size_of(photo)), names, palette(count), True, "", ())
        for part, picture, photo in zip(parts, pictures, photos, strict=True)
    ]
    note = (
        f"{count} regions found by clustering colour, texture and height"
        if count > 1
        else ("clustering found no two regions that all pictures have: each is one region")
    )
    return sets, (note,)


def palette(count: int) -> tuple[Colour, ...]:
    """Colours that people can tell apart: hues at equal steps, every other one darker."""
    hues = [(number / count + 0.58, 0.55 if number % 2 else 0.8) for number in range(count)]
    return tuple(
        tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 1, 0.7, value))  # type: ignore[misc]
        for hue, value in hues
    )


def _features(pictures: Sequence[Superpixels]) -> Array:
    return np.concatenate([picture.features for picture in pictures])


def _weights(pictures: Sequence[Superpixels]) -> Array:
    """The share of its picture that each superpixel covers, so that pictures of any size count the same."""
    return np.concatenate([picture.pixels / picture.pixels.sum() for picture in pictures])


def _mixture(pictures: Sequence[Superpixels], count: int, seed: int) -> Labels:
    features = _features(pictures)
    mixture = GaussianMixture(
        min(count, len(features)),
        covariance_type="tied",
        n_init=STARTS,
        random_state=seed,
        reg_covar=ADDED_VARIANCE,
    )
    with warnings.catch_warnings():
        # Flat pictures have fewer distinct points than clusters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels: Labels = mixture.fit(features).predict(features)
    return labels


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
    parts = np.split(labels, np.cumsum([len(picture.pixels) for picture in pictures])[:-1])
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
    parts = np.split(labels, np.cumsum([len(picture.pixels) for picture in pictures])[:-1])
    shares = [
        np.bincount(part, picture.pixels, count) / picture.pixels.sum()
        for part, picture in zip(parts, pictures, strict=True)
    ]
    least: Array = np.min(shares, axis=0)
    return least


def _nearest_cluster(labels: Labels, lost: int, pictures: Sequence[Superpixels]) -> int:
    """The cluster whose mean features are nearest to those of another."""
    features, weights = _features(pictures), _weights(pictures)
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


def best(candidates: Sequence[Labels], pictures: Sequence[Superpixels]) -> Labels:
    """The clustering of the best silhouette. A single region has none and is the last resort."""
    features = _features(pictures)
    return max(
        candidates, key=lambda labels: float(silhouette_score(features, labels)) if labels.max() else -1.0
    )


def _from_the_top(labels: Labels, pictures: Sequence[Superpixels]) -> Labels:
    """The labels renumbered by mean height in the pictures, so that the number of a region says where it lies."""
    weights = _weights(pictures)
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
