"""Settings checked once, at the door: after this nobody asks again whether a number makes sense."""

import math
from collections.abc import Sequence

from photostyle.bounds import check_bounds, option_of
from photostyle.config import TERMS, Config, Inputs, Recipe
from photostyle.errors import PhotostyleError
from photostyle.losses.encoders import layers_down_to
from photostyle.losses.term import Term, weights_of
from photostyle.process import check_threads
from photostyle.regions.parts import check_protect
from photostyle.regions.strength import region_strengths
from photostyle.scene import LEAST_SIDE


def check(config: Config, terms: Sequence[type[Term]] = TERMS) -> None:
    """Validate a whole configuration. Raises PhotostyleError."""
    check_recipe(config, terms)
    if config.masks == ("cluster",) and (config.segmenter != "auto" or config.segmenter_revision):
        raise PhotostyleError("--masks cluster asks no segmenter; leave out --segmenter, or use --masks auto")
    check_threads(config.threads)
    _check_references(config, config)
    if config.start == "file" and config.start_file is None:
        raise PhotostyleError("--start file needs --start-file PICTURE, the picture to start from")
    if config.start_file is not None and config.start != "file":
        raise PhotostyleError(f"--start-file is given but --start is {config.start}; add --start file")


def check_recipe(recipe: Recipe, terms: Sequence[type[Term]] = TERMS) -> None:
    """Validate what decides the pixels. Raises PhotostyleError."""
    check_numbers(recipe)
    for term in terms:
        for name, value in weights_of(term, recipe):
            if not 0 <= value < math.inf:
                raise PhotostyleError(
                    f"{option_of(name)} is {value}; a weight must be finite and not negative"
                )
        term.check(recipe)
    region_strengths(recipe.region_strength)
    check_protect(recipe.protect)
    _check_terms(recipe, terms)


def check_numbers(recipe: Recipe) -> None:
    """Validate the recipe's numbers apart from the terms' weights. Raises PhotostyleError."""
    check_bounds(recipe)
    _check_optimiser(recipe)
    if recipe.averaging == 1:
        raise PhotostyleError("--averaging is 1, which would keep the start for ever; use 0.99 or less")
    if recipe.patch_draws > recipe.patch_bank:
        raise PhotostyleError(
            f"--patch-draws is {recipe.patch_draws} but --patch-bank holds {recipe.patch_bank} filters; draw fewer"
        )
    if min(recipe.evaluations) < 0:
        raise PhotostyleError(
            f"--iterations is {recipe.iterations}; give counts of 0 or more, coarse to fine"
        )


def _check_optimiser(recipe: Recipe) -> None:
    """What several settings of the optimiser and of the stages are together."""
    if len(recipe.moments) != 2 or not all(0 <= each < 1 for each in recipe.moments):
        raise PhotostyleError(
            f"--moments is {recipe.moments}; give two numbers of 0 or more and less than 1, such as 0.9 0.999"
        )
    if recipe.weight_decay and recipe.optimiser != "adam":
        raise PhotostyleError(
            f"--weight-decay is Adam's and --optimiser is {recipe.optimiser}; leave it out, or add --optimiser adam"
        )
    if recipe.keep == "lowest" and recipe.averaging:
        raise PhotostyleError("--keep lowest and --averaging exclude each other; leave out one of them")
    if recipe.squeeze and (len(recipe.squeeze) != 2 or min(recipe.squeeze) < LEAST_SIDE):
        raise PhotostyleError(
            f"--squeeze is {recipe.squeeze}; give a height and a width of {LEAST_SIDE} or more, such as 512 512"
        )


def _check_references(inputs: Inputs, recipe: Recipe) -> None:
    if not isinstance(inputs.style, tuple) or not inputs.style:
        raise PhotostyleError(f"--style is {inputs.style or 'empty'}; name one reference photograph or more")
    weights = recipe.style_weights
    if weights and len(weights) != len(inputs.style):
        raise PhotostyleError(
            f"--style-weights has {len(weights)} numbers for {len(inputs.style)} references; give one each"
        )
    if not all(0 < weight < math.inf for weight in weights):
        raise PhotostyleError(
            f"--style-weights is {weights}; give positive numbers, and leave out a reference of weight 0"
        )


def _check_terms(recipe: Recipe, terms: Sequence[type[Term]]) -> None:
    """The layers exist (sooner said than after a download) and every stage has something to minimise."""
    for term in terms:
        if term.compares_features:
            layers_down_to(recipe.encoder, term.layers(recipe))
    if any(recipe.evaluations) and not any(term.weighed(recipe) for term in terms):
        raise PhotostyleError(
            "every weight is 0: there is nothing to optimise; raise one, or give --iterations 0"
        )
    first = [term for term in terms if term.in_first_pass]
    if recipe.first_pass and not any(term.weighed(recipe) for term in first):
        raise PhotostyleError(
            "--first-pass has no photorealism and every other weight is 0; raise one, or leave it out"
        )
