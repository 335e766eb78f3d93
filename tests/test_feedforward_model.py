"""Style encoder, generator and the file that holds both: shapes, gradients, the numbers of their papers, and errors."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from photostyle.errors import PhotostyleError
from photostyle.feedforward.encoder import INCEPTION_LAYERS, SmallFeatures, StyleEncoder, style_network
from photostyle.feedforward.generator import Generator
from photostyle.feedforward.injection import INJECTIONS
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.settings import ModelSettings, Origin
from photostyle.feedforward.style import Style
from photostyle.networks.network import random_network

TINY = ModelSettings(channels=4, blocks=1, dimension=8, style_network="small")
ORIGIN = Origin("12 photographs", "CC0", {"contents": 64 * "a"}, {"steps": "7"})


def model_of(settings: ModelSettings = TINY, origin: Origin | None = None) -> StyleModel:
    torch.manual_seed(0)
    return StyleModel(settings, origin=origin).eval()


def pictures(batch: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def inception() -> nn.Module:
    return random_network("inception_v3").module


@pytest.mark.parametrize("injection", INJECTIONS)
@pytest.mark.parametrize("size", [(8, 8), (9, 14), (33, 47), (34, 45), (35, 40), (36, 41)])
def test_any_size_comes_out_as_it_went_in_and_in_range(injection, size):
    model = model_of(replace(TINY, injection=injection))
    with torch.no_grad():
        out = model(pictures(2, *size), model.style(pictures(2, 24, 31, seed=1)))
    assert out.shape == (2, 3, *size)
    assert 0 < out.min() and out.max() < 1


@pytest.mark.parametrize("injection", INJECTIONS)
@pytest.mark.parametrize("norm", ["instance", "none"])
def test_every_parameter_of_a_model_takes_part_and_the_style_changes_the_picture(injection, norm):
    model = model_of(replace(TINY, injection=injection, decoder_norm=norm, blocks=2))
    contents = pictures(2, 24, 28)
    out = model(contents, model.style(pictures(2, 24, 28, seed=1)))
    (out * torch.linspace(-1, 1, 28)).square().sum().backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in model.parameters())
    # What an instance normalisation follows it subtracts: the biases of convolutions before one have no say.
    silent = {name for name, each in model.named_parameters() if each.grad.abs().max() < 1e-7}
    assert all(name.endswith("convolution.bias") for name in silent), silent
    other = model(contents, model.style(0.3 * pictures(2, 24, 28, seed=2)))
    assert (out - other).abs().max() > 1e-4


def test_the_generator_is_johnsons():
    generator = Generator(32, 5, "film", 128)
    shapes = [tuple(layer.convolution.weight.shape) for layer in (*generator.down, *generator.up)]
    # Johnson et al. 2016, supplementary, table 1; upsampling in the place of its convolutions of stride 1/2.
    assert shapes == [
        (32, 3, 9, 9),
        (64, 32, 3, 3),
        (128, 64, 3, 3),
        (64, 128, 3, 3),
        (32, 64, 3, 3),
        (3, 32, 9, 9),
    ]
    assert [layer.stride for layer in (*generator.down, *generator.up)] == [1, 2, 2, 1, 1, 1]
    assert [layer.upsample for layer in (*generator.down, *generator.up)] == [
        False,
        False,
        False,
        True,
        True,
        False,
    ]
    assert len(generator.blocks) == 5
    assert all(conv.weight.shape == (128, 128, 3, 3) for b in generator.blocks for conv in b.convolutions)


def test_without_a_style_of_its_own_every_last_map_has_one_mean_where_the_decoder_is_normalised():
    """Why decoder_norm can be "none": what goes into the last convolution is normalised to fixed numbers."""
    seen: list[torch.Tensor] = []
    for norm in ("instance", "none"):
        model = model_of(replace(TINY, decoder_norm=norm))
        layer = model.generator.up[1]
        hooked = layer.norm if layer.norm is not None else layer.convolution
        hooked.register_forward_hook(lambda module, given, out: seen.append(out.mean((2, 3))))
        with torch.no_grad():
            for seed in (1, 2):
                model(pictures(1, 32, 32), model.style(seed * 0.4 * pictures(1, 32, 32, seed)))
    torch.testing.assert_close(seen[0], seen[1], atol=1e-6, rtol=0)
    assert (seen[2] - seen[3]).abs().max() > 1e-3


def test_z_is_a_direction_of_length_alpha_which_is_learnt():
    encoder = model_of().encoder
    assert encoder is not None and encoder.alpha.item() == pytest.approx(math.sqrt(TINY.dimension))
    with torch.no_grad():
        encoder.alpha.fill_(3)
    looked_at = pictures(2, 40, 48)
    z = encoder(looked_at)
    torch.testing.assert_close(z.norm(dim=1), torch.full((2,), 3.0))
    h = encoder.linear(encoder.network(looked_at).mean((2, 3)))
    torch.testing.assert_close(z, 3 * h / h.square().sum(1, keepdim=True).sqrt())
    z.sum().backward()
    assert encoder.alpha.grad is not None and encoder.alpha.grad.abs() > 0


def test_the_encoder_differentiates_as_numbers_say():
    torch.manual_seed(0)
    encoder = StyleEncoder(SmallFeatures((2, 3)), 2).double()
    assert torch.autograd.gradcheck(encoder, pictures(1, 9, 8).double().requires_grad_())


@pytest.mark.slow
@pytest.mark.parametrize("injection", ["concat", "inject", "film"])
def test_the_generator_differentiates_as_numbers_say(injection):
    torch.manual_seed(0)
    generator = Generator(1, 1, injection, 2).double()
    z = torch.randn(1, 2, dtype=torch.float64, requires_grad=True)
    contents = pictures(1, 8, 9).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda c, z: generator(c, Style(z=z))[..., 2:6, 3:6], (contents, z))


@pytest.mark.slow
def test_inception_is_cut_at_mixed_6e(inception):
    network = style_network("inception_v3", inception)
    assert INCEPTION_LAYERS[-1] == "Mixed_6e" and network.channels == 768
    seen: list[torch.Tensor] = []
    hook = inception.Mixed_6e.register_forward_hook(lambda module, given, out: seen.append(out))
    looked_at = pictures(1, 96, 80)
    with torch.no_grad():
        inception((looked_at - 0.5) / 0.5)  # as photostyle.networks says its input has to be
        hook.remove()
        features = network.eval()(looked_at)
    torch.testing.assert_close(features, seen[0])


@pytest.mark.slow
def test_inception_learns_but_its_batch_statistics_stay(inception):
    settings = ModelSettings(channels=1, blocks=1, dimension=2)
    assert settings.style_network == "inception_v3", "the document's"
    model = StyleModel(settings, inception=inception).train()
    assert model.encoder is not None
    assert all(each.requires_grad for each in model.parameters())
    norm = model.encoder.network.layers.Conv2d_1a_3x3.bn
    before = norm.running_mean.clone()
    model.style(pictures(1, 75, 75)).z.sum().backward()
    assert torch.equal(norm.running_mean, before) and not norm.training
    assert model.encoder.network.layers.Mixed_6e.branch1x1.conv.weight.grad is not None


@pytest.mark.parametrize(("name", "side"), [("inception_v3", 74), ("small", 15)])
def test_a_style_too_small_for_its_network_is_refused(name, side, inception):
    encoder = StyleEncoder(style_network(name, inception), 2)
    with pytest.raises(PhotostyleError, match=f"{side + 9}x{side} is too small .* needs {side + 1} pixels"):
        encoder(pictures(1, side, side + 9))


@pytest.mark.parametrize("injection", INJECTIONS)
def test_a_saved_model_comes_back_as_it_was(injection, tmp_path):
    settings = replace(TINY, injection=injection)
    model, path = model_of(settings, ORIGIN), tmp_path / "model.safetensors"
    digest = model.save(path)
    assert model.save(path) == digest, "the same model, the same bytes"
    again = StyleModel.load(path)
    assert (again.settings, again.origin, again.training, again.sha256) == (settings, ORIGIN, False, digest)
    assert all(each.requires_grad and each.device.type == "cpu" for each in again.parameters())
    with torch.no_grad():
        out = [m(pictures(1, 16, 20), m.style(pictures(1, 20, 20, 1))) for m in (model, again)]
    assert torch.equal(*out)


def test_a_model_with_inception_comes_back_too(inception, tmp_path):
    model = StyleModel(replace(TINY, style_network="inception_v3"), inception=inception)
    model.save(tmp_path / "model.safetensors")
    again = StyleModel.load(tmp_path / "model.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def changed(path, change):
    """The file with other tensors or another text about itself."""
    state, about = load_file(path), {"format": 1, "settings": {}, "origin": {}}
    about["settings"] = json.loads(json.dumps(TINY.__dict__))
    change(state, about)
    save_file(state, path, {"photostyle": json.dumps(about)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state, about: state.pop("encoder.alpha"), "lacks tensor encoder.alpha"),
        (lambda state, about: state.update(more=torch.ones(1)), "has an unknown tensor more"),
        (lambda state, about: state.update({"encoder.alpha": torch.ones(2)}), r"encoder.alpha is \(2,\)"),
        (lambda state, about: state["encoder.alpha"].fill_(math.nan), "encoder.alpha holds NaN"),
        (lambda state, about: about["settings"].update(blocks=2), "lacks tensor generator.blocks.1"),
        (
            lambda state, about: about["settings"].update(injection="magic"),
            "injection is 'magic'; it must be one",
        ),
        (lambda state, about: about["settings"].update(blocks="many"), "blocks is 'many'"),
        (lambda state, about: about["settings"].update(hue=1), "does not say what model it is"),
        (lambda state, about: about["origin"].update(licence=3), "texts are no texts"),
        (lambda state, about: about.update(origin=None), "does not say what model it is"),
        (lambda state, about: about["settings"].update(dimension="9" * 5000), "dimension is '999"),
        (
            lambda state, about: about["settings"].update(blocks=10**9),
            "lacks tensors for its 1000000000 blocks",
        ),
        (lambda state, about: about["settings"].update(channels=10**12), "is of impossible size"),
        (lambda state, about: about["settings"].update(channels=10**30), "is of impossible size"),
        (lambda state, about: about.update(format=9), "format 9, this version reads 1"),
        (lambda state, about: about.clear(), "holds tensors but no photostyle model"),
    ],
)
def test_a_file_that_is_no_such_model_is_one_line(change, message, tmp_path):
    path = tmp_path / "model.safetensors"
    model_of().save(path)
    changed(path, change)
    with pytest.raises(PhotostyleError, match=message) as error:
        StyleModel.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 500


def test_no_file_or_no_safetensors_is_one_line(tmp_path):
    with pytest.raises(PhotostyleError, match="does not exist"):
        StyleModel.load(tmp_path / "model.safetensors")
    for name in ("model.pth", "model.png"):
        with pytest.raises(PhotostyleError, match="a model is a"):
            StyleModel.load(tmp_path / name)
        with pytest.raises(PhotostyleError, match="rename it"):
            model_of().save(tmp_path / name)
    damaged = tmp_path / "damaged.safetensors"
    model_of().save(damaged)
    damaged.write_bytes(damaged.read_bytes()[:-5])
    with pytest.raises(PhotostyleError, match="is damaged"):
        StyleModel.load(damaged)
    damaged.write_bytes(b"")
    with pytest.raises(PhotostyleError, match="is damaged"):
        StyleModel.load(damaged)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("channels", 0, "must be at least 1"),
        ("blocks", 1.5, "at least 1"),
        ("injection", "x", "one of 'concat'"),
    ],
)
def test_settings_that_are_none_are_refused(name, value, message):
    with pytest.raises(PhotostyleError, match=message):
        replace(TINY, **{name: value})
