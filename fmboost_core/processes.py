"""Work on many devices: a thin face of `accelerate`, which does the work, or a process alone."""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Item = TypeVar("Item")


class Processes:
    """This process among those that work together.

    Args:
        accelerator: an `accelerate.Accelerator`; None for a process alone.
        device: of a process alone.

    Attributes:
        index, count: this process's number, and how many there are.
        device: of this process.
    """

    def __init__(self, accelerator: Any = None, device: torch.device | str = "cpu") -> None:
        self.accelerator = accelerator
        self.index: int = accelerator.process_index if accelerator else 0
        self.count: int = accelerator.num_processes if accelerator else 1
        self.device = accelerator.device if accelerator else torch.device(device)

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.index == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's part of some items."""
        return items[self.index :: self.count]

    def prepare(self, network: nn.Module) -> nn.Module:
        """The network to call: gradients are averaged over the processes."""
        return self.accelerator.prepare(network) if self.count > 1 else network

    def backward(self, loss: Tensor) -> None:
        if self.accelerator:
            self.accelerator.backward(loss)
        else:
            loss.backward()

    def sum(self, value: Tensor) -> Tensor:
        """The sum over the processes."""
        return self.accelerator.reduce(value, "sum") if self.count > 1 else value

    def wait(self) -> None:
        """Until all are here."""
        if self.accelerator:
            self.accelerator.wait_for_everyone()


def launched(device: str) -> Processes:
    """The processes that `accelerate launch` started, or this one alone, on a device of the user's choice."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(device=device)
    from accelerate import Accelerator, DistributedDataParallelKwargs

    # At scale 2 nothing is resampled, so that a BridgeNet's slopes get no gradient in most steps.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(cpu=device == "cpu", kwargs_handlers=[unused])
    # An interpreter that ends while threads of the connections still run is sometimes aborted by them.
    atexit.register(accelerator.end_training)
    return Processes(accelerator)
