"""Muon: momentum whose matrix has had all its singular values made equal (Jordan et al. 2024,
kellerjordan.github.io/posts/muon), so that no direction is left behind.

Steps are scaled to the size that AdamW's have (Liu et al. 2025, arXiv 2502.16982), so that one learning rate
serves both. `torch.optim.Muon` does the same in bf16 alone, which processors without such instructions
emulate: there its step took longer than a BridgeNet's forward and backward pass together.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

# Of a polynomial of fifth degree that drives singular values in (0, 1] to about 1, steeply at 0.
LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315
ITERATIONS = 5
TINY = 1e-7  # norms below it are taken for it
LIKE_ADAMW = 0.2  # root mean square of AdamW's steps, at a learning rate of 1


class Muon(torch.optim.Optimizer):
    """Steps of convolutions; a convolution's matrix has a row for each output channel.

    Args:
        parameters: kernels (O, I, h, w).
        weight_decay: share of the weights, times the learning rate, that each step takes away.
        momentum: decay of the gradients' moving average, by which Nesterov looks ahead.
    """

    def __init__(self, parameters: Iterable[Tensor], *, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": 0.0, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Step all parameters that have a gradient, at their group's `lr`."""
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for parameter in group["params"]:
                if (gradient := parameter.grad) is None:
                    continue
                mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
                mean.lerp_(gradient, 1 - momentum)
                matrix = gradient.lerp(mean, momentum).permute(0, 2, 3, 1)
                step = orthogonal(matrix.flatten(1))
                size = LIKE_ADAMW * max(step.shape) ** 0.5
                parameter.mul_(1 - rate * group["weight_decay"])
                parameter.sub_(step.view(matrix.shape).permute(0, 3, 1, 2), alpha=rate * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix (m, n) with the same singular vectors, and singular values of about 1 (0.7 to 1.2)."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=TINY)
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, CUBIC * gram + QUINTIC * gram @ gram, wide, beta=LINEAR)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T
