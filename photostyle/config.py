"""The configuration: one frozen dataclass is the command line, the record and what every step reads.

The defaults are the preset `patches`; presets.py holds what the other presets change. Each field's docstring is
its --help. This module imports nothing of the project.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MASK_WORDS = ("none", "auto", "cluster")  # what --masks takes beside paths


@dataclass(frozen=True)
class Config:
    """A photo and a reference become a photorealistic result."""

    content: Path
    """the photograph whose structure is kept"""
    style: tuple[Path, ...]
    """the reference photograph whose colours, light and mood are taken; of several each region takes a mixture of those
    that have it"""
    style_weights: tuple[float, ...] = ()
    """weights of the references in the mixture, one each; default: the same for all"""
    masks: tuple[str, ...] = ("none",)
    """region masks: CONTENT_MASK and a STYLE_MASK for each reference (files, or folders with a legend.toml); none: one
    region; auto: made by a pretrained segmenter, or by clustering where none can be had; cluster: made without
    training"""
    output: Path = Path("out.png")
    """the picture to write (.png .jpg .tif .webp); its record is written beside it as .json"""
    preset: Literal["auto", "instant", "photoreal", "patches", "released", "search"] = "auto"
    """named settings that all other options start from; auto is photoreal with VGG weights, else patches"""
    size: int = 512
    """long side of the last stage in pixels; the result has the photo's own size whatever this is"""
    strength: float = 1.0
    """how far to go, 0 (the photo) to 1: C + s (A - I) [C; 1] for the result's affine maps A"""
    region_strength: tuple[str, ...] = ()
    """strengths of single regions by their names in the photo's mask, as in sky=0.5 person=0.2; the others have
    --strength"""
    preserve_luminance: bool = False
    """keep the photo's lightness (CIELAB L*) in every pixel and take only the reference's colours"""

    segmenter: str = "auto"
    """what makes masks: light, strong, segformer (non-commercial), deeplab, an smp-hub/... model, a folder or file of
    weights; auto: light, else clustering"""
    segmenter_revision: str | None = None
    """commit of a hub model, or SHA-256 of other segmenter weights; default: as cached, else the newest"""
    refine_masks: bool = True
    """let the borders of masks made here follow hair, leaves and roofs (matting)"""

    weights: Path | None = None
    """VGG weights (.pth or .safetensors, torchvision names); default: torch hub cache, then download"""
    encoder: Literal["vgg19", "vgg16"] = "vgg19"
    """the network whose features the Gram and content terms compare"""
    pooling: Literal["max", "average"] = "max"
    """max as in the released code, or average (Gatys et al. 2015)"""
    download: bool = True
    """fetch VGG and segmenter weights when they are neither given nor cached"""

    content_weight: float = 0.0
    """content: squared distance of the content layer's features"""
    content_layer: str = "relu4_2"
    """the layer of the content term"""
    gram_weight: float = 0.0
    """style by Gram matrices per region (Luan et al. 2017, eq. 3); needs VGG weights"""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """the layers of the Gram term"""
    feature_scale: Literal["relative", "released"] = "relative"
    """feature distances over the target's own norm (any encoder), or in the released code's units"""
    patch_weight: float = 1.0
    """style by patch distributions per region (sliced Wasserstein); training-free"""
    patch_size: int = 5
    """side of the patches in pixels"""
    patch_levels: int = 5
    """most pyramid levels of patches and texture, each half the one before"""
    patch_bank: int = 96
    """random filters a level, and directions that texture is seen along"""
    patch_draws: int = 24
    """filters of patches drawn from the bank at each step"""
    texture_weight: float = 2.0
    """style by the strength of filter responses per region (sliced Wasserstein), where the photo is not blank;
    training-free"""
    structure_weight: float = 0.04
    """structure: 1 - local correlation of the luma with the photo's"""
    structure_window: int = 7
    """side of the correlation's window in pixels"""
    variation_weight: float = 0.0
    """total variation of all three channels"""
    photorealism_weight: float = 0.3
    """matting energy at the stage's own resolution"""
    photorealism_coarse: tuple[float, ...] = (0.25, 0.25, 0.25, 0.1, 0.1)
    """matting energy at 1/2, 1/4, 1/8 ... of the stage's resolution"""
    photorealism_luma: float = 0.3
    """share of the coarse energies' weight that brightness has, 0 to 1: light may fall otherwise, hues may not drift"""
    photorealism_epsilon: float = 3e-5
    """ridge of the matting Laplacian in squared image units: variation below its root counts as noise and is not
    amplified (released: 1e-7)"""
    energies: Literal["mean", "sum"] = "mean"
    """photorealism and variation a pixel, or summed over the picture as the released code does"""

    start: Literal["colour", "content", "noise", "file"] = "colour"
    """where the optimisation starts: the photo recoloured per region, the photo, noise, or --start-file"""
    start_file: Path | None = None
    """the picture that --start file begins with"""
    feather: int = 8
    """radius in pixels, at 256 px, over which region borders follow the photo's edges; 0 keeps them hard"""
    coarsest: int = 128
    """long side of the first stage; stages double it until --size (a value >= --size: one stage)"""
    iterations: tuple[int, ...] = (120, 100, 50)
    """evaluations of each stage, coarse to fine; the last number serves all further stages; 0: none"""
    first_pass: int = 0
    """evaluations without photorealism before the first stage (the released code's stage one)"""
    optimiser: Literal["adam", "lbfgs"] = "adam"
    """Adam (clamped to [0, 1] after each step) or L-BFGS without line search, as released"""
    learning_rate: float = 0.05
    """Adam's first step size in image units; it decays to a tenth over each stage and halves from stage to stage"""
    history: int = 10
    """pairs of gradients L-BFGS remembers"""
    averaging: float = 0.0
    """weight of the past in an exponential average of the iterates; 0: the last iterate"""

    smooth_radius: int = 0
    """radius of the local affine smoothing of the result in pixels; 0: off (released: 15)"""
    smooth_edge: float = 0.01
    """the smoothing's colour scale in image units: a smaller value stops at fainter edges"""

    seed: int = 612
    """seed of every random draw (neuralstyle_seg.lua: 612)"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where to compute; auto takes CUDA where there is one"""
    deterministic: bool = False
    """same record, same bytes on CUDA too (slower); the CPU always is"""
    threads: int = 0
    """CPU threads; 0: torch's own choice. Another number may change the last bits"""
    save_every: int = 0
    """write the unfinished picture beside the output every N evaluations; 0: never"""
    plot: bool = False
    """draw the loss curves beside the output"""
    metrics: bool = True
    """score the result and its artefacts for its record (seconds); see `photostyle score`"""
    quiet: bool = False
    """print nothing but errors"""
