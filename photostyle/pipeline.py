"""The whole story in one function, from files to a picture: start reading here."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import torch
from torch import Tensor

from photostyle.config import TERMS, Config, Recipe
from photostyle.errors import ComputationError, is_out_of_memory, one_line
from photostyle.files.arrays import read_photograph
from photostyle.files.images import Picture, as_kept
from photostyle.files.masks import MaskSet
from photostyle.finish import rendered, strengths_of, within_chroma
from photostyle.imaging.filters import size_of
from photostyle.losses.encoders import Encoder
from photostyle.losses.term import Term
from photostyle.losses.weights import Weights, locate
from photostyle.materials import Plan, full_scene, mask_paths, may_be_held, planned, read_all_masks
from photostyle.memory import PROCESS, Work, check_memory
from photostyle.objective import Objective, encoder_for, weights_for
from photostyle.optimisers import Diverged, Step
from photostyle.process import default_modes, device_named, free_memory
from photostyle.regions.relation import Dial
from photostyle.result import Result
from photostyle.resuming import Checkpoints
from photostyle.scene import Scene
from photostyle.solver import MakeObjective, closed_form, restrained, solve, starting
from photostyle.validate import check
from photostyle.version import __version__

# What a transfer goes through, in this order; masks are made where none are given.
Phase = Literal["masks", "solve", "render"]
# Makes masks of photo and references, writes them, and returns what config.masks would have named them.
MaskMaker = Callable[[Picture, Sequence[Picture]], tuple[str, ...]]


@default_modes()
def transfer(
    config: Config,
    watch: Callable[[Step], None] = lambda step: None,
    say: Callable[[str], None] = lambda note: None,
    make_masks: MaskMaker | None = None,
    terms: Sequence[type[Term]] = TERMS,
    objective: MakeObjective | None = None,
    enter: Callable[[Phase], None] = lambda part: None,
    solved: Tensor | None = None,
    checkpoints: Checkpoints | None = None,
) -> Result:
    """Give a photo the colours, light and mood of a reference, or of several, region by region.

    watch is called after every evaluation, say with each note, enter as each part of the work begins (what is given was
    found good by then); make_masks makes the masks, checkpoints keep the solve. terms: of the recipe's objective;
    objective: another one in its place, see `solve`; solved: `Result.solved` of an earlier run, which is rendered anew.
    Threads and determinism are the process's own, see `process.prepared`. A KeyboardInterrupt, a divergence or the end
    of memory ends the optimisation early: `ended` says why, the picture is the best so far.
    Raises PhotostyleError for bad input and too little memory, ComputationError where there is no picture at all.
    """
    check(config, terms)
    device = device_named(config.device)
    photo, references = read_photograph(config.content), tuple(map(read_photograph, config.style))
    first = None if config.start_file is None else read_photograph(config.start_file)
    given = None if make_masks else read_all_masks(config.masks, photo, references)
    loaded = None if solved is not None or _perhaps_needless(config) else weights_for(config, terms, say)
    if make_masks:
        enter("masks")
    names = make_masks(photo, references) if make_masks else config.masks
    masks = given or read_all_masks(names, photo, references)
    plan = planned(config, photo, references, masks)
    solves = solved is None and not plan.how.closed  # at the closed form there is nothing to minimise
    loaded = weights_for(config, terms, say) if solves and loaded is None else loaded
    encoder = encoder_for(config, loaded, terms, device) if solves else None
    check_memory(config, _work(photo, references, plan, encoder, solves, device), free_memory(device))
    for note in plan.notes:
        say(note)
    pictures = full_scene(photo, references, plan.guidance, device)
    scene = restrained(pictures, plan.how.boldness, config.feather)
    start = closed_form(scene) if plan.how.closed else _starting(scene, config, first)
    trace, ended = list[dict[str, Any]](), "done"
    if solves:
        enter("solve")
        if checkpoints is not None:
            checkpoints.identity = _identity(config, photo, references, masks, first, loaded, encoder, terms)
        make = objective or _objectives(config, encoder, terms)
        solved, ended = _solved(scene, config, make, start, watch, trace, checkpoints)
    enter("render")
    # Rounded as a file keeps it, so that what is rendered from the file has the same bytes.
    canvas = start(scene) if solved is None else as_kept(solved).to(device)
    image, plan = _finished(config, scene, canvas, plan, photo, references, say)
    return Result(
        image,
        photo,
        references,
        plan.guidance,
        plan.how,
        masks,
        mask_paths(names, 1 + len(references)),
        loaded,
        None if encoder is None else encoder.precision,
        str(device),
        torch.get_num_threads(),
        {} if plan.parts is None else plan.parts.shares,
        trace,
        plan.notes,
        ended,
        None if solved is None else canvas.cpu(),
        first,
    )


def _starting(scene: Scene, config: Config, first: Picture | None) -> Callable[[Scene], Tensor]:
    return starting(scene, config, None if first is None else first.pixels)


def _perhaps_needless(config: Config) -> bool:
    """Whether weights can wait: until it is known that there is something to solve a download would be in vain."""
    if config.boldness is not None:
        return config.boldness == 0
    return config.download and locate(config.weights, config.encoder, False) is None


def _identity(
    config: Config,
    photo: Picture,
    references: Sequence[Picture],
    masks: Sequence[MaskSet],
    start: Picture | None,
    loaded: Weights | None,
    encoder: Encoder | None,
    terms: Sequence[type[Term]],
) -> dict[str, Any]:
    """By name all that decides the bytes of what is solved on a device, inputs by their SHA-256."""
    pictures = {"photo": photo} | {f"reference {n}": each for n, each in enumerate(references, 1)}
    return {
        "version": f"{__version__} on torch {torch.__version__}",
        **{name: each.sha256 for name, each in pictures.items()},
        **{f"masks {n}": each.sha256 for n, each in enumerate(masks, 1)},
        "start file": None if start is None else start.sha256,
        "weights": None if loaded is None else loaded.sha256,
        **asdict(config.recipe),
        "precision": None if encoder is None else encoder.precision,
        "terms": [term.name for term in terms],
        "threads": torch.get_num_threads(),
    }


def _solved(
    scene: Scene,
    config: Config,
    objective: MakeObjective,
    start: Callable[[Scene], Tensor],
    watch: Callable[[Step], None],
    trace: list[dict[str, Any]],
    checkpoints: Checkpoints | None,
) -> tuple[Tensor | None, str]:
    """Solve, each step watched, traced and kept.

    Returns the last good picture, if any, without foreign chroma, and how the solve ended.
    """
    state, earlier = (None, []) if checkpoints is None else checkpoints.begin(scene.content.device)
    trace += earlier
    solved: Tensor | None = None if state is None else state["image"]
    ended = "done"
    try:
        for step in solve(scene, config, objective, start=start, state=state):
            solved = step.image
            trace.append(_entry(step))
            watch(step)
            if checkpoints is not None:
                checkpoints.after(step, trace)
    except KeyboardInterrupt:
        ended = "interrupted"
    except Diverged as error:
        solved, ended = error.image, str(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        ended = _out_of_memory(config, error)
        if solved is None:
            raise ComputationError(ended) from error
    return None if solved is None else within_chroma(config, scene, solved), ended


def _finished(
    recipe: Recipe,
    scene: Scene,
    canvas: Tensor,
    plan: Plan,
    photo: Picture,
    references: Sequence[Picture],
    say: Callable[[str], None],
) -> tuple[Tensor, Plan]:
    """The picture to write, on the CPU, and the plan as it was kept: less far where a second look speaks against it."""

    def render(how: Dial) -> Tensor:
        strength = strengths_of(recipe, scene.content, scene.content_masks, how)
        return rendered(recipe, scene.content, canvas, strength, plan.parts).cpu()

    held = may_be_held(recipe, plan)
    picture = render(plan.how)
    if not recipe.second_look or not bool(held.any()):
        return picture, plan
    # What scores stand on is imported after the last step, not before the first.
    from photostyle.evaluation.second_look import look_again

    seen = look_again(picture, photo.pixels, [each.pixels for each in references], plan.guidance, held)
    if seen.share == 1:
        return picture, plan
    del picture  # room for the other
    say(note := f"{seen}; photostyle adjust --no-second-look lets it go on")
    how = plan.how.held_back(held, seen.share)
    return render(how), replace(plan, how=how, notes=(*plan.notes, note))


def _work(
    photo: Picture,
    references: Sequence[Picture],
    plan: Plan,
    encoder: Encoder | None,
    solves: bool,
    device: torch.device,
) -> Work:
    sizes = tuple(size_of(each.pixels) for each in references)
    libraries = 0 if device.type == "cuda" else PROCESS
    return Work(
        size_of(photo.pixels),
        sizes,
        len(plan.guidance.names),
        encoder is not None,
        libraries,
        mapped=not plan.how.uniform,
        protected=plan.parts is not None,
        solves=solves,
    )


def _objectives(recipe: Recipe, encoder: Encoder | None, terms: Sequence[type[Term]]) -> MakeObjective:
    return lambda stage, scene: Objective(recipe, stage, scene, encoder, terms)


def _entry(step: Step) -> dict[str, Any]:
    return {"stage": step.stage.number, "iteration": step.iteration, "seconds": step.seconds, **step.losses}


def _out_of_memory(config: Config, error: Exception) -> str:
    why = one_line(str(error).partition("\n")[0]) if str(error) else type(error).__name__
    return f"out of memory at --size {config.size}; try a smaller --size ({why})"
