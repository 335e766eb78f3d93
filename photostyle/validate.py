"""Options checked once, at the door: after this nobody asks again whether a number makes sense."""

import math

from photostyle.config import Config
from photostyle.errors import PhotostyleError
from photostyle.losses.encoders import layers_down_to
from photostyle.regions.strength import region_strengths


def check(config: Config) -> None:
    """Validate the options at the door. Raises PhotostyleError."""
    for name, least in (
        ("size", 32),
        ("coarsest", 32),
        ("patch_size", 2),
        ("patch_levels", 1),
        ("patch_draws", 1),
        ("structure_window", 3),
        ("history", 1),
        ("first_pass", 0),
        ("save_every", 0),
        ("smooth_radius", 0),
        ("feather", 0),
        ("threads", 0),
    ):
        if (value := getattr(config, name)) < least:
            raise PhotostyleError(f"{_option(name)} is {value}; it must be at least {least}")
    for name, low, high in (
        ("strength", 0, 1),
        ("averaging", 0, 1),
        ("photorealism_luma", 0, 1),
        ("seed", 0, 2**32 - 1),
        ("learning_rate", 1e-6, 1),  # of the range of the image
        ("photorealism_epsilon", 1e-12, 1),  # below it float64 cannot invert a flat window's covariance
        ("smooth_edge", 1e-5, 1),  # a 16-bit level; the square of much less is zero in float32
    ):
        if not low <= (value := getattr(config, name)) <= high:
            raise PhotostyleError(f"{_option(name)} is {value}; it must lie between {low} and {high}")
    for name, value in _term_weights(config):
        if not 0 <= value < math.inf:
            raise PhotostyleError(f"{_option(name)} is {value}; a weight must be finite and not negative")
    if config.averaging == 1:
        raise PhotostyleError("--averaging is 1, which would keep the start for ever; use 0.99 or less")
    if config.patch_draws > config.patch_bank:
        raise PhotostyleError(
            f"--patch-draws is {config.patch_draws} but --patch-bank holds {config.patch_bank} filters; draw fewer"
        )
    if not config.iterations or min(config.iterations) < 0:
        raise PhotostyleError(
            f"--iterations is {config.iterations or 'empty'}; give counts of 0 or more, coarse to fine"
        )
    if config.masks == ("cluster",) and (config.segmenter != "auto" or config.segmenter_revision):
        raise PhotostyleError("--masks cluster asks no segmenter; leave out --segmenter, or use --masks auto")
    _check_references(config)
    _check_terms(config)
    region_strengths(config)
    if config.start == "file" and config.start_file is None:
        raise PhotostyleError("--start file needs --start-file PICTURE, the picture to start from")
    if config.start_file is not None and config.start != "file":
        raise PhotostyleError(f"--start-file is given but --start is {config.start}; add --start file")


def _check_references(config: Config) -> None:
    if not isinstance(config.style, tuple) or not config.style:
        raise PhotostyleError(f"--style is {config.style or 'empty'}; name one reference photograph or more")
    if config.style_weights and len(config.style_weights) != len(config.style):
        raise PhotostyleError(
            f"--style-weights has {len(config.style_weights)} numbers for {len(config.style)} references; give one each"
        )
    if not all(0 < weight < math.inf for weight in config.style_weights):
        raise PhotostyleError(
            f"--style-weights is {config.style_weights}; give positive numbers, and leave out a reference of weight 0"
        )


def _check_terms(config: Config) -> None:
    """The layers exist (sooner said than after a download) and every stage has something to minimise."""
    for layers in ((config.content_layer,), config.style_layers):
        layers_down_to(config.encoder, layers)
    photorealism = ("photorealism_weight", "photorealism_coarse")
    positive = {name for name, value in _term_weights(config) if value > 0}
    if any(config.iterations) and not positive:
        raise PhotostyleError(
            "every weight is 0: there is nothing to optimise; raise one, or give --iterations 0"
        )
    if config.first_pass and not positive.difference(photorealism):
        raise PhotostyleError(
            "--first-pass has no photorealism and every other weight is 0; raise one, or leave it out"
        )


def _term_weights(config: Config) -> list[tuple[str, float]]:
    """Every weight of the objective under its option's name."""
    names = ("content", "gram", "patch", "texture", "structure", "variation", "photorealism")
    single = [(f"{name}_weight", getattr(config, f"{name}_weight")) for name in names]
    return [*single, *(("photorealism_coarse", weight) for weight in config.photorealism_coarse)]


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
