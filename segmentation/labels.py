"""Which labels are kept apart: those that are large enough, and that the user wants. And which are partners.

A label is never dropped. It joins another, and their masks are added, so every pixel keeps what it had. Luan et al.
2017 (section 3) restrict the labels of the content to those of the reference: without a partner a region has no style
to take. Here a partner is found for it where there is one.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from photostyle.errors import PhotostyleError, did_you_mean
from photostyle.files.legends import Colour
from photostyle.files.masks import MaskSet
from photostyle.files.palettes import LIKE_COLOURS
from photostyle.regions.guidance import WHOLE, Gaussian, colour_statistics, wasserstein

# A segment under 2 % of its picture joins the best related one that has more: min_ratio of self_remapping in the
# released code of Li et al., "A Closed-form Solution to Photorealistic Image Stylization" (ECCV 2018).
FLOOR = 0.02

# ΔE between the colour statistics of two regions that look like one. With 20, 30 and 50 regions of one of the 12
# published photographs were lost that painters keep.
ALIKE = 10.0

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
    """Unite labels until each is large enough, find partners for those that no reference has. Returns sets and notes.

    sets: the regions of the content, then those of its references, if any. photos: (3, H, W) each, sRGB in [0, 1], at
    the size of their masks. related: for each label those that it may join, nearest in meaning first. floor: the least
    share of its picture, 0 to 1, with which a label is kept apart. pictures: what notes call the pictures.

    * A label under the floor joins the first of its related labels in the same picture that is not under it. Where
      there is none, it joins the nearest in colour statistics (`guidance`). Where all are under it, they join the
      largest.
    * A content label that no reference has gets as its partner, in each reference, a related label that the content
      lacks: that one takes its name and colour. A lake is then styled by the one street there is.
    * Where there is none, it joins the first of its related labels that has a partner, if the two are ALIKE in the
      content. Else it stays a region, whose partner the pairing finds by colour statistics (`guidance`). To join it to
      others whatever they look like cost more than all mistakes of a network: mean IoU with the painted content
      photographs of experiment 006 0.64, so 0.71, and 0.71 before anything was united.

    Labels of the same name are one; its colour is the content's, else the first reference's. Other labels that only
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
        fitted.append(replace(picture, regions=large))
    content, references = fitted[0], [picture for picture in fitted[1:] if picture.labels != WHOLE]
    if references and content.labels != WHOLE:
        for k, picture in enumerate(fitted[1:], 1):
            if picture in references:
                stands = _stand_ins(content, picture, references, related)
                notes += _stand_in_notes(content, picture, stands)
                fitted[k] = replace(
                    picture, regions=_renamed(picture.regions, stands, _colours(content.regions))
                )
        having = {name for picture in fitted[1:] for name in picture.labels if picture.labels != WHOLE}
        fitted[0], more = _joined_to_alike(content, having, related, references)
        notes += more
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
    """A picture with its regions."""

    name: str
    photo: Tensor
    regions: MaskSet

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


def _stand_ins(
    content: _Picture,
    reference: _Picture,
    references: Sequence[_Picture],
    related: Mapping[str, Sequence[str]],
) -> dict[str, str]:
    """For labels of a reference that the content lacks, the content's labels that they become: one each.

    Nearest in meaning first, in the table of either; of two as near, nearest in colour statistics.
    """
    absent = [name for name in content.labels if not any(name in each.labels for each in references)]
    free = [name for name in reference.labels if name not in content.labels]

    def rank(ours: str, theirs: str) -> tuple[int, float, str, str]:
        near, back = related.get(ours, ()), related.get(theirs, ())
        meaning = list(near).index(theirs) if theirs in near else len(near) + list(back).index(ours)
        distance = wasserstein(content.statistics[ours], reference.statistics[theirs])
        return meaning, distance, ours, theirs

    couples = [(ours, theirs) for ours in absent for theirs in free]
    couples = [(a, b) for a, b in couples if b in related.get(a, ()) or a in related.get(b, ())]
    found: dict[str, str] = {}
    for ours, theirs in sorted(couples, key=lambda couple: rank(*couple)):
        if theirs not in found and ours not in found.values():
            found[theirs] = ours
    return found


def _stand_in_notes(content: _Picture, reference: _Picture, stands: Mapping[str, str]) -> list[str]:
    return [
        f"{theirs} ({reference.shares[theirs]:.1%} of {reference.name}) stands for {ours} "
        f"({content.shares[ours]:.1%} of {content.name})"
        for theirs, ours in stands.items()
    ]


def _renamed(regions: MaskSet, names: Mapping[str, str], colours: Mapping[str, Colour]) -> MaskSet:
    if not names:
        return regions
    now = tuple(names.get(name, name) for name in regions.names)
    shown = (
        colours[new] if new != old else colour
        for old, new, colour in zip(regions.names, now, regions.colours, strict=True)
    )
    # Related is not the same thing: a bedroom's wall that stands for a sky is no sky, however sure the wall is.
    sure = tuple(
        0.0 if old in names else each for old, each in zip(regions.names, regions.confidence, strict=False)
    )
    return replace(regions, names=now, colours=tuple(shown), confidence=sure)


def _joined_to_alike(
    content: _Picture,
    having: Collection[str],
    related: Mapping[str, Sequence[str]],
    references: Sequence[_Picture],
) -> tuple[_Picture, list[str]]:
    """Labels without a partner joined, one at a time and the likest first, to related ones with one that are ALIKE."""
    notes: list[str] = []
    while True:
        hosts = {
            label: next(
                (name for name in related.get(label, ()) if name in having and name in content.labels), None
            )
            for label in content.labels
            if label not in having
        }
        distances = [
            (wasserstein(content.statistics[label], content.statistics[host]), label, host)
            for label, host in hosts.items()
            if host
        ]
        if not distances or min(distances)[0] > ALIKE:
            return content, notes
        _, lost, host = min(distances)
        has = f"{_listing(references)} {'has' if len(references) == 1 else 'have'} none"
        joined = [
            (host, f"{has}, and they look alike") if name == lost else (name, "") for name in content.labels
        ]
        notes += _notes(content.name, content.regions, joined)
        content = replace(content, regions=_united(content.regions, joined, _colours(content.regions)))


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
    # As sure as its parts are by the share that they cover: a trace that joined makes nothing doubtful.
    parts = regions.masks.new_zeros(len(names)).index_add_(0, rows, _weighted(regions))
    sure = (parts / masks.sum((1, 2)).clamp(min=1e-12)).tolist()
    return replace(
        regions,
        masks=masks,
        names=names,
        colours=tuple(colours[name] for name in names),
        confidence=tuple(sure) if regions.confidence else (),
    )


def _weighted(regions: MaskSet) -> Tensor:
    """(K,): confidence times pixels; zeros where no confidence is known."""
    sure = regions.masks.new_tensor(regions.confidence or [0.0] * len(regions.names))
    return regions.masks.sum((1, 2)) * sure


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
