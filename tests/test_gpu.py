"""The same numbers on CUDA as on the CPU, and the same bytes twice where --deterministic asks for them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from classifiers import NAME, save_taught
from torch import Tensor
from vgg import narrow_vgg

from photostyle.cli import program as cli
from photostyle.cli.console import DONE
from photostyle.config import Recipe
from photostyle.files.images import write_image
from photostyle.imaging.filters import halve, luma, resize
from photostyle.imaging.matting import MattingOperator
from photostyle.imaging.rendering import enlarge, smooth_local_affine
from photostyle.losses.content import content_loss
from photostyle.losses.encoders import Encoder
from photostyle.losses.gram import gram_loss, region_grams
from photostyle.losses.patches import PatchStyle
from photostyle.losses.photorealism import photorealism_loss
from photostyle.losses.structure import structure_loss
from photostyle.losses.variation import variation_loss
from photostyle.networks.network import find_network
from photostyle.objective import Objective
from photostyle.optimisers import optimise
from photostyle.presets import recipe
from photostyle.recognition.recognise import recognise
from photostyle.regions.mixture import alone
from photostyle.scene import Scene, Stage

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]

# Float32 sums of 10^4 terms differ in order by 1e-5 at most; a hundred times that is a different formula.
AGREEMENT = 1e-3
STAGE = Stage(number=0, long_side=96, height=64, width=96, iterations=10, photorealism=True)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


@pytest.fixture(autouse=True)
def settings_of_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Convolutions in full float32: TF32 rounds to 5e-4, and is not what is compared. Determinism ends with a test."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def photo(coffee: Tensor) -> Tensor:
    return resize(coffee, 64, 96)


@pytest.fixture(scope="module")
def style(chelsea: Tensor) -> Tensor:
    return resize(chelsea, 60, 90)


@pytest.fixture(scope="module")
def image(photo: Tensor) -> Tensor:
    """Neither the photo nor a recolouring of it."""
    grain = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    return (1 - photo + 0.05 * grain).clamp(0, 1)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return narrow_vgg(width=8)


def stripes(image: Tensor) -> Tensor:
    """A left and a right region."""
    masks = torch.zeros(2, *image.shape[1:])
    middle = image.shape[2] // 2
    masks[0, :, :middle], masks[1, :, middle:] = 1, 1
    return masks


def content(image: Tensor, photo: Tensor, style: Tensor) -> Tensor:
    return content_loss(image, photo, relative=True)


def gram(image: Tensor, photo: Tensor, style: Tensor) -> Tensor:
    ours, theirs = stripes(photo).to(image), stripes(style).to(image)
    return gram_loss(region_grams(image, ours), region_grams(style, theirs), ours.mean((1, 2)), relative=True)


def structure(image: Tensor, photo: Tensor, style: Tensor) -> Tensor:
    return structure_loss(image, luma(photo), 7)


def variation(image: Tensor, photo: Tensor, style: Tensor) -> Tensor:
    return variation_loss(image)


def photorealism(image: Tensor, photo: Tensor, style: Tensor) -> Tensor:
    scales = [(4.0**level, MattingOperator.of(halve(photo, level), 1e-4)) for level in range(3)]
    return photorealism_loss(image, scales)


def patches(image: Tensor, photo: Tensor, style: Tensor) -> Tensor:
    ours, theirs = stripes(photo).to(image), stripes(style).to(image)
    measured = PatchStyle(alone(style, theirs), ours, patch_size=5, levels=2, bank=16, seed=1)
    return measured(image, measured.draw(16, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    "loss",
    [content, gram, structure, variation, photorealism, patches],
    ids=lambda function: function.__name__,
)
def test_every_loss_and_its_gradient_are_the_cpus(loss: Loss, image: Tensor, photo: Tensor, style: Tensor):
    values, gradients = [], []
    for device in ("cpu", "cuda"):
        leaf = image.to(device).clone().requires_grad_()
        value = loss(leaf, photo.to(device), style.to(device))
        value.backward()
        assert value.device.type == device and leaf.grad is not None
        values.append(value.item())
        gradients.append(leaf.grad.cpu())
    assert values[1] == pytest.approx(values[0], rel=AGREEMENT)
    # A patch that rounds into the neighbouring bin gets a goal one bin's mass away: more than the value's rounding.
    slack = 10 * AGREEMENT if loss is patches else AGREEMENT
    assert (gradients[1] - gradients[0]).norm() <= slack * gradients[0].norm()


def test_the_matting_operator_is_the_cpus(photo: Tensor, image: Tensor):
    product = MattingOperator.of(photo)(image)
    on_device = MattingOperator.of(photo.cuda())(image.cuda())
    assert on_device.is_cuda
    assert (on_device.cpu() - product).norm() <= AGREEMENT * product.norm()


def test_features_are_the_cpus(state: dict[str, Tensor], photo: Tensor):
    encoder = Encoder(state, layers=("relu1_1", "relu3_1", "relu5_1"))
    ours, theirs = encoder(photo), encoder.cuda()(photo.cuda())
    for layer, features in ours.items():
        assert (theirs[layer].cpu() - features).norm() <= AGREEMENT * features.norm(), layer


def test_rendering_is_the_cpus(photo: Tensor, image: Tensor):
    small = resize(image, 32, 48)
    for render in (
        lambda p, s: enlarge(p, s),
        lambda p, s: smooth_local_affine(resize(p, 32, 48), s, 5, 0.1),
    ):
        on_device = render(photo.cuda(), small.cuda()).cpu()
        # Maps are fitted in float64; what is left is their application, on a scale of one.
        torch.testing.assert_close(on_device, render(photo, small), rtol=0, atol=AGREEMENT)


# What majorise-minimise learns of the network it learns from differences of gradients, where rounding counts more.
@pytest.mark.parametrize(("optimiser", "agreement"), [("adam", AGREEMENT), ("mm", 10 * AGREEMENT)])
def test_ten_steps_are_the_cpus(
    state: dict[str, Tensor], image: Tensor, photo: Tensor, style: Tensor, optimiser: str, agreement: float
):
    settings = Recipe(
        optimiser=optimiser,
        gram_weight=0.05,
        content_weight=0.005,
        content_layers=("relu2_2",),
        style_layers=("relu1_1", "relu2_1"),
        patch_levels=2,
    )
    runs = {}
    for device in ("cpu", "cuda"):
        ours, theirs = photo.to(device), style.to(device)
        scene = Scene(ours, stripes(photo).to(device), alone(theirs, stripes(style).to(device)))
        encoder = Encoder(state, layers=("relu1_1", "relu2_1", "relu2_2")).to(device)
        objective = Objective(settings, STAGE, scene, encoder)
        runs[device] = list(optimise(image.to(device), objective, STAGE, settings))
    for ours, theirs in zip(runs["cpu"], runs["cuda"], strict=True):
        assert theirs.image.is_cuda and theirs.losses.keys() == ours.losses.keys()
        assert theirs.total == pytest.approx(ours.total, rel=agreement)
    difference = runs["cuda"][-1].image.cpu() - runs["cpu"][-1].image
    moved = runs["cpu"][-1].image - image
    # Adam divides a gradient by its own size, so where that is all rounding a pixel may go either way: few do.
    assert difference.norm() <= 10 * AGREEMENT * moved.norm()


def test_ten_steps_of_lbfgs_are_the_cpus():
    # A bowl of a few pixels: on a photo the released first step moves a pixel by a few float32 roundings (unit L1 norm
    # over all of them, near 128), and the second step, made from that, is another one on every device.
    curvature = torch.linspace(1, 10, 60).view(3, 4, 5)
    target = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
    settings, runs = recipe("patches", optimiser="lbfgs"), {}
    for device in ("cpu", "cuda"):

        def bowl(image: Tensor) -> dict[str, Tensor]:
            return {"bowl": (curvature.to(image) * (image - target.to(image)).square()).sum()}

        start = torch.full((3, 4, 5), 0.5, device=device)
        runs[device] = list(optimise(start, bowl, STAGE, settings))
    for ours, theirs in zip(runs["cpu"], runs["cuda"], strict=True):
        assert theirs.image.is_cuda
        torch.testing.assert_close(theirs.image.cpu(), ours.image, rtol=0, atol=AGREEMENT)


@pytest.mark.parametrize("preset", ["patches", "photoreal", "released", "gatys-vgg19"])
def test_deterministic_runs_give_the_same_bytes(
    preset: str, state: dict[str, Tensor], coffee: Tensor, chelsea: Tensor, tmp_path: Path
):
    write_image(tmp_path / "photo.png", resize(coffee, 80, 120))
    write_image(tmp_path / "style.png", resize(chelsea, 70, 100))
    torch.save(state, tmp_path / "narrow.pth")
    written = []
    for name in ("one", "two"):
        arguments = ["run", "--content", "photo.png", "--style", "style.png", "--output", f"{name}.png"]
        paths = [str(tmp_path / word) if "." in word else word for word in arguments]
        options = ["--preset", preset, "--weights", str(tmp_path / "narrow.pth"), "--size", "96"]
        options += ["--coarsest", "48", "--iterations", "5", "--first-pass", "3", "--smooth-radius", "2"]
        code = cli.main([*paths, *options, "--device", "cuda", "--deterministic", "--quiet"])
        assert code == DONE
        written.append((tmp_path / f"{name}.png").read_bytes())
    assert written[0] == written[1]


def test_pictures_are_recognised_alike(coffee: Tensor, chelsea: Tensor, tmp_path: Path) -> None:
    network = find_network(NAME, save_taught(tmp_path / "w.safetensors", {"cup": coffee, "cat": chelsea}))
    ours = [recognise(picture, network) for picture in (coffee, chelsea)]
    network.module.to("cuda")
    theirs = [recognise(picture, network) for picture in (coffee, chelsea)]
    torch.testing.assert_close(torch.stack(theirs), torch.stack(ours), rtol=0, atol=AGREEMENT)
