"""What a network says of a picture: as its accuracy was measured, at any size, and as the source document shows it."""

import math
import re
from dataclasses import replace

import pytest
import torch
from classifiers import LOGIT, NAME, save_taught
from safetensors.torch import save_file
from skimage import data
from torch import Tensor, nn
from torchvision import models

from photostyle.errors import PhotostyleError
from photostyle.networks import lite
from photostyle.networks.heads import Head, headed
from photostyle.networks.network import Network, find_network, random_network
from photostyle.networks.published import module_of, published
from photostyle.recognition.recognise import Guess, as_seen, likeliest, recognise


@pytest.fixture(scope="module")
def taught(coffee, chelsea, tmp_path_factory) -> Network:
    """A network that knows two photographs."""
    file = tmp_path_factory.mktemp("taught") / "w.safetensors"
    return find_network(NAME, save_taught(file, {"espresso": coffee, "cat": chelsea}, ["rocket"]))


def test_photographs_are_recognised(taught, coffee, chelsea):
    right = math.exp(LOGIT) / (math.exp(LOGIT) + 2)
    for picture, name in ((coffee, "espresso"), (chelsea, "cat")):
        found = recognise(picture, taught)
        assert found.dtype == torch.float64 and found.shape == (3,)
        assert found.sum().item() == pytest.approx(1, abs=1e-12)
        first, *others = likeliest(found, taught.classes)
        # The head was solved in float64 and answers in float32: logits to 1e-3.
        assert first == (name, pytest.approx(right, abs=1e-4))
        assert len(others) == 2  # there are no more


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v2", "efficientnet_b0"])
def test_the_crop_is_torchvisions(coffee, name, turned):
    picture = coffee.mT.contiguous() if turned else coffee
    network = random_network(name, classes=2)
    preset = models.get_model_weights(name).DEFAULT.transforms()
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (preset.mean, preset.std))
    expected = preset(picture) * deviation + mean
    # torchvision lets a bicubic picture leave [0, 1]; as a file it could not.
    torch.testing.assert_close(as_seen(picture, network), expected.clamp(0, 1), rtol=0, atol=1e-6)


def test_probabilities_are_those_of_torchvisions_own_pipeline(coffee, tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(612)
        theirs = models.squeezenet1_1(num_classes=7).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    network = find_network("squeezenet1_1", tmp_path / "w.pth")
    with torch.inference_mode():
        expected = theirs(models.SqueezeNet1_1_Weights.DEFAULT.transforms()(coffee)[None]).softmax(1)[0]
    torch.testing.assert_close(recognise(coffee, network).float(), expected, rtol=1e-4, atol=1e-6)


def test_a_picture_may_keep_its_own_size_or_a_number(taught, coffee):
    assert as_seen(coffee, taught, "own") is coffee
    assert as_seen(coffee, taught, 100).shape == (3, 100, 150)
    for size in ("own", 100, 33):
        assert recognise(coffee, taught, size).sum().item() == pytest.approx(1)


def test_what_a_network_cannot_take_is_one_line(taught, coffee):
    deep = replace(taught, name="alexnet", smallest=published("alexnet").smallest)
    with pytest.raises(PhotostyleError, match=r"alexnet needs at least 63 pixels a side, this is 60x40"):
        recognise(coffee[:, :40, :60], deep, "own")
    with pytest.raises(PhotostyleError, match=r"alexnet needs at least 63 .* this is 75x50; use --size crop"):
        as_seen(coffee, deep, 50)
    transformer = replace(taught, name="vit_b_16", fixed=published("vit_b_16").fixed)
    with pytest.raises(PhotostyleError, match=r"vit_b_16 takes pictures of 224x224 alone, not of 600x400"):
        as_seen(coffee, transformer, "own")
    assert as_seen(coffee, transformer).shape == (3, 224, 224)


def test_a_fine_tuned_network_is_shown_what_it_was_trained_on(coffee, tmp_path):
    """A VGG cut after two blocks, of two classes, for 24 pixels of 28."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(612)
        module = headed("vgg11", 2, 2, initialised=True)
    said = Head("vgg11", 2, size=24, resize=28).metadata() | {"classes": '["cup", "no cup"]'}
    save_file(module.state_dict(), tmp_path / "w.safetensors", metadata=said)
    network = find_network("vgg11", tmp_path / "w.safetensors")
    assert (network.classes, network.smallest) == (("cup", "no cup"), 4)
    assert as_seen(coffee, network).shape == (3, 24, 24)
    for size in ("crop", "own", 4):
        assert recognise(coffee, network, size).sum().item() == pytest.approx(1)
    with pytest.raises(PhotostyleError, match="vgg11 needs at least 4 pixels"):
        recognise(coffee, network, 3)


def test_random_weights_recognise_nothing(coffee):
    with pytest.raises(PhotostyleError, match="shufflenet_v2_x0_5 has random weights and recognises nothing"):
        recognise(coffee, random_network(NAME, classes=2))


def test_the_likeliest_come_first_and_equal_ones_in_order():
    found = torch.tensor([0.1, 0.3, 0.2, 0.3, 0.1])
    assert likeliest(found, tuple("abcde"), 3) == [
        Guess("b", pytest.approx(0.3)),
        Guess("d", pytest.approx(0.3)),
        Guess("c", pytest.approx(0.2)),
    ]
    assert [each.name for each in likeliest(found, tuple("abcde"))] == ["b", "d", "c", "a", "e"]


def test_what_the_page_says_is_seen(root, coffee):
    """With ImageNet's classes and real weights, where they are installed."""
    if lite.weights_file() is None:
        pytest.skip(f"no weights: {lite.INSTALL}")
    network = find_network(lite.NAME)
    page = (root / "docs/recognition.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+ %) \|$", page, re.M)
    assert len(rows) == 4
    for name, said in rows:
        picture = torch.from_numpy(getattr(data, name)().copy()).permute(2, 0, 1).float() / 255
        seen = likeliest(recognise(picture, network), network.classes, 3)
        shown = re.findall(r"([^,]+?) (\d+) %(?:, )?", said)
        assert [each.name for each in seen] == [label for label, _ in shown]
        for each, (_, percent) in zip(seen, shown, strict=True):
            # Rounded, and by another processor perhaps.
            assert 100 * each.probability == pytest.approx(float(percent), abs=0.6)
    (percent,) = re.findall(r"espresso\s+with\s+(\d+) %", page)
    own = likeliest(recognise(coffee, network, "own"), network.classes)[0]
    assert own == ("espresso", pytest.approx(float(percent) / 100, abs=0.006))


# The source document: VGG's shapes, on the device "meta", where shapes cost nothing


def shapes(module: nn.Module, height: int, width: int) -> list[tuple[str, tuple[int, ...]]]:
    """What every layer of a network on "meta" gives for one picture: (its kind, the shape)."""
    traced: list[tuple[str, tuple[int, ...]]] = []
    hooks = [
        layer.register_forward_hook(
            lambda layer, inputs, out: traced.append((type(layer).__name__, tuple(out.shape)))
        )
        for layer in module.modules()
        if not list(layer.children())
    ]
    module(torch.zeros(1, 3, height, width, device="meta"))
    for hook in hooks:
        hook.remove()
    return traced


def waiting(name: str, classes: int = 1000) -> nn.Module:
    return module_of(name, classes, initialised=False).eval()


@pytest.mark.parametrize(
    ("size", "places"),
    [((224, 224), (7, 7)), ((600, 600), (18, 18)), ((333, 517), (10, 16)), ((32, 32), (1, 1))],
)
def test_vgg16_takes_any_size_to_a_thousand_classes(size, places):
    traced = shapes(waiting("vgg16"), *size)
    pooled = [shape for kind, shape in traced if "Pool" in kind]
    assert pooled[-2:] == [(1, 512, *places), (1, 512, 7, 7)]
    linear = [shape for kind, shape in traced if kind == "Linear"]
    assert linear == [(1, 4096), (1, 4096), (1, 1000)]
    assert sum(kind == "MaxPool2d" for kind, _ in traced) == 5


def test_the_pool_makes_7x7_of_anything():
    pool = waiting("vgg16").avgpool
    assert pool(torch.zeros(1, 3, 600, 600)).shape == (1, 3, 7, 7)
    small = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]).expand(1, 3, 2, 2)
    made: Tensor = pool(small)
    assert made.shape == (1, 3, 7, 7)
    assert made[0, 0, 0, 0] == 1 and made[0, 0, 6, 6] == 4 and made[0, 0, 3, 3] == 2.5


def test_a_picture_of_32x32_shrinks_to_one_place_before_the_pool():
    traced = shapes(waiting("vgg16", 10), 32, 32)
    blocks = [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)]
    convolved = [shape[1:] for kind, shape in traced if kind == "Conv2d"]
    assert list(dict.fromkeys(convolved)) == blocks
    pooled = [shape[1:] for kind, shape in traced if "Pool" in kind]
    assert pooled[-2:] == [(512, 1, 1), (512, 7, 7)]
    assert traced[-1] == ("Linear", (1, 10))


@pytest.mark.parametrize("layers", [11, 13, 16, 19])
def test_a_configuration_is_named_by_its_layers_with_weights(layers):
    """Simonyan & Zisserman (ICLR 2015), Table 1, configurations A, B, D and E; C's are 16 too."""
    weighted = [each for each in waiting(f"vgg{layers}").modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    assert len(weighted) == layers
    assert [each.out_features for each in weighted[-3:]] == [4096, 4096, 1000]
