"""The configuration in three parts: what is read, what decides the pixels, and how a run goes.

The command line, records and files of settings have all three in one flat row, `Config`; a function asks for the part
that it needs. Each field's docstring is its --help. The settings of a term stand with the term, in losses/. The
defaults are the preset `patches`; presets.py holds what the other presets change.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from photostyle.bounds import AtLeast, Between, Count, Share
from photostyle.files.images import Picture
from photostyle.files.masks import MaskSet
from photostyle.losses.consistency import Consistency, ConsistencySettings
from photostyle.losses.content import Content, ContentSettings
from photostyle.losses.gram import Gram, GramSettings
from photostyle.losses.patches import Patches, PatchSettings
from photostyle.losses.photorealism import Photorealism, PhotorealismSettings
from photostyle.losses.structure import Structure, StructureSettings
from photostyle.losses.term import Term
from photostyle.losses.texture import Texture, TextureSettings
from photostyle.losses.variation import Variation, VariationSettings
from photostyle.losses.weights import Weights

MASK_WORDS = ("none", "auto", "cluster")  # what --masks takes beside paths
# Evaluations of each stage where none are given: as many as each optimiser needs to settle at 128, 256 and 512 px.
ITERATIONS = {"mm": (60, 36, 6), "adam": (120, 100, 50), "lbfgs": (120, 100, 50)}
NAMES_FILES = "names files"  # marks a field whose words may be paths

# The terms of the objective, in the order in which they are added up. A new one stands here and among the bases of
# Recipe.
TERMS: tuple[type[Term], ...] = (
    Content,
    Gram,
    Patches,
    Texture,
    Structure,
    Variation,
    Photorealism,
    Consistency,
)


@dataclass(frozen=True)
class Inputs:
    """What is read: photographs, masks, weights. From Python what is in memory already may stand for a file."""

    content: Path | Picture
    """the photograph whose structure is kept"""
    style: tuple[Path | Picture, ...]
    """the reference photograph whose colours, light and mood are taken; of several each region takes a mixture of those
    that have it"""
    masks: Annotated[tuple[str | MaskSet, ...], NAMES_FILES] = ("none",)
    """region masks: CONTENT_MASK and a STYLE_MASK for each reference (files, or folders with a legend.toml); none: one
    region; auto: made by a pretrained segmenter, or where none can be had or it is not sure by clustering what a
    small network sees (extra semantic), else none; cluster: made by clustering"""
    weights: Path | Weights | None = None
    """VGG weights (.pth or .safetensors, torchvision names); default: torch hub cache, then download"""
    start_file: Path | Picture | None = None
    """the picture that --start file begins with"""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file and folder that is named, masks too."""
        masks = (Path(name) for name in self.masks if isinstance(name, str) and name not in MASK_WORDS)
        named = (self.content, *self.style, *masks, self.weights, self.start_file)
        return tuple(each for each in named if isinstance(each, Path))


@dataclass(frozen=True)
class LookSettings:
    """What result is wanted."""

    preset: Literal[
        "auto",
        "best",
        "gatys-vgg16",
        "gatys-vgg19",
        "instant",
        "patches",
        "photoreal",
        "released",
        "search",
        "slides",
    ] = "auto"
    """named settings that all other options start from; auto is photoreal with VGG weights, else patches"""
    style_weights: tuple[float, ...] = ()
    """weights of the references in the mixture, one each; default: the same for all"""
    size: Annotated[int, AtLeast(32)] = 512
    """long side of the last stage in pixels; the result has the photo's own size whatever this is"""
    squeeze: tuple[int, ...] = ()
    """height and width that photo and references are squeezed to for one only stage, whatever their shapes, as the
    source slides do; default: shapes are kept, and --size counts"""
    enlarging: Literal["maps", "pixels"] = "maps"
    """how what was solved comes to the photo's own size: as maps of colour through which the photo goes, or as pixels,
    which a painting has to be"""
    strength: Annotated[float | None, Between(0, 1)] = None
    """how far to go, 0 (the photo) to 1: C + s (A - I) [C; 1] for the result's affine maps A; default: all of the way
    where regions are related, by masks that were given or by their colours, else so far that colours move by 30 ΔE"""
    boldness: Annotated[float | None, Between(0, 1)] = None
    """what to go towards, from the closed-form colour map that hardly stretches, 0, to all that the reference's
    regions hold, 1; default: by how related each region is to its reference"""
    region_strength: tuple[str, ...] = ()
    """strengths of single regions by their names in the photo's mask, as in sky=0.5 person=0.2; the others have
    --strength"""
    protect: tuple[str, ...] = ("skin",)
    """what keeps its own hue, within 5 degrees, and its order of light and dark: skin, found where a face is seen from
    the front (with eyes, teeth and hair), regions of the photo's mask by their names, or none"""
    second_look: bool = True
    """hold the finished picture back where signs speak against it (doubt above 0.6), as far as nobody painted its
    regions; only where it was not said how far to go, by --strength, or by a --boldness above 0"""
    preserve_luminance: bool = False
    """keep the photo's lightness (CIELAB L*) in every pixel and take only the reference's colours"""


@dataclass(frozen=True)
class Recipe(
    # The last comes first in --help: a dataclass has the fields of its last base first.
    ConsistencySettings,
    PhotorealismSettings,
    VariationSettings,
    StructureSettings,
    TextureSettings,
    PatchSettings,
    GramSettings,
    ContentSettings,
    LookSettings,
):
    """Everything that decides a pixel of the result and nothing else: the same inputs and recipe, the same picture."""

    start: Literal["colour", "content", "noise", "file"] = "colour"
    """where the optimisation starts: the photo recoloured per region, the photo, noise, or --start-file"""
    feather: Count = 8
    """radius in pixels, at 256 px, over which region borders follow the photo's edges; 0 keeps them hard"""
    coarsest: Annotated[int, AtLeast(32)] = 128
    """long side of the first stage; stages double it until --size (a value >= --size: one stage)"""
    iterations: tuple[int, ...] = ()
    """evaluations of each stage, coarse to fine; the last number serves all further stages; 0: none; default: 60 36 6
    with mm, 120 100 50 with adam and lbfgs"""
    first_pass: Count = 0
    """evaluations without photorealism before the first stage (the released code's stage one)"""
    # Of the range of the image.
    learning_rate: Annotated[float, Between(1e-6, 1)] = 0.05
    """Adam's first step size in image units"""
    rate_decay: bool = True
    """let Adam's step size fall to a tenth over each stage, and halve it from stage to stage"""
    # The past of a mean: with a weight of 1 it would stay what it was for ever.
    moments: tuple[float, ...] = (0.9, 0.99)
    """weight of the past in Adam's means of the gradient and of its square (beta1 and beta2)"""
    adam_epsilon: Annotated[float, Between(1e-12, 1e3)] = 1e-8
    """what Adam adds to the root of the mean square of a gradient, in units of the loss for a picture in [0, 1]"""
    weight_decay: Annotated[float, Between(0, 1)] = 0.0
    """Adam's pull on every pixel towards black (L2; a defect of the source slides' notebooks)"""
    history: Annotated[int, AtLeast(1)] = 10
    """pairs of gradients L-BFGS remembers"""
    keep: Literal["last", "lowest"] = "last"
    """which picture of a stage is kept: the last, or that of the lowest loss"""
    averaging: Share = 0.0
    """weight of the past in an exponential average of the iterates; 0: the last iterate"""
    smooth_radius: Count = 0
    """radius of the local affine smoothing of the result in pixels; 0: off (released: 15)"""
    # From a 16-bit level on: the square of much less is zero in float32.
    smooth_edge: Annotated[float, Between(1e-5, 1)] = 0.01
    """the smoothing's colour scale in image units: a smaller value stops at fainter edges"""

    @property
    def evaluations(self) -> tuple[int, ...]:
        """The evaluations of each stage: as given, else the optimiser's own."""
        return self.iterations or ITERATIONS[self.optimiser]


@dataclass(frozen=True)
class RunOptions:
    """How a run goes: where it writes, on what it computes, how masks and weights are come by."""

    output: Path = Path("out.png")
    """the picture to write (.png .jpg .tif .webp); its record is written beside it as .json"""
    segmenter: str = "auto"
    """what makes masks: light, strong, segformer (non-commercial), deeplab, an smp-hub/... model, a folder or file of
    weights, an .onnx file; auto: light"""
    segmenter_revision: str | None = None
    """commit of a hub model, or SHA-256 of other segmenter weights; default: as cached, else the newest"""
    refine_masks: bool = True
    """let the borders of masks made here follow hair, leaves and roofs (matting)"""
    download: bool = True
    """fetch VGG and segmenter weights when they are neither given nor cached"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where to compute; auto takes CUDA where there is one"""
    deterministic: bool = False
    """same record, same bytes on CUDA too (slower); the CPU always is"""
    threads: Count = 0
    """CPU threads; 0: torch's own choice. Another number may change the last bits"""
    checkpoints: bool = True
    """keep a checkpoint beside the output while it is solved, at most every 5 s; the finished picture removes it"""
    resume: bool = False
    """go on from the checkpoint that an unfinished run of the same has left beside the output, to the same bytes"""
    fit: bool = False
    """where memory does not suffice, try again at smaller sizes, down to --coarsest"""
    save_every: Count = 0
    """write the unfinished picture beside the output every N evaluations; 0: never"""
    animate: Path | None = None
    """write how the picture came about as a moving one (.gif or .webp), a frame wherever what is kept changed"""
    show: bool = False
    """show photo, reference and result in a window when all is done"""
    first_picture: bool = True
    """write a picture of the colours alone at once, which the finished one replaces; not with --quiet"""
    keep_solved: bool = True
    """keep the small picture that was solved beside the output, for `photostyle adjust`"""
    region_sheet: bool = True
    """where there are several regions, draw them beside the output over photo and references"""
    plot: bool = False
    """draw the loss curves beside the output"""
    metrics: bool = True
    """score the result and its artefacts for its record (seconds); see `photostyle score`"""
    quiet: bool = False
    """print nothing but errors"""


@dataclass(frozen=True)
class Config(RunOptions, Recipe, Inputs):
    """A photo and a reference become a photorealistic result."""

    @property
    def recipe(self) -> Recipe:
        """The recipe by itself."""
        return Recipe(**{field.name: getattr(self, field.name) for field in fields(Recipe)})
