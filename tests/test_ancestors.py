"""The programs that this field starts from: their numbers, and that the presets compute what those programs compute.

The oracles here are the programs themselves, written once more in the few lines that they have.
"""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from vgg import narrow_vgg

from experiments.kinds import defects
from photostyle.config import Recipe
from photostyle.errors import PhotostyleError
from photostyle.imaging.filters import IMAGENET_DEVIATION, IMAGENET_MEAN, resize
from photostyle.losses.encoders import CAFFE_MEAN, CAFFE_SCALE, Encoder, for_caffe_input
from photostyle.losses.variation import summed_variation, variation_loss
from photostyle.losses.weights import BLOCKS
from photostyle.objective import Objective, feature_layers
from photostyle.optimisers import optimise
from photostyle.presets import PRESETS, configure, recipe
from photostyle.regions.guidance import carry_masks
from photostyle.regions.mixture import alone
from photostyle.scene import Scene, Stage, at_stage
from photostyle.stages import schedule
from photostyle.validate import check_recipe

STAGE = Stage(number=0, long_side=64, height=48, width=64, iterations=10, photorealism=True)
FIRST = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")


@pytest.fixture(scope="module")
def scene(coffee: Tensor, chelsea: Tensor) -> Scene:
    """Two photographs, the first one's sides even through four pools."""
    return Scene.of(resize(coffee, 48, 64), resize(chelsea, 48, 64))


@pytest.fixture(scope="module")
def regions(coffee: Tensor, chelsea: Tensor) -> Scene:
    """Two regions, a quarter and three quarters of the photo, a half each of the reference."""
    ours, theirs = torch.zeros(2, 48, 64), torch.zeros(2, 48, 64)
    ours[0, :, :16], ours[1, :, 16:], theirs[0, :32], theirs[1, 32:] = 1, 1, 1, 1
    return Scene(resize(coffee, 48, 64), ours, alone(resize(chelsea, 48, 64), theirs))


def terms(settings: Recipe, scene: Scene, state: dict[str, Tensor], image: Tensor) -> dict[str, float]:
    """The recipe's terms of an image, layers added up."""
    encoder = Encoder(
        state,
        settings.encoder,
        layers=feature_layers(settings),
        pooling=settings.pooling,
        network_input=settings.network_input,
    )
    totals: dict[str, float] = {}
    for name, value in Objective(settings, STAGE, scene, encoder)(image).items():
        totals[name.split()[0]] = totals.get(name.split()[0], 0.0) + value.item()
    return totals


# VGG-19 in Keras


def caffe(image: Tensor) -> Tensor:
    """keras.applications.vgg19.preprocess_input of a picture (3, H, W) in [0, 1]."""
    means = torch.tensor((103.939, 116.779, 123.68))[:, None, None]
    return 255 * image.flip(0) - means


def keras_vgg19(x: Tensor, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """ "block1_conv1" … "block5_conv4" of a network input (3, H, W), each with its ReLU as Keras has it."""
    outputs, position = {}, 0
    for block, depth in enumerate((2, 2, 4, 4, 4), 1):
        for number in range(1, depth + 1):
            x = F.conv2d(
                x, state[f"features.{position}.weight"], state[f"features.{position}.bias"], padding=1
            )
            outputs[f"block{block}_conv{number}"] = x = F.relu(x)
            position += 2
        x, position = F.max_pool2d(x, 2), position + 1
    return outputs


def test_the_keras_preset_has_the_programs_numbers() -> None:
    found = configure("gatys-vgg19", content="c.jpg", style="s.jpg")
    assert found.encoder == "vgg19" and found.network_input == "caffe" and found.pooling == "max"
    assert CAFFE_MEAN == (103.939, 116.779, 123.68)
    assert found.content_layers == ("relu5_2",)  # block5_conv2
    assert found.style_layers == ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    assert found.style_layer_weights == (1 / 5,) * 5 and found.gram_over == "positions"
    assert (found.content_weight, found.gram_weight) == (1e3, 1e-2)
    assert found.optimiser == "adam" and not found.rate_decay and not found.weight_decay
    assert found.learning_rate * 255 == pytest.approx(2) and found.adam_epsilon / 255 == pytest.approx(0.1)
    assert found.moments == (0.99, 0.999)
    assert found.iterations == (100,) and found.start == "content" and found.keep == "lowest"


def test_the_keras_preset_minimises_what_the_program_minimises(scene: Scene) -> None:
    torchvision = narrow_vgg("vgg19", 4)
    network = for_caffe_input(torchvision)  # what Caffe's file would hold
    image = 0.8 * scene.content + 0.1
    own, content, style = (keras_vgg19(caffe(each), network) for each in (image, scene.content, scene.style))

    def gram(features: Tensor) -> Tensor:
        rows = features.flatten(1).T
        return rows.T @ rows / len(rows)

    distance = (own["block5_conv2"] - content["block5_conv2"]).square().mean()
    layers = [f"block{number}_conv1" for number in range(1, 6)]
    styles = [(gram(own[layer]) - gram(style[layer])).square().mean() for layer in layers]
    expected = {"content": 1e3 * distance.item(), "gram": 1e-2 * sum(each.item() for each in styles) / 5}
    # Float32 through sixteen convolutions, in another order of its sums.
    assert terms(recipe("gatys-vgg19"), scene, torchvision, image) == pytest.approx(expected, rel=1e-3)


def test_the_keras_presets_steps_are_the_programs(scene: Scene) -> None:
    """Adam of rate 2, 0.99 and 0.1 on BGR less the means, clipped to [-mean, 255 - mean], the lowest picture kept."""
    goal = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(612))
    means = torch.tensor(CAFFE_MEAN)[:, None, None]

    def loss(pixels: Tensor) -> Tensor:
        return (
            (pixels / 255 - 1.2 * goal).square().sum()
        )  # the goal partly out of range, so that clipping counts

    variable = (255 * scene.content[:, :6, :8].flip(0) - means).clone().requires_grad_()
    # PyTorch's, which divides by the epsilon's own definition; Keras's is a factor of at most √(1 - 0.999^t) from it.
    steps = torch.optim.Adam([variable], lr=2, betas=(0.99, 0.999), eps=0.1)
    lowest, kept = float("inf"), None
    for _ in range(30):
        steps.zero_grad()
        value = loss((variable + means).flip(0))
        value.backward()
        if value.item() < lowest:
            lowest, kept = value.item(), (variable + means).flip(0).detach().clone() / 255
        steps.step()
        with torch.no_grad():
            variable.copy_(torch.maximum(torch.minimum(variable, 255 - means), -means))

    def ours(image: Tensor) -> dict[str, Tensor]:
        return {"distance": loss(255 * image)}

    stage = Stage(0, 8, 6, 8, 30, True)
    *_, last = optimise(scene.content[:, :6, :8], ours, stage, recipe("gatys-vgg19"))
    assert kept is not None
    torch.testing.assert_close(last.image, kept, rtol=0, atol=1e-4)  # a fortieth of a level


def test_the_picture_of_the_lowest_loss_is_kept_at_its_own_step() -> None:
    """The loss of a step is of the picture before it, so that is the one to keep, and not the step's own result."""
    settings = recipe("gatys-vgg19", learning_rate=0.3, moments=(0.0, 0.0), adam_epsilon=1e-8)
    goal = torch.full((3, 4, 4), 0.5)
    seen: list[tuple[float, Tensor]] = []

    def far(image: Tensor) -> dict[str, Tensor]:
        value = (image - goal).square().sum()
        seen.append((value.item(), image.detach().clone()))
        return {"distance": value}

    steps = list(optimise(torch.full((3, 4, 4), 0.4), far, Stage(0, 4, 4, 4, 6, True), settings))
    for number, step in enumerate(steps, 1):
        _, lowest = min(seen[:number], key=lambda each: each[0])
        assert torch.equal(step.image, lowest)
    # A rate of 0.3 oscillates around 0.5: the last is not the lowest, so the two differ.
    assert min(range(6), key=lambda number: seen[number][0]) < 5


def test_torchvisions_weights_are_converted_to_caffes_input(scene: Scene) -> None:
    state = narrow_vgg("vgg19", 6)
    layers = ("conv1_1", "relu2_1", "relu3_1")
    usual = Encoder(state, layers=layers)(scene.content)
    converted = Encoder(state, layers=layers, network_input="caffe")(scene.content)
    for layer in layers:
        # Within the reach of the border the zeros around the picture are another colour.
        inside = (
            (..., slice(4, -4), slice(4, -4)) if layer != "relu3_1" else (..., slice(3, -3), slice(3, -3))
        )
        torch.testing.assert_close(
            converted[layer][inside] / CAFFE_SCALE, usual[layer][inside], rtol=1e-3, atol=1e-4
        )
    assert pytest.approx(255 * (0.229 + 0.224 + 0.225) / 3) == CAFFE_SCALE


def test_the_network_is_fed_as_its_name_says(scene: Scene) -> None:
    state = narrow_vgg(count=1)
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    usual = Encoder(state, layers=("conv1_1",))
    torch.testing.assert_close(usual.seen(scene.content), (scene.content - mean) / deviation)
    other = Encoder(state, layers=("conv1_1",), network_input="caffe")
    # To the rounding of a mean of 124 levels.
    torch.testing.assert_close(other.seen(scene.content), caffe(scene.content), rtol=1e-5, atol=1e-4)
    with pytest.raises(PhotostyleError, match='unknown network input "keras": give imagenet or caffe'):
        Encoder(state, layers=("conv1_1",), network_input="keras")


# VGG-16


def test_the_vgg16_preset_has_the_programs_numbers() -> None:
    found = configure("gatys-vgg16", content="c.jpg", style="s.jpg")
    assert found.encoder == "vgg16" and sum(BLOCKS["vgg16"]) + 3 == 16 and sum(BLOCKS["vgg19"]) + 3 == 19
    assert found.iterations == (600,) and found.save_every == 100 and found.start == "content"
    assert found.content_layers == found.style_layers and len(found.style_layers) == 5
    assert found.gram_over == "positions" and not found.style_layer_weights


def test_the_vgg16_preset_minimises_what_the_program_minimises(scene: Scene) -> None:
    state, image = narrow_vgg("vgg16", 4), 0.8 * scene.content + 0.1
    own, content, style = (
        Encoder(state, "vgg16", layers=FIRST)(each) for each in (image, scene.content, scene.style)
    )
    expected = {"content": 0.0, "gram": 0.0}
    for layer in FIRST:
        expected["content"] += F.mse_loss(own[layer], content[layer]).item()
        grams = [each[layer].flatten(1) @ each[layer].flatten(1).T for each in (own, style)]
        positions = own[layer][0].numel()
        expected["gram"] += F.mse_loss(grams[0] / positions, grams[1] / positions).item()
    assert terms(recipe("gatys-vgg16"), scene, state, image) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["gatys-vgg16", "gatys-vgg19"])
def test_a_painting_asks_for_no_regions_and_keeps_its_strokes(name: str) -> None:
    config = configure(name, content="c.jpg", style="s.jpg")
    assert config.masks == ("none",) and config.enlarging == "pixels" and config.photorealism_weight == 0
    assert len(schedule(config, 480, 640)) == 1


# The slides


def test_the_slides_preset_has_the_notebooks_numbers() -> None:
    found = configure("slides", content="c.jpg", style="s.jpg")
    assert (found.content_weight, found.gram_weight, found.photorealism_weight) == (1e4, 1e7, 3e-5)
    assert found.content_layers == ("conv4_2",) and found.style_layers == FIRST
    assert found.variation_weight == pytest.approx(2 * 1e-4 / (sum(IMAGENET_DEVIATION) / 3) ** 2, rel=1e-3)
    assert (found.learning_rate, found.weight_decay, found.moments) == (6e-3, 1e-2, (0.9, 0.999))
    assert found.pooling == "average" and found.start == "content" and not found.rate_decay
    assert found.photorealism_epsilon == 1e-7
    assert [(s.height, s.width, s.iterations, s.photorealism) for s in schedule(found, 480, 640)] == [
        (512, 512, 500, False),
        (512, 512, 2000, True),
    ]


@pytest.mark.parametrize(
    ("squeeze", "iterations"), [((128, 128), 2000), ((512, 512), 2000), ((461, 590), 15000)]
)
def test_the_slides_sizes_are_one_option(squeeze: tuple[int, int], iterations: int) -> None:
    found = recipe("slides", squeeze=squeeze, iterations=(iterations,), first_pass=0)
    check_recipe(found)
    (stage,) = schedule(found, 300, 400)
    assert (stage.height, stage.width, stage.iterations) == (*squeeze, iterations)


SWITCHES = {
    "as it was": {},
    "exact Laplacian": {"photorealism_laplacian": "exact"},
    "Grams over area": {"gram_over": "region"},
    "no weight decay": {"weight_decay": 0.0},
    "variation of each channel": {"variation_of": "channels"},
    "all four off": {
        "photorealism_laplacian": "exact",
        "gram_over": "region",
        "weight_decay": 0.0,
        "variation_of": "channels",
    },
}


@pytest.mark.parametrize("variant", defects.VARIANTS)
def test_the_slides_preset_is_the_notebooks_objective_with_each_defect_on_or_off(
    variant: str, regions: Scene
) -> None:
    """The oracle is experiment 003's, which is written by itself."""
    state, image = narrow_vgg("vgg19", 4), 0.8 * regions.content + 0.1
    settings = recipe("slides", **SWITCHES[variant])
    weights = defects.Weights(1e4, 1e7, 1e-4, 3e-5)
    theirs = defects.SlidesObjective(
        regions, defects.slides_encoder(state), weights, defects.VARIANTS[variant]
    )
    theirs.with_matting = True
    expected = {name: value.item() for name, value in theirs(image).items()}
    found = terms(settings, regions, state, image)
    assert found["content"] == pytest.approx(expected["content"], rel=1e-3)
    assert found["gram"] == pytest.approx(expected["style"], rel=1e-3)
    assert found["photorealism"] == pytest.approx(expected["photorealism"], rel=1e-2)
    # The notebooks divide each channel by its own deviation, here by their mean: at most 2 × 2 % of the square apart.
    assert found["variation"] == pytest.approx(expected["variation"], rel=0.05)
    assert settings.weight_decay == (1e-2 if defects.VARIANTS[variant].weight_decay else 0)


def test_the_slides_steps_are_torchs_adam_with_its_decay() -> None:
    """Clamping after a step is clamping before the next evaluation, as the notebooks do."""
    settings = recipe("slides")
    goal = torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(1)) * 1.4 - 0.2
    variable = torch.full((3, 5, 6), 0.5, requires_grad=True)
    steps = torch.optim.Adam([variable], lr=6e-3, weight_decay=1e-2)
    for _ in range(80):
        steps.zero_grad()
        (variable - goal).square().sum().backward()
        steps.step()
        with torch.no_grad():
            variable.clamp_(0, 1)
    *_, last = optimise(
        torch.full((3, 5, 6), 0.5),
        lambda image: {"distance": (image - goal).square().sum()},
        Stage(0, 6, 5, 6, 80, True),
        settings,
    )
    torch.testing.assert_close(last.image, variable.detach(), rtol=0, atol=1e-5)


def test_everything_is_squeezed_to_the_shape_of_the_stage(regions: Scene) -> None:
    (stage,) = schedule(recipe("slides", squeeze=(40, 40), first_pass=0), 48, 64)
    small = at_stage(regions, stage)
    assert small.content.shape == small.style.shape == (3, 40, 40)
    assert small.style_masks.shape == (2, 40, 40)
    torch.testing.assert_close(small.style_masks.mean((1, 2)), regions.style_masks.mean((1, 2)))


# What they ask for


@pytest.mark.parametrize("over", ["region", "positions", "picture"])
def test_gram_matrices_are_divided_as_asked(over: str, regions: Scene) -> None:
    state, image = narrow_vgg(count=1), 1 - regions.content
    settings = recipe(
        "gatys-vgg19",
        style_layers=("relu1_1",),
        style_layer_weights=(3.0,),
        gram_weight=1.0,
        content_weight=0.0,
        gram_over=over,
        network_input="imagenet",
    )
    encoder = Encoder(state, layers=("relu1_1",))
    own, style = (encoder(each)["relu1_1"].double() for each in (image, regions.style))
    expected = 0.0
    for ours, theirs in zip(regions.content_masks.double(), regions.style_masks.double(), strict=True):
        below = {
            "region": lambda mask: 4 * mask.sum(),
            "positions": lambda mask: mask.sum(),
            "picture": lambda mask: 4 * mask.numel(),
        }[over]
        grams = [
            (each * mask).flatten(1) @ (each * mask).flatten(1).T / below(mask)
            for each, mask in ((own, ours), (style, theirs))
        ]
        share = 1.0 if over == "picture" else ours.mean().item()
        expected += 3 * share * (grams[0] - grams[1]).square().mean().item()
    assert terms(settings, regions, state, image)["gram"] == pytest.approx(expected, rel=1e-4)


def test_hard_regions_stay_hard_at_every_layer(scene: Scene) -> None:
    encoder = Encoder(narrow_vgg(), layers=("relu4_1",))
    carried = carry_masks(scene.content_masks, encoder.plan, soft=False)
    assert all(bool((each == 1).all()) for each in carried.values())
    assert carry_masks(scene.content_masks, encoder.plan)["relu4_1"].min() < 1


def test_the_variation_of_the_sum_is_blind_to_hue_and_drawn_to_the_mean_colour_at_its_border() -> None:
    grey = torch.tensor(IMAGENET_MEAN)[:, None, None].expand(3, 6, 7).double()
    turned = grey.clone()
    turned[0, ::2], turned[1, ::2] = turned[0, ::2] + 0.2, turned[1, ::2] - 0.2
    assert summed_variation(grey).item() == pytest.approx(0, abs=1e-12)
    assert summed_variation(turned).item() == pytest.approx(0, abs=1e-12) and variation_loss(turned) > 1
    # One level above the mean everywhere: the lower border of 7 pixels and the right one of 6 see a step of 3.
    assert summed_variation(grey + 1).item() == pytest.approx(0.5 * 9 * (6 + 7))
    image = torch.rand(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(summed_variation, image.requires_grad_())


@pytest.mark.parametrize("name", sorted(PRESETS.keys() & {"gatys-vgg16", "gatys-vgg19", "slides"}))
def test_none_of_our_own_terms_is_in_an_ancestor(name: str) -> None:
    found = recipe(name)
    assert (
        found.patch_weight == found.texture_weight == found.structure_weight == found.consistency_weight == 0
    )
    assert found.photorealism_coarse == () and (found.strength, found.boldness) == (1, 1)


BAD = {
    "three style layers": ({"style_layer_weights": (1.0, 2.0, 3.0)}, "for 5 style layers; give one number"),
    "a negative layer": ({"style_layer_weights": (1.0, 1.0, 1.0, 1.0, -1.0)}, "of 0 or more each"),
    "a moment of one": ({"moments": (1.0, 0.9)}, r"--moments is \(1.0, 0.9\); give two numbers"),
    "one moment": ({"moments": (0.9,)}, "give two numbers"),
    "decay without Adam": ({"weight_decay": 0.01, "optimiser": "lbfgs"}, "--weight-decay is Adam's"),
    "two kinds of keeping": ({"keep": "lowest", "averaging": 0.5}, "exclude each other"),
    "one side": ({"squeeze": (512,)}, "--squeeze is .* give a height and a width of 16 or more"),
    "a thin squeeze": ({"squeeze": (8, 512)}, "of 16 or more"),
    "no epsilon": ({"adam_epsilon": 0.0}, "--adam-epsilon is 0.0"),
}


@pytest.mark.parametrize("case", BAD)
def test_settings_that_do_not_belong_together_are_refused(case: str) -> None:
    settings, said = BAD[case]
    with pytest.raises(PhotostyleError, match=said):
        check_recipe(replace(recipe("gatys-vgg16"), **settings))


def test_every_switch_is_a_variant_of_experiment_003() -> None:
    assert SWITCHES.keys() == defects.VARIANTS.keys()
    assert len(set(itertools.chain.from_iterable(SWITCHES.values()))) == 4
