"""The training loop: phases of epochs of batches, the best weights kept, a checkpoint to go on from at any batch."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from photostyle.errors import ComputationError, PhotostyleError, shortened
from photostyle.files.checkpoints import Checkpoint, save_checkpoint
from photostyle.files.tensors import tensors_of, write_tensors
from photostyle.recognition.finetune.augmentation import Preparation
from photostyle.recognition.finetune.data import Data, Split
from photostyle.recognition.finetune.settings import FinetuneSettings, Phase, phases_of
from photostyle.recognition.finetune.start import Start
from photostyle.training.order import batches, generator_of
from photostyle.training.progress import Progress
from photostyle.training.states import restore, states_of

CHECKPOINT, WEIGHTS = "checkpoint.safetensors", "weights.safetensors"
# A killed process loses five minutes at most; a VGG's checkpoint takes a few seconds to write.
SAVE_SECONDS = 300.0


@dataclass(frozen=True)
class Hooks:
    """How a training speaks to who runs it, and hears of them.

    say: a line that stays; show: one that replaces the one before, where there is a terminal. stop: whether to end at
    the next batch, with a checkpoint.
    """

    say: Callable[[str], None] = lambda line: None
    show: Callable[[str], None] | None = None
    stop: Callable[[], bool] = lambda: False


@dataclass
class Place:
    """How far a training is, as plain values.

    epoch: over all phases; of_phase: of the present one; batch: of the epoch; loss, correct, seen: sums of the epoch so
    far. best: [accuracy, -loss] of the best validation so far; best_epoch: its number from 1; stale: epochs since.
    """

    phase: int = 0
    epoch: int = 0
    of_phase: int = 0
    batch: int = 0
    loss: float = 0.0
    correct: int = 0
    seen: int = 0
    best: list[float] = field(default_factory=lambda: [-1.0, 0.0])
    best_epoch: int = 0
    stale: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


class Loop:
    """A training under way. `run` trains to the end; `evaluate` asks the best weights."""

    def __init__(
        self,
        start: Start,
        data: Data,
        settings: FinetuneSettings,
        folder: Path,
        identity: dict[str, Any],
        metadata: dict[str, str],
        device: torch.device,
        workers: int,
        hooks: Hooks,
    ) -> None:
        """folder: of the checkpoint and the weights. metadata: of the weights' file.

        identity: what a checkpoint must have been made with, as plain values. workers: processes that read pictures
        from files; 0: this one.
        """
        self.data, self.settings, self.folder, self.hooks = data, settings, folder, hooks
        self.identity, self.metadata, self.device = identity, metadata, device
        cuda = device.type == "cuda"
        self.format = torch.channels_last if cuda else torch.contiguous_format
        self.module = start.module.to(device, memory_format=self.format)  # type: ignore[call-overload]
        self.head = start.head
        self.phases, self.place = phases_of(settings), Place()
        self.prepare = Preparation(
            data.size, data.resize, _flips(settings, data), settings.shift, start.mean, start.deviation
        )
        self.order = _Order(len(data.training), settings.batch, settings.seed)
        workers = workers if data.in_files else 0
        self.loader = _loader(data.training, self.order, workers, cuda)
        self.validation = _loader(
            data.validation, _InTurn(len(data.validation), settings.batch), workers, cuda
        )
        self.scaler = torch.amp.GradScaler("cuda", enabled=cuda)
        self.optimiser = self._optimiser()

    def run(self, checkpoint: Checkpoint | None) -> Place:
        """Train to the end, from a checkpoint where there is one. Raises KeyboardInterrupt where asked to stop."""
        if checkpoint is not None:
            self._go_on(checkpoint)
        steps = len(self.order) * sum(phase.epochs for phase in self.phases)
        self.progress = Progress(steps, self.hooks.say, self.hooks.show, done=self._done())
        self.saved = self.began = time.monotonic()
        while self.place.phase < len(self.phases):
            while not self._is_over():
                self._epoch()
            self._next_phase()
        return self.place

    def load_best(self) -> None:
        """Put the best weights into the network. Raises PhotostyleError where somebody has taken them away since."""
        path = self.folder / WEIGHTS
        try:
            self.module.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise PhotostyleError(
                f"{path}, the best weights so far, cannot be read ({shortened(error)}): restore it, or give --restart"
            ) from error

    @torch.no_grad()
    def evaluate(self, split: Split) -> tuple[Tensor, Tensor]:
        """Logits (N, classes) and labels (N,) of a split, on the CPU, in its order."""
        loader = self.validation
        if split is not self.data.validation:
            loader = _loader(split, _InTurn(len(split), self.settings.batch), 0, self.device.type == "cuda")
        self.module.eval()
        found = [
            (self._logits(self.prepare(self._moved(pictures))).float().cpu(), labels)
            for pictures, labels in loader
        ]
        logits, labels = zip(*found, strict=True)
        return torch.cat(logits), torch.cat(labels)

    @property
    def phase(self) -> Phase:
        """The present one; the last once all is done."""
        return self.phases[min(self.place.phase, len(self.phases) - 1)]

    def _epoch(self) -> None:
        place = self.place
        self._set_modes()
        self.order.epoch, self.order.begin = place.epoch, place.batch
        for pictures, labels in self.loader:
            if self.hooks.stop():
                self._save()
                raise KeyboardInterrupt
            self._step(pictures, labels)
            if time.monotonic() - self.saved >= SAVE_SECONDS:
                self._save()
        entry = self._entry()
        place.history.append(entry)
        reached = [entry["validation accuracy"], -entry["validation loss"]]
        place.stale += 1
        if reached > place.best:
            place.best, place.best_epoch, place.stale = reached, place.epoch + 1, 0
            # Before the checkpoint: killed between the two, the epoch is repeated and writes the same again.
            write_tensors(self.folder / WEIGHTS, tensors_of(self.module), self.metadata)
        place.epoch, place.of_phase, place.batch = place.epoch + 1, place.of_phase + 1, 0
        place.loss, place.correct, place.seen = 0.0, 0, 0
        self._save()
        self.hooks.say(_line(entry, best=not place.stale))

    def _step(self, pictures: Tensor, labels: Tensor) -> None:
        place, numbers = self.place, generator_of(self.settings.seed, self.place.epoch, self.place.batch)
        step = place.of_phase * len(self.order) + place.batch
        rate = self.phase.rate(step, self.phase.epochs * len(self.order))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        logits = self._logits(self.prepare(self._moved(pictures), numbers))
        loss = F.cross_entropy(logits.float(), labels.to(self.device))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ComputationError(
                f"the loss is {value} in epoch {place.epoch + 1}: lower --rates or --head-rate"
            )
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        place.loss += value * len(labels)
        place.correct += int((logits.detach().argmax(1).cpu() == labels).sum())
        place.seen += len(labels)
        place.batch += 1
        self.progress(
            self._done(), f"epoch {place.epoch + 1}, {self.phase.name}  loss {place.loss / place.seen:.3f}"
        )

    def _entry(self) -> dict[str, Any]:
        place = self.place
        logits, labels = self.evaluate(self.data.validation)
        return {
            "epoch": place.epoch + 1,
            "phase": self.phase.name,
            "rate": self.optimiser.param_groups[0]["lr"],
            "training loss": place.loss / place.seen,
            "training accuracy": place.correct / place.seen,
            "validation loss": float(F.cross_entropy(logits, labels)),
            "validation accuracy": float((logits.argmax(1) == labels).double().mean()),
        }

    def _logits(self, pixels: Tensor) -> Tensor:
        cuda = self.device.type == "cuda"
        with torch.autocast("cuda", torch.float16) if cuda else nullcontext():
            logits: Tensor = self.module(pixels.contiguous(memory_format=self.format))
        return logits

    def _moved(self, pictures: Tensor) -> Tensor:
        return pictures.to(self.device, non_blocking=True)

    def _set_modes(self) -> None:
        """Frozen layers keep their batch statistics, and drop nothing out."""
        everything = self.phase.name == "all"
        self.module.train(everything).requires_grad_(everything)
        self.head.train().requires_grad_(True)

    def _optimiser(self) -> torch.optim.Optimizer:
        self._set_modes()
        trained = [each for each in self.module.parameters() if each.requires_grad]
        return torch.optim.Adam(trained, self.phase.rates[0])

    def _is_over(self) -> bool:
        return self.place.of_phase >= self.phase.epochs or self.place.stale >= self.settings.patience

    def _next_phase(self) -> None:
        """From the best weights so far, with an optimiser that knows nothing of the phase before."""
        place = self.place
        if place.of_phase < self.phase.epochs:
            self.hooks.say(
                f"{self.phase.name}: no better validation in {place.stale} epochs, so it ends here"
            )
        self.load_best()
        place.phase, place.of_phase, place.stale = place.phase + 1, 0, 0
        self.optimiser = self._optimiser()
        self._save()

    def _done(self) -> int:
        """Steps, those that early stopping left out counted as done."""
        before = sum(phase.epochs for phase in self.phases[: self.place.phase])
        return (before + self.place.of_phase) * len(self.order) + self.place.batch

    def _go_on(self, checkpoint: Checkpoint) -> None:
        saved: Any = checkpoint.state["place"]
        self.place = Place(**saved)
        self.optimiser = self._optimiser()
        restore({"model": self.module, "optimiser": self.optimiser, "scaler": self.scaler}, checkpoint)
        if self.place.phase < len(self.phases):
            self.hooks.say(
                f"going on in epoch {self.place.epoch + 1}, after {self.place.batch} batches of it"
            )

    def _save(self) -> None:
        now = time.monotonic()
        self.place.seconds += now - self.began
        self.saved = self.began = now
        parts = {"model": self.module, "optimiser": self.optimiser, "scaler": self.scaler}
        state = {"settings": self.identity, "place": asdict(self.place)}
        save_checkpoint(self.folder / CHECKPOINT, states_of(parts) | state)


class _Order(Sampler[list[int]]):
    """The batches of an epoch from one on; the loader asks again at every epoch."""

    def __init__(self, count: int, size: int, seed: int) -> None:
        # Batch normalisation has nothing to say of one picture: a last batch of one is left out, another each epoch.
        self.kept = count - (count % size == 1 and count > 1)
        self.count, self.size, self.seed, self.epoch, self.begin = count, size, seed, 0, 0

    def __iter__(self) -> Iterator[list[int]]:
        for indices in batches(self.count, self.size, self.seed, self.epoch, self.begin):
            if len(indices) > 1 or self.kept == self.count:
                yield indices

    def __len__(self) -> int:
        return -(-self.kept // self.size)


class _InTurn(Sampler[list[int]]):
    """Batches in the pictures' own order."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(0, self.count, self.size):
            yield list(range(first, min(first + self.size, self.count)))

    def __len__(self) -> int:
        return -(-self.count // self.size)


def _loader(
    split: Split, order: Sampler[list[int]], workers: int, pinned: bool
) -> "DataLoader[tuple[Tensor, Tensor]]":
    return DataLoader(
        split,  # type: ignore[arg-type] # a dataset by its __getitems__
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pinned,
        persistent_workers=workers > 0,
        # Spawned, not forked: a fork of a process that has used OpenMP or CUDA hangs.
        multiprocessing_context="spawn" if workers else None,
        generator=torch.Generator(),  # else each epoch draws from torch's own, which dropout draws from
    )


def _as_it_is(batch: Any) -> Any:
    return batch  # made as a whole by Split.__getitems__


def _flips(settings: FinetuneSettings, data: Data) -> bool:
    return data.flip if settings.flip is None else settings.flip


def _line(entry: dict[str, Any], best: bool) -> str:
    return (
        f"epoch {entry['epoch']} ({entry['phase']}, rate {entry['rate']:.1e})  "
        f"training {entry['training loss']:.3f} {entry['training accuracy']:.1%}  "
        f"validation {entry['validation loss']:.3f} {entry['validation accuracy']:.1%}{'  best' if best else ''}"
    )
