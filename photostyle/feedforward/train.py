"""Training of a many-style network: phase 1 all of it, phase 2 the generator held and the style encoder tuned.

Step n is a pure function of the state before it, of n and of the settings: its contents, crops, styles and rate are
drawn for n, so that a training that was interrupted goes on as if it had not been.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from photostyle.bounds import Above, AtLeast, Count, Seed, check_bounds
from photostyle.errors import ComputationError, PhotostyleError
from photostyle.feedforward.data import Contents, Order, Pictures, StyleGallery, as_pictures, loader
from photostyle.feedforward.distributed import Ranks
from photostyle.feedforward.model import StyleModel
from photostyle.feedforward.objective import BatchObjective, ObjectiveSettings
from photostyle.files.checkpoints import Checkpoint, State, refuse_other
from photostyle.losses.encoders import Encoder, layers_down_to
from photostyle.losses.precision import DTYPES, Precision, resolved
from photostyle.training.states import restore, states_of

# Gram matrices of a gallery are kept where they take less together: 200 crops in a VGG-19 of full width take 0.5 GB.
TARGET_BYTES = 1 << 30
TARGETS_AT_ONCE = 8  # styles whose features are in memory together while their Gram matrices are computed

SIZES = (32, 1024)  # of crops, in pixels: below, relu5_1 has two cells; above, no batch fits a card
LEAST_RATE = 0.01  # of the learning rate, at the end of a cosine: it has no steps of no length


@dataclass(frozen=True)
class TrainingSettings(ObjectiveSettings):
    """How a many-style network is trained. The defaults are the document's numbers, where it gives them."""

    size: int = 256
    """side of the contents' crops, in pixels"""
    style_sizes: tuple[int, ...] = (128, 256)
    """sides of the styles' crops, in pixels; batches take turns"""
    style_crops: Annotated[int, AtLeast(1)] = 200
    """crops of styles in all"""
    epoch_contents: Annotated[int, AtLeast(1)] = 10_000
    """contents an epoch: so many photographs, or fewer that are cut several times"""
    batch: Annotated[int, AtLeast(1)] = 32
    """pictures a step, of all processes together"""
    epochs: Annotated[int, AtLeast(1)] = 80
    """epochs of both phases together"""
    encoder_epochs: int = 8
    """the last of them, in which only the style encoder learns; the document says that there are such, not how many: a
    tenth"""
    learning_rate: Annotated[float, Above(0)] = 5e-4
    """Adam's step"""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay of the gradient's mean and of its square's"""
    schedule: Literal["constant", "cosine"] = "constant"
    """the rate as it is, or along half a cosine down to a hundredth of it (for short trainings)"""
    warmup: Count = 0
    """steps in which the rate rises to its full height: above the document's, the decoder's ReLUs die without them"""
    clip: Annotated[float, AtLeast(0)] = 1.0
    """the longest gradient: a longer one is shortened to it; 0: none is"""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """what networks compute in; Gram matrices are float32 always; auto: bfloat16 on CUDA and processors made for it"""
    seed: Seed = 0
    """of weights, crops and orders"""

    def __post_init__(self) -> None:
        least, most = SIZES
        sides = (self.size, *self.style_sizes)
        if not self.style_sizes or not all(least <= side <= most for side in sides):
            raise PhotostyleError(f"crops of {sides} pixels: give sides from {least} to {most}")
        check_bounds(self)
        if not all(0 <= each < 1 for each in self.betas):
            raise PhotostyleError(f"--betas are {self.betas}; give two numbers of 0 or more and less than 1")
        layers_down_to("vgg19", self.layers())  # sooner said than after the pictures are looked through
        if self.epoch_contents < self.batch:
            raise PhotostyleError(
                f"--epoch-contents is {self.epoch_contents}; give at least a batch, {self.batch}"
            )
        if not 0 <= self.encoder_epochs <= self.epochs:
            raise PhotostyleError(
                f"--encoder-epochs is {self.encoder_epochs}; give 0 to {self.epochs}, the epochs"
            )

    @property
    def steps_an_epoch(self) -> int:
        """Whole batches: what is left over waits for the next epoch."""
        return self.epoch_contents // self.batch

    @property
    def steps(self) -> int:
        """Of both phases."""
        return self.epochs * self.steps_an_epoch

    @property
    def joint_steps(self) -> int:
        """Of the first phase, in which all of the network learns."""
        return (self.epochs - self.encoder_epochs) * self.steps_an_epoch

    def rate(self, step: int) -> float:
        """Adam's step at a step of the training."""
        risen = min(1.0, (step + 1) / (self.warmup + 1))
        if self.schedule == "constant":
            return self.learning_rate * risen
        share = 0.5 + 0.5 * math.cos(math.pi * step / self.steps)
        return self.learning_rate * risen * (LEAST_RATE + (1 - LEAST_RATE) * share)


@dataclass(frozen=True)
class Report:
    """What the steps since the last report were like, on average. step: how many are done.

    losses: the weighted terms and "total". gradient: the length of the gradient before it is clipped. waited: the share
    of the time in which the training waited for data.
    """

    step: int
    phase: Literal["joint", "encoder"]
    losses: Mapping[str, float]
    gradient: float
    waited: float

    def entry(self) -> dict[str, float]:
        """As an entry of a history."""
        return {"step": self.step, **self.losses, "gradient": self.gradient, "waited": self.waited}


class _Both(nn.Module):
    """Style encoder and generator as one function, which is what processes that train together wrap."""

    def __init__(self, model: StyleModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, contents: Tensor, styles: Tensor) -> Tensor:
        made: Tensor = self.model(contents, self.model.style(styles))
        return made


class Training:
    """A training between two steps.

    contents, styles: where crops come from. encoder: the loss network, with the layers of `settings`. data: hashes of
    what goes in, by name: a checkpoint made with other ones is refused.
    """

    def __init__(
        self,
        model: StyleModel,
        settings: TrainingSettings,
        contents: Pictures,
        styles: StyleGallery,
        encoder: Encoder,
        ranks: Ranks,
        data: Mapping[str, str] | None = None,
    ) -> None:
        ranks.share(settings.batch)
        if model.encoder is None and settings.encoder_epochs:
            raise PhotostyleError(
                "a model of injection patch has no style encoder to tune: give encoder_epochs 0"
            )
        self.model = model.to(ranks.device).to(memory_format=torch.channels_last)
        self.settings, self.styles, self.ranks, self.data = settings, styles, ranks, dict(data or {})
        self.contents = Contents(contents, settings.size, settings.epoch_contents, settings.seed)
        self.objective = BatchObjective(settings, encoder.to(ranks.device))
        self.precision = mixed(settings.precision, ranks.device)
        self.targets = self._targets()
        self.step, self.seconds, self.history = 0, 0.0, list[dict[str, float]]()
        self._begin_phase()

    @property
    def phase(self) -> Literal["joint", "encoder"]:
        return "joint" if self.step < self.settings.joint_steps else "encoder"

    def run(self, every: int = 50, workers: int = 0) -> Iterator[Report]:
        """Train to the end; yields after every `every`-th step, and after the last.

        What is yielded is between two steps: a state may be saved and pictures made. Raises ComputationError where the
        loss is no number any more.
        """
        settings, ranks = self.settings, self.ranks
        steps = range(self.step, settings.steps)
        order = Order(settings.epoch_contents, settings.batch, settings.seed, steps, ranks.rank, ranks.world)
        sums, waited, begun, counted = None, 0.0, time.perf_counter(), 0
        batches = iter(loader(self.contents, order, workers, pinned=ranks.device.type == "cuda"))
        for step in steps:
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            if step == settings.joint_steps:
                self._begin_phase()
            values = self._advance(as_pictures(batch, ranks.device))
            sums, counted, self.step = values if sums is None else sums + values, counted + 1, step + 1
            if self.step % every == 0 or self.step == settings.steps:
                seconds = time.perf_counter() - begun
                report = self._report(ranks.mean(sums / counted), waited / seconds)
                self.seconds += seconds
                self.history.append(report.entry())
                yield report
                sums, waited, begun, counted = None, 0.0, time.perf_counter(), 0

    def state(self) -> dict[str, State]:
        """Everything that the steps after this one depend on."""
        progress = {"step": self.step, "seconds": self.seconds, "history": self.history}
        return {"settings": self._identity(), **progress, **states_of(self._parts())}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a state. Raises PhotostyleError where it is of other settings or of another network."""
        refuse_other(checkpoint, self._identity())
        state = checkpoint.state
        self.step, self.seconds, self.history = state["step"], state["seconds"], list(state["history"])  # type: ignore[assignment, call-overload]
        self._begin_phase()
        restore(self._parts(), checkpoint)

    def _identity(self) -> dict[str, State]:
        """What has to be the same for two runs to be parts of one training."""
        settings: dict[str, State] = {**asdict(self.model.settings), **asdict(self.settings)}
        return settings | {"precision": self.precision, **self.data}

    def _parts(self) -> dict[str, StyleModel | torch.optim.Adam]:
        return {"model": self.model, "optimiser": self.optimiser}

    def _begin_phase(self) -> None:
        """What learns, and an optimiser that knows nothing yet."""
        self.model.train()
        self.model.generator.requires_grad_(self.phase == "joint")
        self.learning = [each for each in self.model.parameters() if each.requires_grad]
        self.optimiser = torch.optim.Adam(self.learning, self.settings.learning_rate, self.settings.betas)
        self.network = self.ranks.wrapped(_Both(self.model))

    def _advance(self, contents: Tensor) -> Tensor:
        """One step. Returns the terms and the gradient's length, detached: reading them would wait for the device."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate(self.step)
        styles, targets = self._styles(len(contents))
        with torch.autocast(contents.device.type, DTYPES[self.precision], self.precision != "float32"):
            made = self.network(contents, styles)
            terms = self.objective(made, contents, targets)
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        longest = self.settings.clip or math.inf
        length = nn.utils.clip_grad_norm_(self.learning, longest)
        self.optimiser.step()
        return torch.stack([*terms.values(), length]).detach()

    def _styles(self, count: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The styles of this step and their Gram matrices, this process's share."""
        size, drawn = self.styles.draw(self.settings.batch, self.settings.seed, self.step)
        own = drawn[self.ranks.rank :: self.ranks.world]
        pictures = as_pictures(self.styles.crops[size][own], self.ranks.device)
        if self.targets is None:
            return pictures, self.objective.style_targets(pictures)
        own = own.to(self.ranks.device)
        return pictures, {layer: grams[own] for layer, grams in self.targets[size].items()}

    def _targets(self) -> dict[int, dict[str, Tensor]] | None:
        """The Gram matrices of the whole gallery by size and layer; None where they would take too much memory."""
        found: dict[int, dict[str, Tensor]] = {}
        for size, crops in self.styles.crops.items():
            parts = list[dict[str, Tensor]]()
            for some in crops.split(TARGETS_AT_ONCE):
                parts.append(self.objective.style_targets(as_pictures(some, self.ranks.device)))
                taken = sum(each.nbytes for each in parts[0].values()) // len(crops[:TARGETS_AT_ONCE])
                if taken * sum(map(len, self.styles.crops.values())) > TARGET_BYTES:
                    return None
            found[size] = {layer: torch.cat([each[layer] for each in parts]) for layer in parts[0]}
        return found

    def _report(self, means: Tensor, waited: float) -> Report:
        *terms, gradient = means.tolist()
        names = ("content", "style", "variation")
        losses = {**dict(zip(names, terms, strict=True)), "total": sum(terms)}
        if not math.isfinite(losses["total"]):
            raise ComputationError(
                f"the loss is {losses['total']} at step {self.step}: give a smaller learning rate, or a smaller clip"
            )
        return Report(self.step, self.phase, losses, gradient, waited)


def mixed(wanted: Literal["auto", "float32", "bfloat16"], device: torch.device) -> Precision:
    """What networks compute in on a device. bfloat16 needs no scaling of the loss: it has float32's range."""
    if wanted == "auto" and device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return resolved(wanted, device)
