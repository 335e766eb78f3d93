"""A network's classes become maps of groups: in the right place, summing to one, whole or in windows alike."""

from collections.abc import Sequence

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import get_model

from photostyle.errors import ComputationError
from segmentation.groups import GROUPS
from segmentation.inference import group_probabilities
from segmentation.networks import Segmenter

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAMES = [group.name for group in GROUPS]
# ADE20K: sky, tree, water, sea. The last two are one group.
CLASSES = {2: (0.0, 0.0, 1.0), 4: (0.0, 1.0, 0.0), 21: (1.0, 0.0, 0.0), 26: (1.0, 1.0, 0.0)}
BLUE, GREEN, RED, YELLOW = CLASSES.values()


class Colours(nn.Module):
    """Knows each pixel by its colour alone: the class whose colour is nearest. Keeps what it is given.

    cell: its output has a pixel for cell × cell of its input, as real networks' have. sharpness: of the logits.
    """

    def __init__(self, cell: int = 1, sharpness: float = 100) -> None:
        super().__init__()
        self.cell, self.sharpness = cell, sharpness
        self.inputs: list[Tensor] = []

    def forward(self, batch: Tensor) -> Tensor:
        self.inputs.append(batch.clone())
        photo = batch * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
        photo = F.avg_pool2d(photo, self.cell)
        logits = torch.full((1, 150, *photo.shape[2:]), -1e4)
        for number, colour in CLASSES.items():
            distance = (photo - torch.tensor(colour)[:, None, None]).square().sum(1)
            logits[:, number] = -self.sharpness * distance
        return logits


class Counting(nn.Module):
    """Answers its k-th window with a probability of k / 10 for the sky, and trees otherwise."""

    def __init__(self, cell: int = 1) -> None:
        super().__init__()
        self.cell, self.calls = cell, 0

    def forward(self, batch: Tensor) -> Tensor:
        self.calls += 1
        logits = torch.full((1, 150, batch.shape[2] // self.cell, batch.shape[3] // self.cell), -1e4)
        logits[:, 2], logits[:, 4] = np.log(self.calls / 10), np.log(1 - self.calls / 10)
        return logits


def segmenter(network: nn.Module, size: int = 32, stride: int = 8, **fields) -> Segmenter:
    source = {"name": "fake", "source": "file", "revision": "", "sha256": "", "licence": ""}
    described = {
        "vocabulary": "ade20k",
        "fixed": False,
        "mean": MEAN,
        "std": STD,
        "device": torch.device("cpu"),
    }
    return Segmenter(network=network.eval(), size=size, stride=stride, **(source | described | fields))


def painted(height: int, columns: Sequence[tuple[tuple[float, ...], int]]) -> Tensor:
    """Upright stripes: (colour, width in pixels), from the left."""
    stripes = [torch.tensor(colour)[:, None, None].expand(3, height, width) for colour, width in columns]
    return torch.cat(stripes, 2).clone()


def noise(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def of(maps: Tensor, name: str) -> Tensor:
    return maps[NAMES.index(name)]


def check_probabilities(maps: Tensor, photo: Tensor) -> None:
    assert maps.shape == (len(GROUPS), *photo.shape[1:]) and maps.dtype == torch.float32
    assert maps.min() >= 0
    # Softmax over up to 150 classes, the blend and two enlargements: some 100 roundings of 6e-8 in any order.
    torch.testing.assert_close(maps.sum(0), torch.ones(photo.shape[1:]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("cell", [1, 4])
@pytest.mark.parametrize("window", [False, True])
def test_what_is_where_in_the_photo_is_there_in_the_maps(cell, window):
    photo = painted(40, [(BLUE, 20), (GREEN, 40), (RED, 20), (YELLOW, 20)])
    photo[:, 30:, :20] = torch.tensor(GREEN)[:, None, None]
    maps = group_probabilities(segmenter(Colours(cell)), photo, window=window)
    check_probabilities(maps, photo)
    best = maps.argmax(0)
    expected = torch.full((40, 100), NAMES.index("water"))  # two classes of one group
    expected[:, :60] = NAMES.index("vegetation")
    expected[:30, :20] = NAMES.index("sky")
    # The picture is halved for the network, and a cell of its output is then 5 pixels of the photo.
    away = torch.ones(40, 100, dtype=torch.bool)
    for column in (20, 60):
        away[:, column - 5 : column + 5] = False
    away[25:35, :25] = False
    assert torch.equal(best[away], expected[away])
    assert maps.max(0).values[away].min() > 0.99


def test_classes_are_summed_as_probabilities():
    class Fixed(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            logits = torch.full((1, 150, *batch.shape[2:]), -1e4)
            for number, probability in ((2, 0.4), (21, 0.3), (26, 0.2), (4, 0.1)):
                logits[:, number] = np.log(probability) + 7
            return logits

    maps = group_probabilities(segmenter(Fixed()), noise(32, 40))
    for name, probability in (("sky", 0.4), ("water", 0.5), ("vegetation", 0.1), ("person", 0.0)):
        torch.testing.assert_close(of(maps, name), torch.full((32, 40), probability), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("vocabulary", "classes", "name"), [("cityscapes", 19, "ground"), ("voc", 21, "background")]
)
def test_the_classes_are_those_of_the_vocabulary(vocabulary, classes, name):
    class First(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            logits = torch.zeros(1, classes, *batch.shape[2:])
            logits[:, 0] = 50
            return logits

    photo = noise(32, 32)
    maps = group_probabilities(segmenter(First(), vocabulary=vocabulary), photo)
    check_probabilities(maps, photo)
    assert of(maps, name).min() > 0.999


@pytest.mark.parametrize(
    ("photo", "seen"),
    [
        ((32, 48), (32, 48)),
        ((64, 96), (32, 48)),
        ((96, 64), (48, 32)),
        ((16, 24), (32, 48)),  # enlarged, as the networks were tested
        ((50, 75), (32, 48)),
        ((60, 80), (32, 48)),  # 32 × 42.7 → 43, padded
        ((32, 128), (32, 128)),  # four times as long as high: the last that is whole
        ((8, 100), (16, 128)),  # enlarged only until it is that long: 10 × 128, padded
        ((1, 1), (32, 32)),
        ((1, 128), (8, 128)),
    ],
)
def test_the_short_side_becomes_the_size_that_the_network_knows(photo, seen):
    network = Colours()
    maps = group_probabilities(segmenter(network), noise(*photo))
    assert [batch.shape[2:] for batch in network.inputs] == [torch.Size(seen)]
    assert maps.shape[1:] == photo


def test_what_the_network_sees_is_normalised():
    network, photo = Colours(), noise(32, 40)
    group_probabilities(segmenter(network, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)), photo)
    for channel in range(3):
        expected = (photo[channel] - (0.1, 0.2, 0.3)[channel]) / (0.5, 0.6, 0.7)[channel]
        torch.testing.assert_close(network.inputs[0][0, channel], expected)


def test_the_padding_mirrors_the_picture():
    network, photo = Colours(), noise(32, 42)
    group_probabilities(segmenter(network, mean=(0, 0, 0), std=(1, 1, 1)), photo)
    seen = network.inputs[0][0].numpy()
    np.testing.assert_array_equal(seen, np.pad(photo.numpy(), [(0, 0), (0, 0), (0, 6)], mode="reflect"))


@pytest.mark.parametrize("window", [False, True])
def test_the_padding_leaves_no_trace_in_the_maps(window):
    fake = segmenter(Colours(), size=32, stride=32)
    for photo in (painted(32, [(BLUE, 20), (GREEN, 20)]), painted(32, [(BLUE, 20), (GREEN, 20)]).mT):
        maps = group_probabilities(fake, photo, window=window)  # 32 × 40, for the network 32 × 64
        torch.testing.assert_close(of(maps, "sky"), photo[2], atol=1e-6, rtol=0)


def test_a_strip_too_thin_to_mirror_goes_on_as_it_ends():
    network, photo = Colours(), noise(3, 130)
    group_probabilities(segmenter(network, mean=(0, 0, 0), std=(1, 1, 1)), photo)
    expected = np.pad(photo.numpy(), [(0, 0), (0, 5), (0, 6)], mode="edge")
    np.testing.assert_array_equal(network.inputs[0][0], expected[:, :, :32])
    np.testing.assert_array_equal(network.inputs[-1][0], expected[:, :, -32:])


def test_the_maps_lie_on_the_photo_without_a_shift():
    photo = painted(64, [(BLUE, 64), (GREEN, 64)])
    for window in (False, True):
        maps = group_probabilities(segmenter(Colours(cell=4)), photo, window=window)
        # Left and right are mirror images, so any shift by part of a cell shows.
        torch.testing.assert_close(of(maps, "sky"), of(maps, "vegetation").flip(1), atol=1e-5, rtol=0)


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    cell=st.sampled_from([1, 2, 4, 8]),
    stride=st.sampled_from([8, 16]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_a_network_of_single_pixels_gives_the_same_whole_and_in_windows(height, width, cell, stride, seed):
    photo = noise(height, width, seed)
    fake = segmenter(Colours(cell, sharpness=3), stride=stride)
    whole, windows = (group_probabilities(fake, photo, window=window) for window in (False, True))
    check_probabilities(windows, photo)
    torch.testing.assert_close(windows, whole, atol=1e-5, rtol=0)


def test_a_panorama_is_cut_into_windows_that_cover_it():
    network, photo = Colours(), noise(32, 161)
    maps = group_probabilities(segmenter(network, mean=(0, 0, 0), std=(1, 1, 1)), photo)
    check_probabilities(maps, photo)
    padded = F.pad(photo[None], (0, 7, 0, 0), mode="reflect")
    # Two thirds of 32 in whole strides of 8: every 16 pixels, and the last at the end.
    starts = [*range(0, 168 - 32, 16), 168 - 32]
    assert len(network.inputs) == len(starts)
    for start, seen in zip(starts, network.inputs, strict=True):
        assert torch.equal(seen, padded[..., start : start + 32])


def test_windows_are_blended_by_the_distance_to_their_edge():
    network = Counting(cell=4)
    maps = group_probabilities(segmenter(network, size=32, stride=8), noise(32, 64), window=True)
    assert network.calls == 3  # at 0, 16 and 32
    cells = np.arange(16) + 0.5
    share, weight = np.zeros(16), np.zeros(16)
    for k, start in enumerate((0, 4, 8), start=1):
        inside = np.clip(np.minimum(cells - start, start + 8 - cells), 0, None)
        share, weight = share + k / 10 * inside, weight + inside
    # Four columns of the photo a cell; its centre lies between the second and the third.
    columns = of(maps, "sky")[0].numpy().reshape(16, 4)
    np.testing.assert_allclose(columns[1:-1, 1:3].mean(1), (share / weight)[1:-1], atol=0.004)
    # Nowhere a seam: the steepest cell of the oracle, a quarter for each of its pixels.
    steps = np.abs(np.diff(of(maps, "sky").numpy(), axis=1))
    assert steps.max() <= np.abs(np.diff(share / weight)).max() / 4 + 1e-6


def test_windows_along_both_sides():
    network = Counting()
    maps = group_probabilities(segmenter(network, size=16), noise(16, 65), window=True)
    calls = network.calls
    tall = Counting()
    turned = group_probabilities(segmenter(tall, size=16), noise(65, 16), window=True)
    assert tall.calls == calls == 8
    torch.testing.assert_close(of(turned, "sky"), of(maps, "sky").T)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 100), (300, 128), (9, 100), (1, 1), (5, 700)])
def test_a_network_of_one_size_is_given_that_size_only(height, width):
    network, photo = Colours(), noise(height, width)
    maps = group_probabilities(segmenter(network, size=64, stride=32, fixed=True), photo)
    assert {batch.shape for batch in network.inputs} == {torch.Size((1, 3, 64, 64))}
    check_probabilities(maps, photo)


def test_the_same_photo_gives_the_same_maps():
    fake, photo = segmenter(Colours(4, sharpness=3)), noise(50, 200)
    before = photo.clone()
    assert torch.equal(group_probabilities(fake, photo), group_probabilities(fake, photo))
    assert torch.equal(photo, before)


def test_the_maps_can_weigh_what_is_optimised():
    photo = noise(32, 32)
    image = photo.clone().requires_grad_()
    maps = group_probabilities(segmenter(Colours(4)), photo)
    (image * of(maps, "sky")).square().sum().backward()
    assert not maps.requires_grad and image.grad is not None


def test_a_network_that_gives_no_number_is_an_error():
    class Broken(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return torch.full((1, 150, *batch.shape[2:]), torch.nan)

    with pytest.raises(ComputationError, match=r"^fake gives NaN for this photo: its weights are damaged$"):
        group_probabilities(segmenter(Broken()), noise(32, 32))


# Real architectures with weights drawn at random


def drawn(build, *arguments, **options) -> nn.Module:
    torch.manual_seed(0)
    return build(*arguments, **options).eval()


def test_an_smp_network_is_read_before_its_head_enlarges():
    name = "tu-test_convnext.r160_in1k"
    network = drawn(smp.UPerNet, name, encoder_weights=None, classes=150, decoder_channels=16)
    enlarged: list[torch.Size] = []
    network.segmentation_head[1].register_forward_hook(lambda _, __, output: enlarged.append(output.shape))
    photo = noise(64, 96)
    maps = group_probabilities(segmenter(network, size=64, stride=32), photo)
    check_probabilities(maps, photo)
    assert enlarged == []
    batch = (photo - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    with torch.no_grad():
        classes = network.segmentation_head[0](network.decoder(network.encoder(batch[None]))).softmax(1)[0]
    assert classes.shape[1:] == (16, 24)
    for row, group in enumerate(GROUPS):
        small = classes[list(group.classes["ade20k"])].sum(0)
        expected = F.interpolate(small[None, None], (64, 96), mode="bilinear", align_corners=False)[0, 0]
        torch.testing.assert_close(maps[row], expected, atol=1e-5, rtol=0)


def test_any_other_network_is_read_as_it_answers():
    photo = noise(64, 96)
    decoder = {"decoder_intermediate_channels": (8, 8, 8, 8), "decoder_fusion_channels": 8}
    vit = drawn(
        smp.DPT, "tu-test_vit.r160_in1k", encoder_weights=None, classes=150, dynamic_img_size=True, **decoder
    )
    lraspp = drawn(
        get_model, "lraspp_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=21
    )
    for network, vocabulary in ((vit, "ade20k"), (lraspp, "voc")):
        maps = group_probabilities(segmenter(network, size=64, stride=32, vocabulary=vocabulary), photo)
        check_probabilities(maps, photo)
        batch = (photo - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        with torch.no_grad():
            output = network(batch[None])
        classes = (output["out"] if isinstance(output, dict) else output).softmax(1)[0]
        for row, group in enumerate(GROUPS):
            expected = classes[list(group.classes[vocabulary])].sum(0)
            torch.testing.assert_close(maps[row], expected, atol=1e-5, rtol=0)


def test_a_swin_of_one_size_takes_a_photo_of_any():
    encoder = {
        "img_size": 64,
        "embed_dim": 8,
        "depths": (1, 1, 1, 1),
        "num_heads": (1, 1, 1, 1),
        "window_size": 2,
    }
    name = "tu-swin_tiny_patch4_window7_224"
    network = drawn(smp.UPerNet, name, encoder_weights=None, classes=150, decoder_channels=8, **encoder)
    photo = noise(100, 170)
    with pytest.raises(AssertionError, match="doesn't match model"):
        group_probabilities(segmenter(network, size=64, stride=32), photo)
    maps = group_probabilities(segmenter(network, size=64, stride=32, fixed=True), photo)
    check_probabilities(maps, photo)
