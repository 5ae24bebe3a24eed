"""What turns gradients into steps: AdamW, or Muon for the trunk's convolutions and AdamW for the rest.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) takes the momentum of a weight matrix and makes
all its singular values equal, so that no direction is left behind. A convolution's matrix has a row for each
output channel. Steps are scaled to the size that AdamW's have (Liu et al. 2025, arXiv 2502.16982), so
that one learning rate serves both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError

OPTIMISERS = ("adamw", "muon")


class Optimiser:
    """Steps of a network's parameters.

    Args:
        network: on its device; its convolutions channels last, as `Booster` wants them.
        kind: one of `OPTIMISERS`.
        weight_decay: of both.

    Raises:
        InputError: this torch has no Muon.
    """

    def __init__(self, network: nn.Module, kind: str, weight_decay: float) -> None:
        parameters = list(network.parameters())
        chosen = [p for p in parameters if kind == "muon" and _keeps_channels(p)]
        # Views: the matrices share their parameters' memory, and who steps the one has stepped the other.
        self._matrices = [(p, p.detach().permute(0, 2, 3, 1).view(len(p), -1)) for p in chosen]
        others = [p for p in parameters if not any(p is c for c in chosen)]
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, betas=(0.9, 0.99), weight_decay=weight_decay)
        ]
        if chosen:
            if not hasattr(torch.optim, "Muon"):
                raise InputError(f"torch {torch.__version__} has no Muon: use 2.9 or newer, or adamw")
            matrices = [matrix for _, matrix in self._matrices]
            self._parts.append(
                torch.optim.Muon(matrices, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
            )

    def step(self, learning_rate: float) -> None:
        """Use the gradients, and forget them."""
        for parameter, matrix in self._matrices:
            gradient = parameter.grad
            matrix.grad = None if gradient is None else gradient.permute(0, 2, 3, 1).flatten(1)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = learning_rate
            part.step()
        self.forget()

    def forget(self) -> None:
        """Drop the gradients."""
        for parameter, matrix in self._matrices:
            parameter.grad = matrix.grad = None
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
