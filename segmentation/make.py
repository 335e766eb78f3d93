"""Masks of photographs that belong together, without painting: the whole story. Start reading here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from photostyle.files.images import Picture
from photostyle.files.legends import from_hex
from photostyle.files.masks import MaskSet, whole_picture
from photostyle.imaging.filters import resize, size_of
from photostyle.losses.weights import hash_of
from photostyle.networks.lite import PACKAGE, weights_file
from photostyle.regions.guidance import TRACE
from segmentation.cluster import cluster
from segmentation.deep import DeepFeatures, load_network
from segmentation.groups import GROUPS
from segmentation.inference import group_probabilities
from segmentation.labels import GREY, edit_labels, fit_labels
from segmentation.networks import Segmenter, SegmenterNotFound, find_segmenter
from segmentation.refine import PIXELS, refine_masks

OTHER = "other"  # the name of what the network has in no group
AUTO = "auto"  # the light segmenter where it can be had
# What a network says is used where its likeliest groups have this probability in the mean over all pictures, and where
# none of them covers this share of the content. On the 12 published pairs of experiment 006 a small ADE20K network
# (MOSAIC) has 0.91 to 0.98 on five, where the largest group covers at most 0.64. On the other seven it has less, or a
# group covers 0.97 or more, and clusters agree better with the painters: mean IoU 0.87, its own 0.60.
SURE, ONE = 0.9, 0.9

NOTHING_TELLS = (
    "each picture is one region: without the extra semantic (pip install 'photostyle[semantic]') nothing tells which "
    "regions of two pictures belong together; --masks cluster finds them by colour"
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class MaskOptions:
    """How masks are made.

    method: "auto" asks a pretrained segmenter, and clusters where there is none and where it is not SURE; "cluster"
    clusters. semantic: whether deep features may be clustered where their weights are installed, else colours are.
    sure: the mean probability from which a network's regions are used; at 0 they always are.
    segmenter, revision: as `networks.find_segmenter` takes them; "auto" is the light one. Only "auto" may
    be missing: without a segmenter that is named, `make_masks` raises. One that is not sure is not used, named or not,
    and it is said. refine: whether borders are made to follow those
    of the photo (matting). merge, only: as `labels.edit_labels` takes them. download: whether weights may be fetched.
    seed: of the clustering. doubtful: what becomes of regions of several pictures that colour alone would
    find: "keep" them, or "unite" each picture into one.
    """

    method: Literal["auto", "cluster"] = "auto"
    segmenter: str = AUTO
    revision: str | None = None
    refine: bool = True
    merge: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    download: bool = True
    semantic: bool = True
    sure: float = SURE
    seed: int = 612
    doubtful: Literal["keep", "unite"] = "keep"
    device: torch.device | str = "cpu"


@dataclass(frozen=True, eq=False)
class MadeMasks:
    """Masks of pictures that belong together.

    sets: the regions of each picture at its size; the names agree. origin: what made them, as JSON types.
    """

    sets: tuple[MaskSet, ...]
    origin: dict[str, Any]


def make_masks(
    pictures: Sequence[Picture], options: MaskOptions = MaskOptions(), say: Say = lambda note: None
) -> MadeMasks:
    """The regions of a content and its references (in this order), or of one picture alone.

    Regions are found on copies of at most refine.PIXELS. say: is told every decision. Raises PhotostyleError for a
    segmenter that was asked for by name and cannot be loaded, and for faulty names in `merge` and `only`.
    """
    photos = [_reduced(picture.pixels) for picture in pictures]
    names = [picture.path.name for picture in pictures]
    segmenter = None if options.method == "cluster" else _segmenter(options, say)
    found, first, origin = _named(segmenter, photos, options) if segmenter else ([], (), {})
    if not found:
        network, features = _deep_network(options)
        if network is None and options.doubtful == "unite" and len(photos) > 1:
            found, origin["method"] = [whole_picture(*size_of(photo)) for photo in photos], "none"
            first = (*first, NOTHING_TELLS)
        else:
            found, second = cluster(photos, options.seed, network)
            origin |= {"method": "cluster", "seed": options.seed, **features}
            first += second
    # The user's wishes come first: after the program has united labels, a name may be gone.
    edited, notes = edit_labels(found, options.merge, options.only, pictures=names)
    related = {group.name: group.related for group in GROUPS}
    fitted, more = fit_labels(edited, photos, related, pictures=names)
    for note in (*first, *notes, *more):
        say(note)
    full = (
        replace(regions, masks=_at_full_size(picture.pixels, regions.masks, options.refine, say))
        for picture, regions in zip(pictures, _least_sure(fitted), strict=True)
    )
    return MadeMasks(tuple(full), origin | {"refined": options.refine})


def _named(
    segmenter: Segmenter, photos: Sequence[Tensor], options: MaskOptions
) -> tuple[list[MaskSet], tuple[str, ...], dict[str, Any]]:
    """The regions that a network names, a note, and what it was; no regions where it is better not to use them.

    Where the user speaks of labels by name, they are used however unsure they are.
    """
    probabilities = [group_probabilities(segmenter, photo) for photo in photos]
    found = [_groups(each) for each in probabilities]
    sure = sum(float(each.amax(0).mean()) for each in probabilities) / len(photos)
    several = float(found[0].masks.mean((1, 2)).max()) < ONE
    origin = {"method": "segmenter", **_identity(segmenter)}
    asked = options.merge or options.only or options.sure == 0
    if asked or (sure >= options.sure and several):
        return found, (f"regions found by {segmenter.name}, revision {segmenter.revision[:12]}",), origin
    unsure = f"is not sure of what it sees ({sure:.0%} in the mean)"
    why = unsure if sure < options.sure else "finds hardly more than one region"
    return [], (f"{segmenter.name} {why}: its regions are not used",), origin


def _deep_network(options: MaskOptions) -> tuple[DeepFeatures | None, dict[str, str]]:
    """The network whose features are clustered, and what it is; None where its weights are not installed."""
    file = weights_file() if options.semantic else None
    if file is None:
        return None, {"features": "colour"}
    return load_network(file), {"features": PACKAGE, "features_sha256": hash_of(file)}


def _least_sure(sets: Sequence[MaskSet]) -> list[MaskSet]:
    """Each label as sure as in the picture where it is least sure, and 0 where the content has it alone."""
    if not all(each.confidence for each in sets):
        return list(sets)
    sure = [dict(zip(each.names, each.confidence, strict=True)) for each in sets]
    return [replace(each, confidence=tuple(_confidence(name, sure) for name in each.names)) for each in sets]


def _confidence(name: str, sure: Sequence[Mapping[str, float]]) -> float:
    having = [each[name] for each in sure if name in each]
    alone = len(sure) > 1 and name in sure[0] and len(having) == 1
    return 0.0 if alone else min(having)


def _at_full_size(photo: Tensor, masks: Tensor, refine: bool, say: Say) -> Tensor:
    masks = resize(masks, *size_of(photo))
    return refine_masks(photo, masks, say=say) if refine else masks


def _segmenter(options: MaskOptions, say: Say) -> Segmenter | None:
    """The network that is asked for; None where none was asked for by name and the light one cannot be loaded."""
    named = options.segmenter != AUTO or options.revision is not None
    try:
        return find_segmenter(
            "light" if options.segmenter == AUTO else options.segmenter,
            options.revision,
            download=options.download,
            device=options.device,
            say=say,
        )
    except SegmenterNotFound as error:
        if named:
            raise
        say(f"{error}; no segmenter names the regions")
        return None


def _identity(segmenter: Segmenter) -> dict[str, str]:
    return {
        "segmenter": segmenter.name,
        "revision": segmenter.revision,
        "sha256": segmenter.sha256,
        "licence": segmenter.licence,
        "vocabulary": segmenter.vocabulary,
    }


def _groups(probabilities: Tensor) -> MaskSet:
    """The groups that are in a picture at all, (K, H, W), which share what the others had of the probability.

    What the network has in no group is a group too, named OTHER. A group is as sure as it is probable where it is.
    """
    outside = (1 - probabilities.sum(0, keepdim=True)).clamp(min=0)
    probabilities = torch.cat((probabilities, outside))
    names = (*(group.name for group in GROUPS), OTHER)
    colours = (*(from_hex(group.colour) for group in GROUPS), GREY)
    strongest = torch.bincount(probabilities.argmax(0).flatten(), minlength=len(names))
    present = [
        row for row, pixels in enumerate(strongest.tolist()) if pixels >= TRACE * probabilities[0].numel()
    ]
    masks = probabilities[present]
    sure = (masks**2).sum((1, 2)) / masks.sum((1, 2))
    return MaskSet(
        # Added so that no sum is 0: a pixel that only absent groups claim is divided equally.
        (masks + 1e-6) / (masks + 1e-6).sum(0),
        tuple(names[row] for row in present),
        tuple(colours[row] for row in present),
        True,
        "",
        (),
        tuple(sure.tolist()),
    )


def _reduced(photo: Tensor) -> Tensor:
    """A copy of at most PIXELS pixels, antialiased where it is smaller."""
    height, width = size_of(photo)
    scale = min(1.0, (PIXELS / (height * width)) ** 0.5)
    return resize(photo, max(1, round(height * scale)), max(1, round(width * scale)))
