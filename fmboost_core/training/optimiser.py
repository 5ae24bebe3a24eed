"""What turns gradients into steps: AdamW, or Muon for the trunk's convolutions and AdamW for the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .muon import Muon

OPTIMISERS = ("adamw", "muon")


class Optimiser:
    """Steps of a network's parameters.

    Args:
        network: on its device.
        kind: one of `OPTIMISERS`.
        weight_decay: of both.
    """

    def __init__(self, network: nn.Module, kind: str, weight_decay: float) -> None:
        parameters = list(network.parameters())
        chosen = [p for p in parameters if kind == "muon" and _keeps_channels(p)]
        others = [p for p in parameters if not any(p is c for c in chosen)]
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, betas=(0.9, 0.99), weight_decay=weight_decay)
        ]
        if chosen:
            self._parts.append(Muon(chosen, weight_decay=weight_decay))

    def step(self, learning_rate: float) -> None:
        """Use the gradients, and forget them."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = learning_rate
            part.step()
        self.forget()

    def forget(self) -> None:
        """Drop the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        for part, its_own in zip(self._parts, state, strict=True):
            part.load_state_dict(its_own)


def _keeps_channels(parameter: Tensor) -> bool:
    """Whether this is a convolution within the trunk, which has as many channels before it as after it."""
    return parameter.ndim == 4 and parameter.shape[0] == parameter.shape[1]
