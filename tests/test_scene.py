"""A scene holds what belongs together, and is looked at in the sizes of its stages."""

import pytest
import torch
from torch import Tensor

from photostyle.errors import PhotostyleError
from photostyle.regions.mixture import Reference
from photostyle.scene import LEAST_SIDE, Scene, Stage, at_stage, reduced
from photostyle.solver import restrained


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(612))


def reference(height: int, width: int, regions: int = 1) -> Reference:
    return Reference(
        noise(3, height, width), torch.ones(regions, height, width) / regions, torch.ones(regions)
    )


def test_without_masks_each_picture_is_one_region():
    scene = Scene.of(noise(3, 20, 30), noise(3, 24, 18))
    assert torch.equal(scene.content_masks, torch.ones(1, 20, 30))
    assert torch.equal(scene.style_masks, torch.ones(1, 24, 18))


@pytest.mark.parametrize(
    ("content", "masks", "references", "said"),
    [
        ((1, 20, 30), (1, 20, 30), (reference(20, 30),), "the content is .*; expected"),
        ((3, 20, 30), (1, 20, 29), (reference(20, 30),), "the masks of the content are"),
        ((3, 20, 30), (0, 20, 30), (reference(20, 30),), "the masks of the content are"),
        ((3, 20, 30), (1, 20, 30), (), "no reference"),
        (
            (3, 20, 30),
            (2, 20, 30),
            (reference(20, 30, 2), reference(9, 9)),
            "reference 2 has 1 masks .* content 2",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused(content, masks, references, said):
    with pytest.raises(PhotostyleError, match=said):
        Scene(noise(*content), noise(*masks), references)


def test_at_a_stage_the_photo_has_its_size_and_the_reference_its_long_side():
    scene = Scene.of(noise(3, 60, 90), noise(3, 80, 40), noise(2, 60, 90) / 2, noise(2, 80, 40) / 2)
    small = at_stage(scene, Stage(0, 48, 32, 48, 1, True))
    assert small.content.shape == (3, 32, 48) and small.content_masks.shape == (2, 32, 48)
    assert small.style.shape == (3, 48, 24) and small.style_masks.shape == (2, 48, 24)
    # Each region keeps its share of the picture.
    torch.testing.assert_close(
        small.content_masks.mean((1, 2)), scene.content_masks.mean((1, 2)), rtol=0, atol=1e-5
    )


def test_a_reference_is_never_enlarged():
    scene = Scene.of(noise(3, 60, 90), noise(3, 20, 30))
    assert torch.equal(at_stage(scene, Stage(0, 90, 60, 90, 1, True)).style, scene.style)


def test_a_narrow_reference_stays_wide_enough_for_patches():
    small = at_stage(Scene.of(noise(3, 60, 90), noise(3, 400, 40)), Stage(0, 48, 32, 48, 1, True))
    assert small.style.shape == (3, 10 * LEAST_SIDE, LEAST_SIDE)


def test_a_reduced_reference_keeps_its_weights():
    found = reduced(reference(40, 60, 2), 30)
    assert found.image.shape == (3, 20, 30) and found.masks.shape == (2, 20, 30)
    assert torch.equal(found.weights, torch.ones(2))


def test_a_scene_moves_with_what_holds_it_back() -> None:
    photo = torch.rand(3, 20, 30)
    scene = restrained(Scene.of(photo, photo), torch.zeros(1).double(), 0).to("meta")
    assert scene.restraint is not None and scene.restraint.maps.device.type == "meta"
