"""Labels join until each is large enough and has a partner, or as the user asks; no pixel is lost."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.files.masks import MaskSet, whole_picture
from photostyle.files.palettes import LIKE_COLOURS
from photostyle.regions.guidance import pair_regions
from segmentation.labels import FLOOR, GREY, edit_labels, fit_labels, free_colour

HEIGHT, WIDTH = 20, 50  # 1000 pixels: a share of 0.1 % is one

COLOURS = {
    "sky": (120, 180, 255),
    "cloud": (230, 230, 230),
    "water": (20, 60, 160),
    "ground": (180, 100, 40),
    "vegetation": (40, 140, 40),
    "person": (200, 40, 160),
}
# What the pictures show under each label: colours nobody would confuse.
SHOWN = {
    "sky": (0.6, 0.75, 0.95),
    "cloud": (0.9, 0.9, 0.9),
    "water": (0.1, 0.3, 0.4),
    "ground": (0.7, 0.5, 0.3),
    "vegetation": (0.2, 0.5, 0.1),
    "person": (0.8, 0.6, 0.5),
}
RELATED = {
    "vegetation": ("person", "ground", "water"),
    "ground": ("vegetation",),
    "water": ("sky", "ground"),
    "cloud": ("sky",),
    "sky": ("cloud", "water"),
}

Scene = tuple[MaskSet, Tensor]


def picture(shown: Mapping[str, tuple[float, float, float]] = SHOWN, **shares: float) -> Scene:
    """Regions of these shares, one after another in reading order, and a photo of their flat colours."""
    counts = [round(share * HEIGHT * WIDTH) for share in shares.values()]
    assert sum(counts) == HEIGHT * WIDTH
    label = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).view(HEIGHT, WIDTH)
    masks = torch.nn.functional.one_hot(label, len(counts)).permute(2, 0, 1).float()
    photo = torch.tensor([shown[name] for name in shares])[label].permute(2, 0, 1)
    return MaskSet(masks, tuple(shares), tuple(COLOURS[name] for name in shares), True, "", ()), photo


def fit(
    *scenes: Scene,
    related: Mapping[str, Sequence[str]] = RELATED,
    pictures: Sequence[str] = ("photo.jpg", "sunset.jpg", "dusk.jpg"),
) -> tuple[list[MaskSet], tuple[str, ...]]:
    """Fit, and check what must hold whatever was given."""
    sets, photos = [regions for regions, _ in scenes], [photo for _, photo in scenes]
    fitted, notes = fit_labels(sets, photos, related, pictures=pictures[: len(scenes)])
    assert len(fitted) == len(sets)
    for before, after in zip(sets, fitted, strict=True):
        assert len(after.names) == len(set(after.names)) == len(after.colours) == len(after.masks) >= 1
        torch.testing.assert_close(after.masks.sum(0), before.masks.sum(0))
    again, more = fit_labels(fitted, photos, related, pictures=pictures[: len(scenes)])
    assert more == ()
    for one, other in zip(fitted, again, strict=True):
        assert one.names == other.names and torch.equal(one.masks, other.masks)
    return fitted, notes


def untouched(sets: Sequence[MaskSet], *scenes: Scene) -> bool:
    return all(after is before for after, (before, _) in zip(sets, scenes, strict=True))


def shares(regions: MaskSet) -> dict[str, float]:
    values = regions.masks.mean((1, 2)).tolist()
    return {name: round(value, 4) for name, value in zip(regions.names, values, strict=True)}


# small labels


def test_labels_that_are_large_and_shared_stay_as_they_are() -> None:
    content, reference = picture(sky=0.5, ground=0.5), picture(ground=0.9, sky=0.1)
    fitted, notes = fit(content, reference)
    assert untouched(fitted, content, reference) and notes == ()


def test_a_small_label_joins_the_first_related_one_that_is_there() -> None:
    # Of person, ground, water: no person, and the ground is there, though water is nearer in colour.
    ((regions,), notes) = fit(picture(sky=0.5, vegetation=0.012, water=0.2, ground=0.288))
    assert shares(regions) == {"sky": 0.5, "ground": 0.3, "water": 0.2}
    assert regions.colours == tuple(COLOURS[name] for name in ("sky", "ground", "water"))
    assert notes == ("vegetation (1.2% of photo.jpg) joins ground: under 2%",)


def test_a_small_label_does_not_join_another_small_one() -> None:
    ((regions,), notes) = fit(picture(sky=0.5, vegetation=0.012, person=0.015, water=0.473))
    assert set(shares(regions)) == {"sky", "water"}
    assert notes[0] == "vegetation (1.2% of photo.jpg) joins water: under 2%"


def test_a_small_label_without_relatives_joins_the_nearest_in_colour() -> None:
    ((regions,), notes) = fit(picture(sky=0.5, person=0.015, water=0.2, ground=0.285))
    assert shares(regions) == {"sky": 0.5, "ground": 0.3, "water": 0.2}
    assert notes == ("person (1.5% of photo.jpg) joins ground: under 2%; nearest in colour statistics",)


def test_the_floor_itself_is_enough() -> None:
    ((regions,), notes) = fit(picture(sky=FLOOR, ground=1 - FLOOR))
    assert regions.names == ("sky", "ground") and notes == ()
    ((regions,), _) = fit(picture(sky=FLOOR - 0.001, ground=1.001 - FLOOR))
    assert regions.names == ("ground",)


def test_the_floor_is_the_caller_s() -> None:
    regions, photo = picture(sky=0.2, ground=0.8)
    fitted, notes = fit_labels([regions], [photo], RELATED, floor=0.25)
    assert fitted[0].names == ("ground",)
    assert notes == ("sky (20.0% of the content) joins ground: under 25%; nearest in colour statistics",)


def test_where_all_are_small_they_join_the_largest() -> None:
    regions, photo = picture(sky=0.3, water=0.4, ground=0.3)
    faint = replace(regions, masks=regions.masks * 0.04)
    ((fitted,), notes) = fit((faint, photo))
    assert shares(fitted) == {"water": 0.04} and len(notes) == 2


def test_soft_masks_are_added() -> None:
    regions, photo = picture(sky=0.5, cloud=0.5)
    masks = torch.stack((torch.full((HEIGHT, WIDTH), 0.99), torch.full((HEIGHT, WIDTH), 0.01)))
    ((fitted,), _) = fit((replace(regions, masks=masks), photo))
    torch.testing.assert_close(fitted.masks, torch.ones(1, HEIGHT, WIDTH))


# labels that a reference lacks


def test_a_related_label_of_the_reference_stands_for_one_that_it_lacks() -> None:
    content, reference = picture(vegetation=0.6, sky=0.4), picture(sky=0.5, ground=0.5)
    fitted, notes = fit(content, reference)
    assert untouched(fitted[:1], content)
    assert fitted[1].names == ("sky", "vegetation")
    assert fitted[1].colours == (COLOURS["sky"], COLOURS["vegetation"])
    assert torch.equal(fitted[1].masks, reference[0].masks)
    assert notes == ("ground (50.0% of sunset.jpg) stands for vegetation (60.0% of photo.jpg)",)


def test_a_stand_in_is_not_sure_to_be_the_same_thing() -> None:
    reference, photo = picture(sky=0.5, ground=0.5)
    sure = replace(reference, confidence=(0.9, 0.8))
    fitted, _ = fit(picture(vegetation=0.6, sky=0.4), (sure, photo))
    assert dict(zip(fitted[1].names, fitted[1].confidence, strict=True)) == {"sky": 0.9, "vegetation": 0.0}


def test_one_label_stands_for_one_and_the_nearest_in_meaning_takes_it() -> None:
    # Water is related to sky before ground, the ground to vegetation alone.
    content = picture(water=0.3, vegetation=0.3, person=0.4)
    fitted, _ = fit(content, picture(sky=0.5, ground=0.5))
    assert fitted[1].names == ("water", "vegetation")
    # "cloud" names the sky, which does not name it: either table is enough.
    fitted, _ = fit(picture(sky=0.5, ground=0.5), picture(cloud=0.5, ground=0.5))
    assert fitted[1].names == ("sky", "ground")


def test_a_label_that_the_content_has_too_stands_for_no_other() -> None:
    content, reference = picture(cloud=0.5, sky=0.5), picture(sky=0.5, ground=0.5)
    fitted, notes = fit(content, reference)
    assert untouched(fitted, content, reference) and notes == ()


def test_without_a_stand_in_it_joins_a_related_one_that_looks_like_it() -> None:
    alike = SHOWN | {"cloud": SHOWN["sky"]}
    content, reference = picture(alike, cloud=0.3, sky=0.3, ground=0.4), picture(sky=0.5, ground=0.5)
    fitted, notes = fit(content, reference)
    assert shares(fitted[0]) == {"sky": 0.6, "ground": 0.4}
    assert notes == ("cloud (30.0% of photo.jpg) joins sky: sunset.jpg has none, and they look alike",)
    both = fit(content, reference, reference, pictures=("photo.jpg", "sunset.jpg", "dusk.jpg"))[1]
    assert both == (
        "cloud (30.0% of photo.jpg) joins sky: dusk.jpg and sunset.jpg have none, and they look alike",
    )


def test_else_it_stays_and_the_pairing_finds_its_partner() -> None:
    content, reference = picture(person=0.3, water=0.7), picture(sky=0.3, water=0.4, ground=0.3)
    fitted, notes = fit(content, reference)
    assert untouched(fitted, content, reference) and notes == ()
    paired = pair_regions(content[1], fitted[0], reference[1], fitted[1])
    assert [pair.partner for pair in paired.pairs] == ["ground", "water"]  # by colour


def test_a_label_too_small_in_the_reference_is_not_in_it() -> None:
    fitted, notes = fit(picture(sky=0.5, ground=0.5), picture(ground=0.79, sky=0.01, cloud=0.2))
    assert notes[0] == "sky (1.0% of sunset.jpg) joins cloud: under 2%"
    assert fitted[1].names == ("ground", "sky")  # the cloud, which has taken the little sky
    assert shares(fitted[1]) == {"ground": 0.79, "sky": 0.21}


def test_the_content_keeps_the_labels_that_any_reference_has() -> None:
    content = picture(sky=0.25, water=0.25, ground=0.25, vegetation=0.25)
    first, second = picture(sky=0.3, water=0.3, ground=0.4), picture(vegetation=0.3, sky=0.3, ground=0.4)
    fitted, notes = fit(content, first, second)
    assert untouched(fitted, content, first, second) and notes == ()


def test_each_reference_has_stand_ins_of_its_own() -> None:
    content = picture(vegetation=0.5, sky=0.5)
    fitted, _ = fit(content, picture(ground=0.5, sky=0.5), picture(water=0.5, sky=0.5))
    assert fitted[1].names == fitted[2].names == ("vegetation", "sky")


def test_a_united_label_is_as_sure_as_its_parts_by_their_shares() -> None:
    content, photo = picture(sky=0.49, cloud=0.01, ground=0.5)
    fitted, _ = fit((replace(content, confidence=(0.9, 0.4, 0.8)), photo))
    found = dict(zip(fitted[0].names, fitted[0].confidence, strict=True))
    assert found == pytest.approx({"sky": (0.49 * 0.9 + 0.01 * 0.4) / 0.5, "ground": 0.8})


def test_a_picture_without_masks_has_no_labels_and_lacks_none() -> None:
    labelled, whole = picture(sky=0.5, ground=0.5), (whole_picture(HEIGHT, WIDTH), picture(sky=1)[1])
    for scenes in ((labelled, whole), (whole, labelled), (labelled, whole, labelled), (whole, whole)):
        fitted, notes = fit(*scenes)
        assert untouched(fitted, *scenes) and notes == ()


def test_every_label_of_the_content_then_finds_itself() -> None:
    content = picture(sky=0.3, cloud=0.2, vegetation=0.199, person=0.001, water=0.3)
    reference = picture(ground=0.4, sky=0.3, water=0.3)
    fitted, _ = fit(content, reference)
    paired = pair_regions(content[1], fitted[0], reference[1], fitted[1])
    reasons = {pair.name: pair.reason for pair in paired.pairs}
    assert reasons.pop("cloud").startswith("not in the style's mask")  # it looks unlike the sky
    assert set(reasons.values()) == {"same label"}


# properties


@st.composite
def pictures(draw: st.DrawFn) -> Scene:
    """Soft masks of a few labels, large and small, that may leave a part of each pixel in no region."""
    names = draw(st.lists(st.sampled_from(sorted(COLOURS)), min_size=1, max_size=5, unique=True))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    size = torch.tensor(draw(st.lists(st.sampled_from([0.02, 1.0, 30.0]), min_size=6, max_size=6)))
    masks = torch.rand(6, 6, 8, generator=generator) * size[:, None, None]
    masks = (masks / masks.sum(0))[: len(names)]  # the others of the six are the part in no region
    photo = torch.rand(3, 6, 8, generator=generator)
    return MaskSet(masks, tuple(names), tuple(COLOURS[name] for name in names), True, "", ()), photo


@given(scenes=st.lists(pictures(), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_what_is_kept_apart_is_large_and_no_name_is_new(scenes: list[Scene]) -> None:
    fitted, notes = fit(*scenes)  # conserves every pixel, and a second time changes nothing
    for before, after in zip((regions for regions, _ in scenes), fitted, strict=True):
        if len(after.names) > 1:
            assert min(after.masks.mean((1, 2))) >= FLOOR - 1e-6
        known = set(before.names) | set(scenes[0][0].names)
        assert set(after.names) <= known
    changed = [
        set(regions.names) - set(after.names) for (regions, _), after in zip(scenes, fitted, strict=True)
    ]
    assert len(notes) >= sum(map(len, changed))


@given(scenes=st.lists(pictures(), min_size=1, max_size=3), seed=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
@pytest.mark.slow
def test_the_order_of_labels_and_of_references_changes_nothing_else(
    scenes: list[Scene], seed: random.Random
) -> None:
    called = ("photo.jpg", "sunset.jpg", "dusk.jpg")[: len(scenes)]
    expected, notes = fit(*scenes, pictures=called)
    order = list(range(1, len(scenes)))
    seed.shuffle(order)
    order = [0, *order]
    shuffled = []
    for regions, photo in (scenes[k] for k in order):
        rows = list(range(len(regions.names)))
        seed.shuffle(rows)
        shuffled.append((reordered(regions, rows), photo))
    found, said = fit(*shuffled, pictures=[called[k] for k in order])
    assert sorted(said) == sorted(notes)
    for k, regions in zip(order, found, strict=True):
        assert sorted(regions.names) == sorted(expected[k].names)
        back = reordered(regions, [regions.names.index(name) for name in expected[k].names])
        assert back.colours == expected[k].colours
        torch.testing.assert_close(back.masks, expected[k].masks)


def reordered(regions: MaskSet, rows: Sequence[int]) -> MaskSet:
    rows = list(rows)
    names, colours = tuple(regions.names[k] for k in rows), tuple(regions.colours[k] for k in rows)
    return replace(regions, masks=regions.masks[rows], names=names, colours=colours)


def test_as_many_photos_as_sets_are_needed() -> None:
    regions, photo = picture(sky=1)
    for sets, photos in (([], []), ([regions], []), ([regions], [photo, photo])):
        with pytest.raises(ValueError, match="expected one each"):
            fit_labels(sets, photos, RELATED)


# what the user asks


def edit(
    *scenes: Scene, merge: Sequence[str] = (), only: Sequence[str] = ()
) -> tuple[list[MaskSet], tuple[str, ...]]:
    sets = [regions for regions, _ in scenes]
    edited, notes = edit_labels(sets, merge, only, ("photo.jpg", "sunset.jpg")[: len(sets)])
    for before, after in zip(sets, edited, strict=True):
        assert len(after.names) == len(set(after.names)) == len(after.colours) == len(after.masks) >= 1
        torch.testing.assert_close(after.masks.sum(0), before.masks.sum(0))
    return edited, notes


def refused(*scenes: Scene, merge: Sequence[str] = (), only: Sequence[str] = (), says: str) -> None:
    with pytest.raises(PhotostyleError) as caught:
        edit(*scenes, merge=merge, only=only)
    assert str(caught.value) == says


SCENE = picture(sky=0.3, cloud=0.2, ground=0.1, vegetation=0.4)


def test_without_a_wish_nothing_changes() -> None:
    edited, notes = edit(SCENE)
    assert untouched(edited, SCENE) and notes == ()


def test_merged_labels_are_one_under_the_first_name() -> None:
    for merge, names in (
        (["sky,cloud"], ("sky", "ground", "vegetation")),
        ([" cloud , sky "], ("cloud", "ground", "vegetation")),
    ):
        ((regions,), notes) = edit(SCENE, merge=merge)
        assert regions.names == names
        assert regions.colours == tuple(COLOURS[name] for name in names)
        assert torch.equal(regions.masks[0], SCENE[0].masks[:2].sum(0))
    assert notes == ("sky (30.0% of photo.jpg) joins cloud: --merge cloud,sky",)


def test_several_lists_are_several_regions() -> None:
    ((regions,), notes) = edit(SCENE, merge=["sky,cloud", "vegetation,ground"])
    assert shares(regions) == {"sky": 0.5, "vegetation": 0.5} and len(notes) == 2


def test_a_picture_without_the_first_name_takes_it_with_its_colour() -> None:
    other = picture(sky=1)
    edited, notes = edit(picture(cloud=0.4, ground=0.6), other, merge=["sky,cloud"])
    assert edited[0].names == ("sky", "ground") and edited[0].colours[0] == COLOURS["sky"]
    assert untouched(edited[1:], other)
    assert notes == ("cloud (40.0% of photo.jpg) joins sky: --merge sky,cloud",)


def test_a_picture_s_own_colours_come_first_then_the_first_picture_s() -> None:
    def scene(dark: int, **shares: float) -> Scene:
        regions, photo = picture(**shares)
        return replace(regions, colours=tuple((dark, 0, row) for row in range(len(shares)))), photo

    pictures = [scene(1, cloud=0.5, ground=0.5), scene(2, sky=1), scene(3, cloud=0.5, sky=0.5)]
    edited, _ = edit_labels([regions for regions, _ in pictures], ["sky,cloud"], [])
    assert [regions.colours for regions in edited] == [((2, 0, 0), (1, 0, 1)), ((2, 0, 0),), ((3, 0, 1),)]


def test_only_keeps_some_and_unites_the_rest() -> None:
    for only in (["sky", "ground"], ["sky, ground"], ["ground", "sky", "sky"]):
        ((regions,), notes) = edit(SCENE, only=only)
        assert shares(regions) == {"sky": 0.3, "rest": 0.6, "ground": 0.1}
        assert regions.colours == (COLOURS["sky"], GREY, COLOURS["ground"])
    assert notes[0] == "cloud (20.0% of photo.jpg) joins rest: --only ground,sky,sky"


def test_only_speaks_of_the_labels_after_merging() -> None:
    ((regions,), notes) = edit(SCENE, merge=["sky,cloud"], only=["sky"])
    assert shares(regions) == {"sky": 0.5, "rest": 0.5}
    assert notes == (
        "cloud (20.0% of photo.jpg) joins sky: --merge sky,cloud",
        "ground (10.0% of photo.jpg) joins rest: --only sky",
        "vegetation (40.0% of photo.jpg) joins rest: --only sky",
    )
    refused(
        SCENE,
        merge=["sky,cloud"],
        only=["cloud"],
        says='--only names "cloud"; the labels are ground, sky, vegetation',
    )


def test_only_a_second_time_changes_nothing() -> None:
    ((once,), _) = edit(SCENE, only=["sky"])
    ((twice,), notes) = edit((once, SCENE[1]), only=["sky"])
    assert twice is once and notes == ()


def test_the_rest_has_one_colour_in_all_pictures_and_no_region_s() -> None:
    grey = replace(SCENE[0], colours=(GREY, *SCENE[0].colours[1:]))
    edited, _ = edit((grey, SCENE[1]), picture(water=1), only=["sky"])
    assert edited[0].names == ("sky", "rest") and edited[1].names == ("rest",)
    assert edited[0].colours[1] == edited[1].colours[0] != GREY


def test_a_name_that_one_of_the_pictures_has_is_known() -> None:
    edited, _ = edit(SCENE, picture(water=0.5, person=0.5), only=["sky", "water"])
    assert [set(regions.names) for regions in edited] == [{"sky", "rest"}, {"water", "rest"}]


def test_a_picture_without_masks_stays_one() -> None:
    whole = (whole_picture(HEIGHT, WIDTH), SCENE[1])
    edited, _ = edit(SCENE, whole, only=["sky"])
    assert untouched(edited[1:], whole)
    refused(whole, only=["all"], says='--only names "all"; the pictures have no labels')


def test_what_cannot_be_is_refused_in_one_line() -> None:
    labels = "the labels are cloud, ground, sky, vegetation"
    refused(SCENE, merge=["sky,clouds"], says=f'--merge names "clouds"; {labels}; did you mean cloud?')
    refused(SCENE, only=["Sky"], says=f'--only names "Sky"; {labels}; did you mean sky?')
    refused(SCENE, only=["xyz"], says=f'--only names "xyz"; {labels}')
    refused(SCENE, merge=["sky"], says='--merge is "sky"; expected two names or more, like sky,cloud')
    refused(SCENE, merge=["sky,"], says=f'--merge names ""; {labels}')
    refused(
        SCENE,
        merge=["sky,cloud", "ground,cloud"],
        says="--merge names cloud twice; a label joins one other: name it once",
    )
    refused(SCENE, merge=["sky,sky"], says="--merge names sky twice; a label joins one other: name it once")
    refused(SCENE, only=["rest"], says="--only names rest, which is what all others are called: leave it out")


@pytest.mark.parametrize("rows", list(permutations(range(4))))
def test_the_order_of_labels_changes_only_that_of_the_regions(rows: tuple[int, ...]) -> None:
    ((expected,), _) = edit(SCENE, merge=["sky,cloud"], only=["sky", "ground"])
    ((found,), _) = edit((reordered(SCENE[0], rows), SCENE[1]), merge=["sky,cloud"], only=["sky", "ground"])
    back = reordered(found, [found.names.index(name) for name in expected.names])
    assert back.colours == expected.colours and torch.equal(back.masks, expected.masks)


@given(taken=st.lists(st.tuples(*[st.integers(0, 255)] * 3), max_size=30))
def test_a_free_colour_is_like_none_that_is_taken(taken: list[tuple[int, int, int]]) -> None:
    colour = free_colour(GREY, taken)
    # Less than 32 levels from a colour lie at most 2³ of the 9³ grid points: 30 colours leave some.
    for other in taken:
        assert max(abs(a - b) for a, b in zip(colour, other, strict=True)) >= 2 * LIKE_COLOURS
    far = [max(abs(a - b) for a, b in zip(GREY, other, strict=True)) > 2 * LIKE_COLOURS for other in taken]
    assert (colour == GREY) == all(far)
