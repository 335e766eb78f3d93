"""Named settings: what each preset changes of the configuration's defaults, and why.

`Config`'s own defaults are the preset `patches`.
"""

from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from photostyle.config import Config, Recipe
from photostyle.errors import PhotostyleError
from photostyle.files.arrays import mask_set_of, picture_of
from photostyle.files.images import Picture
from photostyle.files.masks import MaskSet
from photostyle.losses.weights import Weights, locate
from photostyle.settings import PICTURES, all_typed

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


# What the methods from before this one share: one stage of Adam from the photo, distances in the network's own units,
# and none of this project's terms.
CLASSIC: dict[str, Any] = {
    "strength": 1.0,
    "boldness": 1.0,
    "start": "content",
    "optimiser": "adam",
    "rate_decay": False,
    "feature_scale": "released",
    "patch_weight": 0.0,
    "texture_weight": 0.0,
    "structure_weight": 0.0,
    "consistency_weight": 0.0,
    "photorealism_coarse": (),
    "photorealism_of": "picture",
    "protect": ("none",),
}
# Style transfer after Gatys et al. 2016: a painting, of the whole picture, without photorealism.
PAINTING: dict[str, Any] = CLASSIC | {
    "masks": ("none",),
    "coarsest": 512,
    "soft_regions": False,
    "gram_over": "positions",
    "photorealism_weight": 0.0,
    "enlarging": "pixels",
    "first_picture": False,
    "metrics": False,
}

PRESETS: dict[str, dict[str, Any]] = {
    "patches": {},
    # What more time can buy: three times the steps with twice the directions in each. What they gain in style is spent
    # on edges and calm. (At 700 px style gains most, and edges lose where there is fine texture to match.)
    "best": {
        "iterations": (200, 120, 40),
        "patch_draws": 24,
        "structure_weight": 0.055,
        "photorealism_weight": 0.6,
        "photorealism_coarse": (0.32, 0.32, 0.32, 0.12, 0.12),
    },
    # The canvas by itself: no evaluation of anything.
    "instant": {"iterations": (0,), "patch_weight": 0.0, "texture_weight": 0.0, "metrics": False},
    # Gram and patches fail in different places (colours / meaning): the sum of both. Set on six of the published pairs
    # with a quarter-width VGG-19; relative distances are meant to carry the weights to the full one, on which they have
    # not been measured. Gram matrices know nothing of blank walls and pull harder at edges, so what holds them is
    # stronger than in `patches`: with half the photorealism and 0.05 of Gram the backdrop of 33 gets specks. Their
    # curvature has to be learnt, and at 512 px, where they pull hardest, six steps are too few.
    "photoreal": {
        "iterations": (60, 40, 16),
        "gram_weight": 0.033,
        "content_weight": 0.005,
        "patch_weight": 1.2,
        "structure_weight": 0.057,
        "photorealism_weight": 0.6,
        "photorealism_coarse": (0.6, 0.6, 0.6, 0.25, 0.25),
        "photorealism_luma": 0.2,
    },
    "gatys-vgg19": PAINTING
    | {
        # A program for Keras that many notebooks have. Keras's block5_conv2 ends in its ReLU.
        "content_layers": ("relu5_2",),
        "content_weight": 1e3,
        "style_layers": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        "style_layer_weights": (0.2,) * 5,
        "gram_weight": 1e-2,
        "network_input": "caffe",
        "iterations": (100,),
        # A step of 2 levels of 255. Their gradients are by levels, so that an epsilon of 0.1 is 255 times that here.
        "learning_rate": 2 / 255,
        "moments": (0.99, 0.999),
        "adam_epsilon": 0.1 * 255,
        "keep": "lowest",
    },
    "gatys-vgg16": PAINTING
    | {
        # A program for PyTorch of which neither layers, optimiser, rate nor weights are known: the first layer of each
        # block before its ReLU, as most of this form have them, Adam, and weights of 1, with which its last terms
        # (content 151, style 1.1) can be. The rate is ours: with a hundredth of the range 600 steps go as far as they
        # want to.
        "encoder": "vgg16",
        "content_layers": ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
        "content_weight": 1.0,
        "style_layers": ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
        "gram_weight": 1.0,
        "iterations": (600,),
        "learning_rate": 0.01,
        "moments": (0.9, 0.999),
        "save_every": 100,
    },
    # The source slides and their notebooks (experiments/003-source-slides): Luan et al.'s terms on torchvision's VGG-19
    # with average pooling, before the ReLU, photo and reference squeezed to one size, all four defects on. Trials were
    # at 128 x 128 (--squeeze 128 128), the last run at 461 x 590 (--squeeze 461 590 --iterations 15000).
    "slides": CLASSIC
    | {
        "squeeze": (512, 512),
        "first_pass": 500,
        "iterations": (2000,),
        "pooling": "average",
        "content_layers": ("conv4_2",),
        "content_weight": 1e4,
        "style_layers": ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
        "gram_weight": 1e7,
        "gram_over": "picture",
        "soft_regions": False,
        "energies": "sum",
        "photorealism_weight": 3e-5,
        "photorealism_epsilon": 1e-7,
        "photorealism_laplacian": "naive",
        # 1e-4 of squared differences where a channel is over its deviation of 0.226, and without the half.
        "variation_weight": 2 * 1e-4 / 0.226**2,
        "variation_of": "sum",
        "learning_rate": 6e-3,
        "moments": (0.9, 0.999),
        "weight_decay": 1e-2,
    },
    # Low resolution, minutes for dozens of runs.
    "search": {"size": 128, "iterations": (60,)},
    # The released code (neuralstyle_seg.lua, deepmatting_seg.lua, README): 700 px, noise, 1000 evaluations without
    # and 1000 with the matting term, smoothing 15/0.01. On ImageNet-normalised features content is 5 * 57^2 and
    # style 100 * 57^4 (an input 57 times smaller than Caffe's); TV 1e-3 on the 256 scale is 65.5 on [0, 1].
    "released": {
        "strength": 1.0,
        "boldness": 1.0,
        "size": 700,
        "coarsest": 700,
        "start": "noise",
        "first_pass": 1000,
        "iterations": (1000,),
        "optimiser": "lbfgs",
        "history": 20,
        "feature_scale": "released",
        "energies": "sum",
        "content_weight": 1.6e4,
        "gram_weight": 1e9,
        "patch_weight": 0.0,
        "texture_weight": 0.0,
        "structure_weight": 0.0,
        "consistency_weight": 0.0,
        "variation_weight": 65.5,
        "photorealism_weight": 1e4,
        "photorealism_coarse": (),
        "photorealism_epsilon": 1e-7,
        "photorealism_of": "picture",
        "smooth_radius": 15,
        "smooth_edge": 0.01,
        "protect": ("none",),
    },
}


def resolve_preset(name: str, weights: Path | Weights | None, encoder: str, download: bool) -> str:
    """The preset that a name stands for: `auto` is `photoreal` where VGG weights are to be had, else `patches`."""
    if name != "auto":
        if name not in PRESETS:
            raise PhotostyleError(f'no preset "{name}"; there are: auto, {", ".join(PRESETS)}')
        return name
    return "patches" if locate(weights, encoder, download) is None else "photoreal"


def configure(preset: str = "auto", **settings: Any) -> Config:
    """A configuration from a preset and what differs from it.

    content, style (one or several) and start_file: paths, as strings too, or pictures in memory as `arrays.picture_of`
    takes them. masks: as the command line takes them, or masks in memory as `arrays.mask_set_of` takes them. weights: a
    path, or what `weights.find` has found, so that many pictures read them once.
    Raises PhotostyleError on an unknown preset or setting, and for what is no picture or mask.
    """
    known = {field.name: field for field in fields(Config)}
    _refuse_unknown(settings, known)
    missing = {f.name for f in known.values() if f.default is MISSING} - settings.keys()
    if missing:
        raise PhotostyleError(f"configure() needs {' and '.join(sorted(missing))}")
    style = settings["style"] if isinstance(settings["style"], list | tuple) else [settings["style"]]
    settings |= {"content": _source(settings["content"]), "style": tuple(map(_source, style))}
    if settings.get("start_file") is not None:
        settings["start_file"] = _source(settings["start_file"])
    if "masks" in settings:
        settings["masks"] = _masks(settings["masks"])
    settings |= all_typed({name: value for name, value in settings.items() if name not in PICTURES})
    name = resolve_preset(
        preset, settings.get("weights"), settings.get("encoder", "vgg19"), settings.get("download", True)
    )
    return with_iterations(Config(**{"preset": name, **PRESETS[name], **settings}))


def recipe(preset: str = "patches", **settings: Any) -> Recipe:
    """A recipe by itself, for `solve`: a preset and what differs from it.

    Raises PhotostyleError on an unknown preset (auto is none: it asks what files there are) or setting.
    """
    if preset not in PRESETS:
        raise PhotostyleError(f'no preset "{preset}"; there are: {", ".join(PRESETS)}')
    _refuse_unknown(settings, {field.name for field in fields(Recipe)})
    # What a preset says beside the recipe is of the run.
    own = {name: value for name, value in PRESETS[preset].items() if hasattr(Recipe, name)}
    return with_iterations(Recipe(**{"preset": preset, **own, **all_typed(settings)}))


def with_iterations(recipe: AnyRecipe) -> AnyRecipe:
    """The same with its evaluations written out, so that a record says what was done."""
    return replace(recipe, iterations=recipe.evaluations)


def _refuse_unknown(settings: Mapping[str, Any], known: Collection[str]) -> None:
    if unknown := [name for name in settings if name not in known]:
        raise PhotostyleError(f"no setting named {', '.join(sorted(unknown))}; see photostyle.Config")


def _source(value: Any) -> Path | Picture:
    if isinstance(value, str | Path):
        return Path(value)
    return value if isinstance(value, Picture) else picture_of(value)


def _masks(masks: Any) -> tuple[str | MaskSet, ...]:
    """A word or a path, masks in memory, or a sequence of those, one for each picture."""
    if isinstance(masks, str | Path):
        return (str(masks),)
    if not isinstance(masks, list | tuple):
        raise PhotostyleError(
            f"masks is a {type(masks).__name__}; give a word or a list, the photo's mask and one for each reference"
        )
    return tuple(
        str(each)
        if isinstance(each, str | Path)
        else each
        if isinstance(each, MaskSet)
        else mask_set_of(each)
        for each in masks
    )
