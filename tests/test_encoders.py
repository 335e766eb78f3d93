"""The encoder is torchvision's VGG up to the layer asked for, but for the pools' rounding and their kind."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from photostyle.errors import PhotostyleError
from photostyle.imaging.filters import IMAGENET_DEVIATION, IMAGENET_MEAN
from photostyle.losses.encoders import Encoder, UnknownLayer, layer_names
from photostyle.losses.weights import find

# Layer → position in torchvision's features, counted on the printed network; the field's usual style layers.
VGG19 = {"relu1_1": 1, "conv2_1": 5, "pool2": 9, "relu3_1": 11, "conv4_2": 21, "relu4_2": 22, "relu5_1": 29}
VGG16 = {"relu1_2": 3, "relu2_2": 8, "pool3": 16, "relu3_3": 15, "conv4_3": 21, "relu5_3": 29, "pool5": 30}


def network(architecture: str, seed: int = 612) -> nn.Sequential:
    """torchvision's features with random weights; He's deviation keeps the signal alive to the last layer."""
    with torch.device("meta"):
        features = getattr(models, architecture)(weights=None, init_weights=False).features
    features = features.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(seed)
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            layer.weight.data.normal_(0, (2 / (9 * layer.in_channels)) ** 0.5, generator=generator)
            layer.bias.data.normal_(0, 0.1, generator=generator)
    return features


def state_of(features: nn.Sequential) -> dict[str, Tensor]:
    return {f"features.{key}": value for key, value in features.state_dict().items()}


def slim_state(deepest: str = "conv5_4") -> dict[str, Tensor]:
    """A VGG-19 of few channels, and not as many in each block, down to the layer named."""
    generator, state, channels, index = torch.Generator().manual_seed(612), {}, 3, 0
    for block, (depth, width) in enumerate(zip((2, 2, 4, 4, 4), (4, 6, 8, 10, 10), strict=True), start=1):
        for number in range(1, depth + 1):
            scale = (2 / (9 * channels)) ** 0.5
            state[f"features.{index}.weight"] = scale * torch.randn(
                width, channels, 3, 3, generator=generator
            )
            state[f"features.{index}.bias"] = torch.zeros(width)
            if f"conv{block}_{number}" == deepest:
                return state
            channels, index = width, index + 2
        index += 1
    return state


def image(height: int, width: int) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("architecture", "layers"), [("vgg19", VGG19), ("vgg16", VGG16)])
def test_features_equal_torchvisions_where_every_side_is_even(architecture, layers):
    features, photo = network(architecture), image(32, 64)
    x = (
        (photo - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_DEVIATION)[:, None, None]
    )[None]
    expected = {}
    for index, layer in enumerate(features):
        x = layer(x.clone())  # torchvision's ReLU works in place
        expected[index] = x[0]
    found = Encoder(state_of(features), architecture, layers=list(layers))(photo)
    assert list(found) == list(layers)
    for name, index in layers.items():
        # Sums in another order: a float32's 1e-7, over 13 layers and among thousands of values of size one.
        torch.testing.assert_close(found[name], expected[index], rtol=1e-4, atol=5e-5)


def test_normalisation_is_the_one_the_weights_were_trained_with():
    transform = models.VGG19_Weights.IMAGENET1K_V1.transforms()
    assert tuple(transform.mean) == IMAGENET_MEAN and tuple(transform.std) == IMAGENET_DEVIATION


@pytest.mark.parametrize(("height", "width"), [(33, 47), (35, 32), (63, 34)])
def test_an_odd_side_is_pooled_as_if_the_missing_row_could_never_win(height, width):
    layers = ["relu1_2", "pool1"]
    found = Encoder(slim_state(), layers=layers)(image(height, width))
    padded = functional.pad(found["relu1_2"], (0, width % 2, 0, height % 2), value=-torch.inf)
    expected = padded.unfold(1, 2, 2).unfold(2, 2, 2).amax((-1, -2))
    assert torch.equal(found["pool1"], expected)


def test_average_pooling_is_the_mean_of_what_is_there_of_a_window():
    found = Encoder(slim_state(), layers=["relu1_2", "pool1"], pooling="average")(image(33, 34))
    before, after = found["relu1_2"], found["pool1"]
    assert after.shape == (4, 17, 17)
    torch.testing.assert_close(after[:, 0, 0], before[:, :2, :2].mean((1, 2)))
    torch.testing.assert_close(after[:, 16, 16], before[:, 32:, 32:].mean((1, 2)))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 32), (1, 5), (50, 70)])
def test_any_size_reaches_the_deepest_layer_with_sides_halved_upwards(height, width):
    found = Encoder(slim_state(), layers=["pool5"])(image(height, width))
    assert found["pool5"].shape == (10, -(-height // 32), -(-width // 32))
    assert found["pool5"].isfinite().all()


def test_a_convolution_keeps_its_negative_values_beside_its_relu():
    layers = ["conv3_1", "relu3_1", "conv3_2"]
    found = Encoder(slim_state(), layers=layers)(image(32, 32))
    assert found["conv3_1"].min() < 0
    assert torch.equal(found["relu3_1"], found["conv3_1"].clamp(min=0))


def test_what_is_asked_for_beside_a_layer_does_not_change_it():
    alone = Encoder(slim_state(), layers=["relu5_1"])(image(40, 36))["relu5_1"]
    among = Encoder(slim_state(), layers=layer_names())(image(40, 36))["relu5_1"]
    assert torch.equal(alone, among)


def test_the_channels_of_a_pixel_lie_side_by_side():
    features = Encoder(slim_state(), layers=["relu1_1", "pool2", "relu3_1"])(image(33, 34))
    assert all(each.permute(1, 2, 0).is_contiguous() for each in features.values())


def test_the_input_is_left_as_it_was():
    photo = image(32, 32)
    Encoder(slim_state(), layers=["relu1_1"])(photo)
    assert torch.equal(photo, image(32, 32))


def test_the_network_is_cut_after_the_deepest_layer_and_its_plan_says_so():
    encoder = Encoder(slim_state(), layers=["relu3_1", "relu1_1"])
    assert encoder.plan == (
        ("conv", "relu1_1"),
        ("conv", "relu1_2"),
        ("pool", "pool1"),
        ("conv", "relu2_1"),
        ("conv", "relu2_2"),
        ("pool", "pool2"),
        ("conv", "relu3_1"),
    )
    assert sum(parameter.ndim == 4 for parameter in encoder.parameters()) == 5


def test_the_plan_of_a_cut_at_a_convolution_is_that_of_its_relu():
    plans = [Encoder(slim_state(), layers=[layer]).plan for layer in ("conv4_2", "relu4_2")]
    assert plans[0] == plans[1] and plans[0][-1] == ("conv", "relu4_2")


def test_gradients_reach_the_image_and_nothing_else():
    encoder = Encoder(slim_state(), layers=["conv2_1", "relu3_1", "pool3"], pooling="average").double()
    photo = image(9, 8).double().requires_grad_()
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert torch.autograd.gradcheck(lambda x: tuple(encoder(x).values()), photo)


def test_the_state_given_is_neither_changed_nor_frozen():
    state = slim_state()
    state["features.0.weight"].requires_grad_()
    Encoder(state, layers=["relu1_1"]).double()
    assert state["features.0.weight"].requires_grad and state["features.0.weight"].dtype == torch.float32


def test_weights_that_end_early_serve_the_layers_they_have():
    state = slim_state(deepest="conv5_1")
    assert Encoder(state, layers=["relu5_1"])(image(32, 32))["relu5_1"].shape == (10, 2, 2)
    with pytest.raises(
        PhotostyleError, match='"relu5_2" needs conv5_2 but the vgg19 weights end at conv5_1: '
    ):
        Encoder(state, layers=["relu1_1", "relu5_2"])


def test_the_slim_vgg_gives_every_style_layer(shared):
    found = find(shared / "encoders" / "slim_vgg19.safetensors")
    layers = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]
    features = Encoder(found.state, layers=layers)(image(48, 33))
    assert [tuple(x.shape) for x in features.values()] == [
        (16, 48, 33),
        (32, 24, 17),
        (64, 12, 9),
        (128, 6, 5),
        (128, 3, 3),
    ]
    with pytest.raises(PhotostyleError, match="end at conv5_1"):
        Encoder(found.state, layers=["relu5_2"])


@pytest.mark.parametrize(
    ("architecture", "name", "hint"),
    [
        ("vgg19", "relu4-2", 'did you mean "relu4_2"'),
        ("vgg19", "Relu5_1", 'did you mean "relu5_1"'),
        ("vgg16", "relu3_4", "did you mean"),
        ("vgg19", "22", "they go from conv1_1 to pool5"),
    ],
)
def test_an_unknown_layer_gets_a_suggestion(architecture, name, hint):
    with pytest.raises(UnknownLayer) as caught:
        Encoder({}, architecture, layers=["relu1_1", name])
    assert f'{architecture} has no layer "{name}"' in str(caught.value) and hint in str(caught.value)


def test_no_layers_and_unknown_options_are_errors():
    with pytest.raises(PhotostyleError, match="no layers asked for"):
        Encoder(slim_state(), layers=[])
    with pytest.raises(PhotostyleError, match='unknown pooling "mean": give max or average'):
        Encoder(slim_state(), layers=["relu1_1"], pooling="mean")
    with pytest.raises(PhotostyleError, match='unknown architecture "vgg11"'):
        Encoder(slim_state(), "vgg11", layers=["relu1_1"])


def test_layer_names_follow_the_published_table():
    assert len(layer_names("vgg19")) == 16 * 2 + 5 and len(layer_names("vgg16")) == 13 * 2 + 5
    assert layer_names("vgg16")[10:17] == (
        "conv3_1",
        "relu3_1",
        "conv3_2",
        "relu3_2",
        "conv3_3",
        "relu3_3",
        "pool3",
    )


@pytest.mark.gpu
def test_the_device_does_not_change_the_features():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    encoder = Encoder(slim_state(), layers=["relu5_1"])
    expected = encoder(image(64, 48))["relu5_1"]
    found = encoder.to("cuda")(image(64, 48).cuda())["relu5_1"]
    assert found.device.type == "cuda"
    # Convolutions may run in TF32 on the device, with 10 bits of mantissa: 1e-3 a layer, over 13 layers.
    torch.testing.assert_close(found.cpu(), expected, rtol=0.02, atol=0.02)
