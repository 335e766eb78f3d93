"""Several processes that train one network: torchrun starts them, each takes its share of every batch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from photostyle.errors import PhotostyleError


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together: number `rank` of `world`, on its own device."""

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes files and says how it goes."""
        return self.rank == 0

    def wrapped(self, module: nn.Module) -> nn.Module:
        """The module with gradients that are means over all processes."""
        if self.world == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values / self.world

    def share(self, batch: int) -> int:
        """How many of a batch's pictures are this process's. Raises PhotostyleError where they cannot be shared."""
        if batch % self.world:
            raise PhotostyleError(
                f"a batch of {batch} cannot be shared evenly by {self.world} processes: give a multiple of {self.world}"
            )
        return batch // self.world


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The processes that torchrun started, for the time of a block; without torchrun this one alone.

    device: "cpu", "cuda" (each process takes the one of its number) or "auto". torchrun says which process this is by
    RANK, LOCAL_RANK and WORLD_SIZE.
    """
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(0, 1, torch.device(kind))
        return
    rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    own = torch.device(kind, local) if kind == "cuda" else torch.device(kind)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if own.type == "cuda" else "gloo")
    try:
        yield Ranks(rank, world, own)
    finally:
        distributed.destroy_process_group()
