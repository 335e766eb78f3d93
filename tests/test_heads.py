"""New heads: the shapes that the source document traces, VGGs cut after a block, files that say what they are of."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from photostyle.errors import PhotostyleError
from photostyle.files.tensors import write_tensors
from photostyle.networks.heads import Head, head_of, headed, read_head
from photostyle.networks.network import find_network
from photostyle.networks.published import module_of


def shapes(module: nn.Module, size: int) -> list[tuple[int, ...]]:
    """(C, H, W) before each pool, after the last, after the adaptive one, then the logits; nothing is computed."""
    found: list[tuple[int, ...]] = []
    pools = [layer for layer in module.modules() if isinstance(layer, nn.MaxPool2d)]
    for pool in pools:
        pool.register_forward_pre_hook(lambda _, given: found.append(tuple(given[0].shape[1:])))
    module.get_submodule("features").register_forward_hook(
        lambda *each: found.append(tuple(each[2].shape[1:]))
    )
    module.get_submodule("avgpool").register_forward_hook(
        lambda *each: found.append(tuple(each[2].shape[1:]))
    )
    found.append(tuple(module(torch.zeros(1, 3, size, size, device="meta")).shape[1:]))
    return found


def test_the_document_s_trace_of_cifar_and_its_ten_classes_on_512x7x7() -> None:
    network = headed("vgg16", 10, 5, initialised=False)
    trace = [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
        (512, 2, 2),
        (512, 1, 1),
        (512, 7, 7),
        (10,),
    ]
    assert shapes(network, 32) == trace
    assert head_of(network).weight.shape == (10, 512 * 7 * 7)


def test_the_document_s_pool_and_its_sixty_breeds() -> None:
    network = headed("vgg16", 60, 5, initialised=False)
    assert shapes(network, 600)[-2:] == [(512, 7, 7), (60,)]
    assert network.get_submodule("avgpool")(torch.zeros(1, 3, 2, 2)).shape == (1, 3, 7, 7)
    dense = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in dense] == [60]


@pytest.mark.parametrize(
    "blocks, channels, convolutions", [(1, 64, 2), (2, 128, 4), (3, 256, 7), (4, 512, 10)]
)
def test_fewer_layers_are_the_first_of_all(blocks: int, channels: int, convolutions: int) -> None:
    cut = headed("vgg16", 10, blocks, initialised=False).get_submodule("features")
    whole = module_of("vgg16", 10, initialised=False).get_submodule("features")
    assert str(cut) == str(whole[: len(list(cut))])
    assert sum(isinstance(layer, nn.Conv2d) for layer in cut) == convolutions
    assert shapes(headed("vgg16", 10, blocks, initialised=False), 32)[-2] == (channels, 7, 7)


def test_random_weights_are_spread_as_torchvision_s_are() -> None:
    """He et al. 2015, eq. 10: a variance of 2 over the weights that lead to a channel's outputs; 0.01 in the head."""
    torch.manual_seed(0)
    network = headed("vgg11_bn", 10, 2, initialised=True)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            wanted = (2 / (9 * layer.out_channels)) ** 0.5 if isinstance(layer, nn.Conv2d) else 0.01
            # The deviation of n numbers is known to 1 / sqrt(2 n) of itself: 1.7 % of the first layer's 1728; thrice.
            assert float(layer.weight.detach().std()) == pytest.approx(wanted, rel=0.05)
            assert not layer.bias.detach().any()
        if isinstance(layer, nn.BatchNorm2d):
            assert (
                (layer.weight == 1).all() and (layer.running_var == 1).all() and not layer.running_mean.any()
            )


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v3_small", "squeezenet1_1"])
def test_a_new_head_begins_at_even_odds(name: str) -> None:
    """At a loss of ln 10 = 2.3 for ten classes; EfficientNets' own heads are spread by 1/√10."""
    torch.manual_seed(0)
    head = head_of(headed(name, 10, 0, initialised=True))
    assert float(head.get_parameter("weight").detach().std()) == pytest.approx(0.01, rel=0.05)
    assert not head.get_parameter("bias").detach().any()


@pytest.mark.parametrize("name, blocks", [("vgg16", 0), ("vgg16", 6), ("resnet18", 2)])
def test_blocks_that_a_network_has_not_are_refused(name: str, blocks: int) -> None:
    with pytest.raises(PhotostyleError, match=rf"{name} has .*, not {blocks}"):
        headed(name, 10, blocks, initialised=False)


@pytest.mark.parametrize("name, blocks", [("vgg11", 1), ("squeezenet1_1", 0), ("shufflenet_v2_x0_5", 0)])
def test_a_file_says_what_it_is_of_and_comes_back(tmp_path: Path, name: str, blocks: int) -> None:
    module = headed(name, 3, blocks, initialised=True).eval()
    path, classes = tmp_path / "a.safetensors", ("cat", "dog", "é")
    head = Head(name, blocks, size=64, resize=73)
    write_tensors(path, module.state_dict(), head.metadata() | {"classes": json.dumps(classes)})
    found = find_network(name, path)
    assert (found.classes, found.size, found.resize, found.source) == (classes, 64, 73, "file")
    pictures = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(found.module(pictures), module(pictures), rtol=0, atol=0)
    assert read_head(path, name) == head
    with pytest.raises(PhotostyleError, match=f"is of {name}, not resnet18: name the network"):
        find_network("resnet18", path)


def test_half_a_description_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": torch.ones(1)}, {"network": "vgg11", "blocks": "one"})
    with pytest.raises(PhotostyleError, match="names its network and does not describe it"):
        read_head(path, "vgg11")
    write_tensors(path, load_file(path), {})
    assert read_head(path, "vgg11") is None
