"""Ordinary differential equation solvers for dx/dt = v(x, t) from t = 0 to t = 1.

Fixed-step methods are one step each, a pure function; Dormand–Prince chooses its own steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import InputError

VelocityField = Callable[[Tensor, float], Tensor]
Step = Callable[[VelocityField, Tensor, float, float], Tensor]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the velocity field, as a watcher sees it.

    Attributes:
        index: how many evaluations came before this one.
        t: its time in [0, 1].
        x: where it was evaluated, shape (B, ...).
        velocity: the result, shape (B, ...).
    """

    index: int
    t: float
    x: Tensor
    velocity: Tensor

    @property
    def endpoint(self) -> Tensor:
        """Where a straight line from here arrives at t = 1: the preview of the result."""
        return self.x + (1 - self.t) * self.velocity


Watcher = Callable[[Evaluation], None]


def euler_step(v: VelocityField, x: Tensor, t: float, dt: float) -> Tensor:
    """First order, one evaluation."""
    return torch.add(x, v(x, t), alpha=dt)


def midpoint_step(v: VelocityField, x: Tensor, t: float, dt: float) -> Tensor:
    """Second order, two evaluations."""
    return x + dt * v(x + dt / 2 * v(x, t), t + dt / 2)


def heun_step(v: VelocityField, x: Tensor, t: float, dt: float) -> Tensor:
    """Second order, two evaluations: the mean of the slopes at both ends."""
    k1 = v(x, t)
    k2 = v(x + dt * k1, t + dt)
    return x + dt / 2 * (k1 + k2)


def rk4_step(v: VelocityField, x: Tensor, t: float, dt: float) -> Tensor:
    """Fourth order, four evaluations: Kutta's 3/8 rule, which torchdiffeq calls `rk4` too."""
    k1 = v(x, t)
    k2 = v(x + dt / 3 * k1, t + dt / 3)
    k3 = v(x + dt * (k2 - k1 / 3), t + dt * 2 / 3)
    k4 = v(x + dt * (k1 - k2 + k3), t + dt)
    return x + dt / 8 * (k1 + 3 * (k2 + k3) + k4)


@dataclass(frozen=True)
class FixedStepMethod:
    """A step function and what it costs."""

    step: Step
    evaluations_per_step: int


FIXED_STEP: dict[str, FixedStepMethod] = {
    "euler": FixedStepMethod(euler_step, 1),
    "midpoint": FixedStepMethod(midpoint_step, 2),
    "heun": FixedStepMethod(heun_step, 2),
    "rk4": FixedStepMethod(rk4_step, 4),
}
ADAPTIVE = ("dopri5",)
SOLVERS = (*FIXED_STEP, *ADAPTIVE)

# Dormand & Prince 1980, "A family of embedded Runge-Kutta formulae": nodes, slopes, and the weights
# of the fifth-order result minus those of the embedded fourth-order one.
_NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_SLOPES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 10.0
_SMALLEST_STEP = 1e-6


def dopri5(v: VelocityField, x: Tensor, *, rtol: float = 1e-3, atol: float = 1e-4) -> Tensor:
    """Adaptive Dormand–Prince 5(4) from t = 0 to t = 1.

    The step follows the root-mean-square of the error over all of x (Hairer, Nørsett & Wanner,
    "Solving Ordinary Differential Equations I", II.4), so items of a batch share their steps.

    Raises:
        InputError: the field is too stiff or not finite, so that no step is small enough.
    """
    t, dt = 0.0, 0.1
    slope = v(x, t)
    while t < 1:
        dt = min(dt, 1 - t)
        slopes = [slope]
        for node, weights in zip(_NODES, _SLOPES, strict=True):
            end = x + dt * _weighted_sum(weights, slopes)
            slopes.append(v(end, t + node * dt))
        # The last stage is evaluated at the result itself ("first same as last").
        error = dt * _weighted_sum(_ERROR, slopes)
        tolerance = atol + rtol * torch.maximum(x.abs(), end.abs())
        ratio = (error / tolerance).square().mean().sqrt().item()
        if ratio <= 1:
            t, x, slope = (1.0 if dt >= 1 - t else t + dt), end, slopes[-1]
        factor = _GROW if ratio == 0 else _SAFETY * ratio ** (-1 / 5)
        dt *= min(_GROW if ratio <= 1 else 1.0, max(_SHRINK, factor)) if ratio == ratio else 0.0
        if t < 1 and dt < _SMALLEST_STEP:
            raise InputError("dopri5 found no step small enough: choose a fixed-step solver")
    return x


def _weighted_sum(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    terms = [w * k for w, k in zip(weights, slopes, strict=True) if w]
    return torch.stack(terms).sum(0)


def evaluations(solver: str, steps: int) -> int | None:
    """Network evaluations that `solve` will make, or None where the solver decides as it goes.

    Raises:
        InputError: unknown solver, or fewer than one step.
    """
    if solver not in SOLVERS:
        raise InputError(f"there is no solver {solver!r}: choose one of {', '.join(SOLVERS)}")
    if steps < 1:
        raise InputError(f"steps is {steps}: at least 1 is needed")
    return FIXED_STEP[solver].evaluations_per_step * steps if solver in FIXED_STEP else None


def solve(
    v: VelocityField, x: Tensor, *, solver: str = "euler", steps: int = 1, watch: Watcher | None = None
) -> Tensor:
    """Integrate dx/dt = v(x, t) from x at t = 0 to t = 1.

    Args:
        v: velocity field, (x of shape (B, ...), t in [0, 1]) → shape (B, ...).
        x: start, shape (B, ...).
        solver: one of `SOLVERS`.
        steps: equal steps of a fixed-step solver; an adaptive one ignores it.
        watch: called after every evaluation of v; what it raises ends the integration.

    Returns:
        x at t = 1, shape (B, ...).
    """
    evaluations(solver, steps)
    field = v if watch is None else _watched(v, watch)
    if solver in ADAPTIVE:
        return dopri5(field, x)
    step = FIXED_STEP[solver].step
    for i in range(steps):
        x = step(field, x, i / steps, 1 / steps)
    return x


def _watched(v: VelocityField, watch: Watcher) -> VelocityField:
    count = 0

    def field(x: Tensor, t: float) -> Tensor:
        nonlocal count
        velocity = v(x, t)
        watch(Evaluation(count, t, x, velocity))
        count += 1
        return velocity

    return field
