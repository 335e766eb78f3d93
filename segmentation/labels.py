"""Which labels are kept apart: those that are large enough, that the references have too, and that the user wants.

A label is never dropped. It joins another, and their masks are added, so every pixel keeps what it had. Luan et al.
2017 (section 3) restrict the labels of the content to those of the reference for the same reason: without a partner a
region has no style to take.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from photostyle.errors import PhotostyleError, did_you_mean
from photostyle.files.legends import Colour
from photostyle.files.masks import LIKE_COLOURS, MaskSet, whole_picture
from photostyle.regions.guidance import WHOLE, Gaussian, colour_statistics, wasserstein

# A segment under 2 % of its picture joins the best related one that has more: min_ratio of self_remapping in the
# released code of Li et al., "A Closed-form Solution to Photorealistic Image Stylization" (ECCV 2018).
FLOOR = 0.02

REST = "rest"  # the name of the region of all that --only does not name
GREY = (128, 128, 128)

# For each label of a picture the one that it joins, itself where it joins none, and why.
Joined = Sequence[tuple[str, str]]


def fit_labels(
    sets: Sequence[MaskSet],
    photos: Sequence[Tensor],
    related: Mapping[str, Sequence[str]],
    floor: float = FLOOR,
    pictures: Sequence[str] = (),
) -> tuple[list[MaskSet], tuple[str, ...]]:
    """Unite labels until each of the content is large enough and is in every reference. Returns sets and notes.

    sets: the regions of the content, then those of its references, if any. photos: (3, H, W) each, sRGB in [0, 1], at
    the size of their masks. related: for each label those that it may join, nearest in meaning first. floor: the least
    share of its picture, 0 to 1, with which a label is kept apart. pictures: what notes call the pictures.

    * A label under the floor joins the first of its related labels in the same picture that is not under it. Where
      there is none, it joins the nearest in colour statistics (`guidance`). Where all are under it, they join the
      largest.
    * A content label that a reference lacks joins the first of its related labels that all references have, else the
      one of them nearest in colour statistics, and takes its name and colour. Where the references have no label in
      common, the content becomes one region.

    Labels of the same name are one; its colour is the content's, else the first reference's. Labels that only
    references have stay as they are. A picture without masks (masks.whole_picture) has no labels, and lacks none. The
    order of labels and of references changes only the order of the result, and a second time changes nothing.
    """
    if len(sets) != len(photos) or not sets:
        raise ValueError(f"{len(sets)} mask sets for {len(photos)} photos; expected one each")
    called = tuple(pictures) or ("the content", *(f"reference {k}" for k in range(1, len(sets))))
    notes: list[str] = []
    fitted = []
    for picture in (_Picture(*each) for each in zip(called, photos, sets, strict=True)):
        joined = _small_labels(picture, related, floor)
        notes += _notes(picture.name, picture.regions, joined)
        large = _united(picture.regions, joined, _colours(picture.regions))
        fitted.append(replace(picture, regions=large, small=set(picture.labels) - set(large.names)))
    content, references = fitted[0], [picture for picture in fitted[1:] if picture.labels != WHOLE]
    if references and content.labels != WHOLE:
        joined = _absent_labels(content, references, related, floor)
        notes += _notes(content.name, content.regions, joined)
        colours = _colours(whole_picture(1, 1), references[0].regions, content.regions)
        fitted[0] = replace(content, regions=_united(content.regions, joined, colours))
    return [picture.regions for picture in fitted], tuple(notes)


def edit_labels(
    sets: Sequence[MaskSet], merge: Sequence[str], only: Sequence[str], pictures: Sequence[str] = ()
) -> tuple[list[MaskSet], tuple[str, ...]]:
    """Unite labels as the user asks, in all pictures alike. Returns the sets and a note for each label that joined.

    merge: lists like "sky,cloud": the others take the name and the colour of the first, even where a picture lacks it.
    only: names, or lists of them with commas, as they are after merging: all others become one region named "rest".
    pictures: what notes call the pictures. A picture without masks (masks.whole_picture) stays as it is.
    Raises PhotostyleError for a name that no picture has, a list of one, and a name in two lists.
    """
    called = tuple(pictures) or tuple(f"picture {k}" for k in range(1, len(sets) + 1))
    colours = _colours(*reversed([each for each in sets if each.names != WHOLE]))
    groups, kept = _groups(merge, colours), [name for item in only for name in _listed(item)]
    joins = {name: (name, "") for name in colours}
    joins |= {name: (group[0], f"--merge {','.join(group)}") for group in groups for name in group}
    if kept:
        _check_kept(kept, {host for host, _ in joins.values()})
        rest = (REST, f"--only {','.join(kept)}")
        joins = {name: join if join[0] in kept else rest for name, join in joins.items()}
        colours.setdefault(REST, free_colour(GREY, [colours[name] for name in kept]))
    notes: list[str] = []
    edited = []
    for name, regions in zip(called, sets, strict=True):
        joined = [joins.get(label, (label, "")) for label in regions.names]
        notes += _notes(name, regions, joined)
        edited.append(_united(regions, joined, colours | _colours(regions)))
    return edited, tuple(notes)


def free_colour(preferred: Colour, taken: Iterable[Colour]) -> Colour:
    """The preferred colour, or where one like it is taken, a colour far from all that are taken.

    A colour is like another if no channel differs by more than twice LIKE_COLOURS; colours farther apart stay apart in
    a JPEG. The other colour has nine levels per channel: 0, 32, 64, … 224, 255.
    """
    taken = list(taken)
    levels = [min(32 * step, 255) for step in range(9)]
    grid = [(red, green, blue) for red in levels for green in levels for blue in levels]

    def distance(colour: Colour) -> int:
        """To the nearest taken colour: levels in the channel that differs most."""
        return min((max(abs(a - b) for a, b in zip(colour, one, strict=True)) for one in taken), default=256)

    return preferred if distance(preferred) > 2 * LIKE_COLOURS else max(grid, key=distance)


@dataclass(frozen=True, eq=False)
class _Picture:
    """A picture with its regions. small: the labels that joined others in it because they were small."""

    name: str
    photo: Tensor
    regions: MaskSet
    small: Collection[str] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return self.regions.names

    @cached_property
    def shares(self) -> dict[str, float]:
        return _shares(self.regions)

    @cached_property
    def statistics(self) -> dict[str, Gaussian]:
        """The colour statistics of each region, computed only where meaning does not decide."""
        return dict(zip(self.labels, colour_statistics(self.photo, self.regions.masks), strict=True))


def _small_labels(picture: _Picture, related: Mapping[str, Sequence[str]], floor: float) -> Joined:
    large = [label for label in picture.labels if picture.shares[label] >= floor]
    large = large or [max(picture.labels, key=lambda label: (picture.shares[label], label))]

    def distance(label: str, other: str) -> float:
        return wasserstein(picture.statistics[label], picture.statistics[other])

    return [
        (label, "") if label in large else _most_related(label, large, related, distance, _under(floor))
        for label in picture.labels
    ]


def _absent_labels(
    content: _Picture, references: Sequence[_Picture], related: Mapping[str, Sequence[str]], floor: float
) -> Joined:
    common = [label for label in references[0].labels if all(label in each.labels for each in references)]
    if not common:
        return [(WHOLE[0], f"{_listing(references)} have no label in common")] * len(content.labels)

    def distance(label: str, other: str) -> float:
        return sum(wasserstein(content.statistics[label], each.statistics[other]) for each in references)

    return [
        (label, "")
        if label in common
        else _most_related(label, common, related, distance, _why_absent(label, references, floor))
        for label in content.labels
    ]


def _most_related(
    label: str,
    others: Collection[str],
    related: Mapping[str, Sequence[str]],
    distance: Callable[[str, str], float],
    reason: str,
) -> tuple[str, str]:
    """The label to join and why: by meaning, else by colour statistics; of two as near, the first by name."""
    for other in related.get(label, ()):
        if other in others:
            return other, reason
    nearest = min(others, key=lambda other: (distance(label, other), other))
    return nearest, f"{reason}; nearest in colour statistics"


def _why_absent(label: str, references: Sequence[_Picture], floor: float) -> str:
    little = [each for each in references if label in each.small]
    without = [each for each in references if label not in each.labels and label not in each.small]
    reasons = [(without, "none"), (little, _under(floor))]
    return ", ".join(
        f"{_listing(which)} {'has' if len(which) == 1 else 'have'} {what}" for which, what in reasons if which
    )


def _listing(pictures: Sequence[_Picture]) -> str:
    return " and ".join(sorted(picture.name for picture in pictures))


def _under(floor: float) -> str:
    return f"under {100 * floor:g}%"


def _shares(regions: MaskSet) -> dict[str, float]:
    shares = regions.masks.mean((1, 2), dtype=torch.float64).tolist()
    return dict(zip(regions.names, shares, strict=True))


def _colours(*sets: MaskSet) -> dict[str, Colour]:
    """The colour of each label; where sets differ, that of the last."""
    return {name: colour for each in sets for name, colour in zip(each.names, each.colours, strict=True)}


def _united(regions: MaskSet, joined: Joined, colours: Mapping[str, Colour]) -> MaskSet:
    """The regions with the masks of joined labels added up; a region stands where its first part stood."""
    if all(host == label for label, (host, _) in zip(regions.names, joined, strict=True)):
        return regions
    names = tuple(dict.fromkeys(host for host, _ in joined))
    rows = torch.tensor([names.index(host) for host, _ in joined], device=regions.masks.device)
    masks = regions.masks.new_zeros((len(names), *regions.masks.shape[1:])).index_add_(0, rows, regions.masks)
    return replace(regions, masks=masks, names=names, colours=tuple(colours[name] for name in names))


def _notes(picture: str, regions: MaskSet, joined: Joined) -> list[str]:
    """A line for each label that joined another."""
    shares = _shares(regions)
    return [
        f"{label} ({shares[label]:.1%} of {picture}) joins {host}: {reason}"
        for label, (host, reason) in zip(regions.names, joined, strict=True)
        if host != label
    ]


def _listed(item: str) -> list[str]:
    return [name.strip() for name in item.split(",")]


def _groups(merge: Sequence[str], known: Collection[str]) -> list[list[str]]:
    """The lists of --merge, checked."""
    groups = [_listed(item) for item in merge]
    for item, group in zip(merge, groups, strict=True):
        if len(group) < 2:
            raise PhotostyleError(f'--merge is "{item}"; expected two names or more, like sky,cloud')
        for name in group:
            _check_name("--merge", name, known)
    names = [name for group in groups for name in group]
    for name in names:
        if names.count(name) > 1:
            raise PhotostyleError(f"--merge names {name} twice; a label joins one other: name it once")
    return groups


def _check_kept(kept: Sequence[str], known: Collection[str]) -> None:
    for name in kept:
        if name == REST:
            raise PhotostyleError(f"--only names {REST}, which is what all others are called: leave it out")
        _check_name("--only", name, known)


def _check_name(option: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        hint = did_you_mean(name, known, "; did you mean {}?")
        labels = f"the labels are {', '.join(sorted(known))}" if known else "the pictures have no labels"
        raise PhotostyleError(f'{option} names "{name}"; {labels}{hint}')
