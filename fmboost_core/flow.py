"""Flow matching between a low-resolution source and its high-resolution latent.

A path joins a source point x0 to a target point x1, x_t = a(t)·x1 + b(t)·x0 with t from 0 to 1;
the network learns its velocity dx_t/dt (Lipman et al. 2023, arXiv 2210.02747; Ma et al. 2024, "SiT",
arXiv 2401.08740). FMBoost's source is the upsampled small latent with some Gaussian noise mixed in
(Schusterbauer et al., ECCV 2024, arXiv 2312.07360, section 3.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .errors import InputError

LEAST_NOISE = 1e-3  # σ is taken for at least that where it divides


class Path(Protocol):
    """Coefficients of x_t = a(t)·x1 + b(t)·x0 and of its time derivative."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """a(t), b(t) for t in [0, 1], each of t's shape."""
        ...

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """a'(t), b'(t) for t in [0, 1], each of t's shape."""
        ...


class LinearPath:
    """Straight lines: a = t, b = 1 - t."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return t, 1 - t

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), -torch.ones_like(t)


class GVPPath:
    """Generalised variance-preserving path: a = sin(πt/2), b = cos(πt/2) (SiT, arXiv 2401.08740)."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        angle = t * (math.pi / 2)
        return torch.sin(angle), torch.cos(angle)

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        angle = t * (math.pi / 2)
        return torch.cos(angle) * (math.pi / 2), -torch.sin(angle) * (math.pi / 2)


PATHS: dict[str, Path] = {"linear": LinearPath(), "gvp": GVPPath()}


def per_item(values: Tensor, like: Tensor) -> Tensor:
    """Shape (B,) → (B, 1, 1, ...), so that it broadcasts over `like` of shape (B, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def point_on_path(path: Path, x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
    """x_t, shape (B, ...), from the ends x0 and x1, both (B, ...), at times t, shape (B,)."""
    a, b = path.coefficients(per_item(t, x1))
    return a * x1 + b * x0


def velocity(path: Path, x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
    """The regression target dx_t/dt, shape (B, ...); x1 - x0 on a linear path."""
    da, db = path.derivatives(per_item(t, x1))
    return da * x1 + db * x0


@dataclass(frozen=True)
class TrainingPoint:
    """What one training step needs: the network's input x at time t, and its target velocity."""

    x: Tensor
    t: Tensor
    target: Tensor


def sample_training_point(
    path: Path, x0: Tensor, x1: Tensor, t: Tensor, *, sigma_min: float = 0.0, noise: Tensor | None = None
) -> TrainingPoint:
    """A point near the path, x_t + σ_min·ε, with the path's velocity as target.

    Args:
        x0, x1: source and target, shape (B, ...).
        t: times in [0, 1], shape (B,).
        sigma_min: width of the Gaussian around the path (Lipman et al., eq. 20; Tong et al. 2023).
        noise: ε of x1's shape, drawn here when needed and not given.
    """
    x = point_on_path(path, x0, x1, t)
    if sigma_min > 0:
        x = x + sigma_min * (torch.randn_like(x) if noise is None else noise)
    return TrainingPoint(x, t, velocity(path, x0, x1, t))


def flow_matching_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the velocity, a scalar (fp32 whatever the inputs' precision)."""
    return (predicted.float() - target.float()).square().mean()


def augment(u: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
    """Variance-preserving noise augmentation x0 = sqrt(1 - σ²)·u + σ·ε.

    Args:
        u: upsampled low-resolution latent, shape (B, ...), about unit variance.
        noise: standard Gaussian of the same shape.
        sigma: noise level in [0, 1], a number or shape (B,).
    """
    if isinstance(sigma, Tensor):
        sigma = per_item(sigma, u)
        return torch.sqrt(1 - sigma**2) * u + sigma * noise
    return torch.add(math.sqrt(1 - sigma**2) * u, noise, alpha=sigma)


def velocity_to(endpoint: Tensor, x: Tensor, u: Tensor, t: Tensor, sigma: Tensor, deviation: float) -> Tensor:
    """The velocity at x on a linear path from `augment(u, ε, σ)` that a guess of the endpoint stands for.

    Were x1 - u Gaussian of a deviation ρ, the velocity's mean, given x and u, would be linear in them; that
    part needs no network. What a network has to add is weighed by what x leaves open: all at t = 0, nothing
    where x tells the endpoint (σ = 0 and t > 0, or t = 1). So noise is taken away exactly, and at σ = 0
    paths are straight. This is the preconditioning of EDM (Karras et al. 2022, arXiv 2206.00364, appendix
    B.6) for a source that depends on the data: with y = x - m·u, m = (1-t)·sqrt(1-σ²) + t, and
    d = t²ρ² + (1-t)²σ²,

        v = (1 - sqrt(1-σ²))·u + (tρ² - (1-t)σ²)/d · y + (1-t)σ²/d · (endpoint - u - tρ²/d · y).

    Args:
        endpoint, x, u: shape (B, ...); the guess, the point, and the source without noise.
        t, sigma: shape (B,).
        deviation: ρ, of what the endpoint differs from u by, per element.

    Returns:
        Shape (B, ...), at least fp32; at t = 0 it leads to the guess in one step.
    """
    t, sigma = per_item(t.float(), x), per_item(sigma.float(), x)
    alpha = torch.sqrt(1 - sigma**2)
    signal, noise = t * deviation**2, (1 - t) * (sigma**2 + LEAST_NOISE**2)
    whole = t * signal + (1 - t) * noise
    y = x - ((1 - t) * alpha + t) * u
    unexplained = endpoint - u - signal / whole * y
    return (1 - alpha) * u + (signal - noise) / whole * y + noise / whole * unexplained


def cosine_alpha_bar(t: float) -> float:
    """Signal power ᾱ(t) = cos²(πt/2) of the cosine diffusion schedule, t in [0, 1].

    The paper's noise augmentation at "step 400 of 1000" is ᾱ(0.4) = 0.6545.
    """
    if not 0 <= t <= 1:
        raise InputError(f"the diffusion time is {t}; it must lie in [0, 1]")
    return math.cos(math.pi * t / 2) ** 2


def cosine_sigma(t: float) -> float:
    """Noise level σ = sqrt(1 - ᾱ(t)) of the cosine schedule, t in [0, 1]."""
    return math.sqrt(1 - cosine_alpha_bar(t))
