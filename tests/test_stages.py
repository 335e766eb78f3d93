"""Which stages a configuration and a photo's size give."""

import pytest

from photostyle.config import Recipe
from photostyle.stages import schedule


def plan(photo=(4000, 6000), **settings):
    return schedule(Recipe(**settings), *photo)


def sides(**settings):
    return [stage.long_side for stage in plan(**settings)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (512, [128, 256, 512]),
        (700, [128, 256, 512, 700]),
        (128, [128]),
        (100, [100]),
        (129, [128, 129]),
        (1024, [128, 256, 512, 1024]),
    ],
)
def test_long_sides_double_from_the_coarsest_up_to_the_size(size, expected):
    assert sides(size=size) == expected


def test_no_stage_is_larger_than_the_photo():
    assert [(s.long_side, s.height, s.width) for s in plan((200, 300), size=512)] == [
        (128, 85, 128),
        (256, 171, 256),
        (300, 200, 300),
    ]
    assert [stage.long_side for stage in plan((60, 40), size=512)] == [60]


def test_the_coarsest_side_is_an_option():
    assert sides(size=512, coarsest=256) == [256, 512]
    assert sides(size=512, coarsest=512) == [512]
    assert sides(size=512, coarsest=4000) == [512]


def test_stages_have_the_photos_aspect():
    assert [(s.height, s.width) for s in plan((6000, 4000))] == [(128, 85), (256, 171), (512, 341)]


def test_the_last_number_of_iterations_serves_all_further_stages():
    assert [stage.iterations for stage in plan(size=2048, iterations=(9, 5))] == [9, 5, 5, 5, 5]
    assert [stage.iterations for stage in plan(size=256, iterations=(9, 5, 3))] == [9, 5]


def test_zero_iterations_give_no_stage():
    assert plan(iterations=(0,)) == ()
    skipped = plan(size=512, iterations=(0, 7, 3))
    assert [(s.number, s.long_side, s.iterations) for s in skipped] == [(0, 256, 7), (1, 512, 3)]


def test_a_first_pass_goes_before_without_photorealism_at_the_same_size():
    stages = plan(size=700, coarsest=700, first_pass=1000, iterations=(900,))
    assert [(s.number, s.long_side, s.iterations, s.photorealism) for s in stages] == [
        (0, 700, 1000, False),
        (1, 700, 900, True),
    ]
    assert [s.photorealism for s in plan(first_pass=3, iterations=(0,))] == [False]
    assert all(s.photorealism for s in plan())


def test_a_schedule_is_a_value():
    assert plan(size=512) == plan(size=512) and hash(plan(size=512))
