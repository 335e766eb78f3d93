"""The whole story in one function, from files to a picture: start reading here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from photostyle.config import TERMS, Config, Recipe
from photostyle.errors import ComputationError
from photostyle.files.arrays import read_photograph
from photostyle.files.images import Picture
from photostyle.files.masks import MaskSet
from photostyle.finish import protected_in, rendered, strengths_of
from photostyle.imaging.filters import size_of
from photostyle.imaging.protection import Parts
from photostyle.losses.encoders import Encoder
from photostyle.losses.precision import Precision
from photostyle.losses.term import Term
from photostyle.losses.weights import Weights
from photostyle.materials import full_scene, mask_paths, notes_of, paired, read_all_masks, related_regions
from photostyle.memory import PROCESS, Work, check_memory
from photostyle.objective import Objective, encoder_for, weights_for
from photostyle.optimisers import Diverged, Step
from photostyle.process import device_named, free_memory
from photostyle.regions.guidance import Guidance
from photostyle.regions.mixture import only
from photostyle.regions.parts import notes_on
from photostyle.regions.relation import Dial, dial
from photostyle.solver import MakeObjective, restrained, solve, starting
from photostyle.validate import check

# Makes masks of photo and references, writes them, and returns what config.masks would have named them.
MaskMaker = Callable[[Picture, Sequence[Picture]], tuple[str, ...]]


@dataclass(frozen=True)
class Result:
    """What came out: the picture at the photo's size and everything a record needs."""

    image: Tensor  # (3, H, W), sRGB in [0, 1], on the CPU
    photo: Picture
    references: tuple[Picture, ...]
    guidance: Guidance
    how: Dial  # how far each region went
    masks: tuple[MaskSet, ...]  # the photo's, then each reference's
    mask_paths: tuple[str, ...]  # absolute, "none", or "in memory"
    weights: Weights | None
    precision: Precision | None  # what the network computed in; None without one
    device: str
    threads: int
    protected: dict[str, float]  # what keeps its own colour, and its share of the photo
    trace: list[dict[str, Any]] = field(default_factory=list)  # one entry per evaluation
    notes: tuple[str, ...] = ()  # what was decided for the user, to be said aloud
    ended: str = "done"  # "done", "interrupted", or why the computation failed

    @property
    def reference(self) -> Picture:
        """The one reference; raises PhotostyleError where there are several."""
        return only(self.references)


def transfer(
    config: Config,
    watch: Callable[[Step], None] = lambda step: None,
    say: Callable[[str], None] = lambda note: None,
    make_masks: MaskMaker | None = None,
    terms: Sequence[type[Term]] = TERMS,
    objective: MakeObjective | None = None,
) -> Result:
    """Give a photo the colours, light and mood of a reference, or of several, region by region.

    watch is called after every evaluation, say with each note as it arises; make_masks, where given, makes the masks.
    terms: of the recipe's objective; objective: another one in its place, see `solve`.
    Threads and determinism are the process's own, see `process.prepared`.
    A KeyboardInterrupt or a divergence ends the optimisation early: `ended` says why, the picture is the best so far.
    Raises PhotostyleError for bad input or options and for more memory than there is, and ComputationError where there
    is no picture at all.
    """
    check(config, terms)
    device = device_named(config.device)
    photo, references = read_photograph(config.content), tuple(map(read_photograph, config.style))
    first = None if config.start_file is None else read_photograph(config.start_file).pixels
    given = None if make_masks else read_all_masks(config.masks, photo, references)
    loaded = weights_for(config, terms, say)
    encoder = encoder_for(config, loaded, terms, device)
    # Masks are made last: work is not begun before all that is given was found good.
    names = make_masks(photo, references) if make_masks else config.masks
    masks = given or read_all_masks(names, photo, references)
    guidance = paired(config, photo, references, masks)
    related, by_region = related_regions(config, photo, references, masks[0], guidance)
    how = dial(related, config.boldness, config.strength, by_region)
    parts = protected_in(config, photo.pixels, masks[0])
    check_memory(config, _work(photo, references, how, encoder, device, parts), free_memory(device))
    notes = (*notes_of((photo, *references), masks, guidance), *notes_on(parts))
    if not how.full:
        notes = (*notes, f"how far: {how}")
    for note in notes:
        say(note)
    scene = restrained(full_scene(photo, references, guidance, device), how.boldness, config.feather)
    strength = strengths_of(config, scene.content, scene.content_masks, how)

    canvas, trace, ended = None, [], "done"
    start = starting(scene, config, first)
    try:
        make = objective or _objectives(config, encoder, terms)
        # At the closed form there is nothing left to minimise.
        for step in () if how.closed else solve(scene, config, make, start=start):
            canvas = step.image
            trace.append(_entry(step))
            watch(step)
    except KeyboardInterrupt:
        ended = "interrupted"
    except Diverged as error:
        canvas, ended = error.image, str(error)
    except torch.OutOfMemoryError as error:
        raise ComputationError(_out_of_memory(config, error)) from error

    if canvas is None:
        canvas = start(scene)
    return Result(
        rendered(config, scene.content, canvas, strength, parts).cpu(),
        photo,
        references,
        guidance,
        how,
        masks,
        mask_paths(names, 1 + len(references)),
        loaded,
        None if encoder is None else encoder.precision,
        str(device),
        torch.get_num_threads(),
        {} if parts is None else parts.shares,
        trace,
        notes,
        ended,
    )


def _work(
    photo: Picture,
    references: Sequence[Picture],
    how: Dial,
    encoder: Encoder | None,
    device: torch.device,
    parts: Parts | None,
) -> Work:
    sizes = tuple(size_of(each.pixels) for each in references)
    libraries = 0 if device.type == "cuda" else PROCESS
    return Work(
        size_of(photo.pixels),
        sizes,
        len(how.names),
        encoder is not None,
        libraries,
        mapped=not how.uniform,
        protected=parts is not None,
    )


def _objectives(recipe: Recipe, encoder: Encoder | None, terms: Sequence[type[Term]]) -> MakeObjective:
    return lambda stage, scene: Objective(recipe, stage, scene, encoder, terms)


def _entry(step: Step) -> dict[str, Any]:
    return {"stage": step.stage.number, "iteration": step.iteration, "seconds": step.seconds, **step.losses}


def _out_of_memory(config: Config, error: Exception) -> str:
    return f"out of memory at --size {config.size}; try a smaller --size ({str(error).splitlines()[0]})"


def stages_of(result: Result) -> Iterator[dict[str, Any]]:
    """Per stage: its number, evaluations and seconds, from the trace."""
    for number in sorted({entry["stage"] for entry in result.trace}):
        entries = [entry for entry in result.trace if entry["stage"] == number]
        yield {"stage": number, "evaluations": len(entries), "seconds": entries[-1]["seconds"]}
