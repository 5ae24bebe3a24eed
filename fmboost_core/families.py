"""Latent families: which VAE a latent belongs to, and how its numbers are scaled.

ComfyUI passes *unscaled* latents. Networks work in *model space*, (samples − shift)·scale, where
values have about unit variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import InputError
from .family_fits import FITS

SMALLEST_SAMPLE = 64  # latent pixels; fewer tell nothing of a family
PLAUSIBLE, CLEARLY_WORSE = 6.0, 3.0  # see `LatentFamily.lookalike`; the tests hold the error rates


@dataclass(frozen=True)
class LatentFamily:
    """One VAE's latent space.

    Attributes:
        name: short name, as in checkpoints and on the command line.
        title: the models that people know it by.
        channels: latent channels.
        scale, shift: model space is (samples − shift)·scale.
        tiny_vae: name of the TAESD-type VAE of this family.
        rgb_factors, rgb_bias: the linear map of a model-space latent pixel to RGB in [0, 1] that fits
            pictures best: (channels, 3) and (3,).
        typical, spread: mean and standard deviation over pictures of `channel_statistics` in model
            space, by which families of equal shape are told apart.
    """

    name: str
    title: str
    channels: int
    scale: float
    shift: float
    tiny_vae: str
    rgb_factors: tuple[tuple[float, float, float], ...]
    rgb_bias: tuple[float, float, float]
    typical: tuple[float, ...]
    spread: tuple[float, ...]
    pixels_per_latent: int = 8

    def to_model(self, samples: Tensor) -> Tensor:
        """Unscaled latents → model space, any shape."""
        return (samples - self.shift) * self.scale

    def from_model(self, z: Tensor) -> Tensor:
        """Model space → unscaled latents, any shape."""
        return z / self.scale + self.shift

    def latent_side(self, pixels: int) -> int:
        """The fewest latent pixels that cover so many pixels of the picture."""
        return math.ceil(pixels / self.pixels_per_latent)

    def check(self, samples: Tensor) -> None:
        """Raise `InputError` unless `samples` is a finite 4-D or 5-D latent with this family's channels."""
        self.check_shape(samples)
        # Types of eight bits cannot be asked themselves.
        if not torch.isfinite(samples.float() if samples.element_size() == 1 else samples).all():
            raise InputError(
                "the latent holds NaN or infinite values: the step before this one overflowed"
                " (try it at higher precision)"
            )

    def check_shape(self, samples: Tensor) -> None:
        """`check` without a look at the values, which a GPU would have to be waited for."""
        if getattr(samples, "is_nested", False):
            raise InputError(
                "the latent is a nested (video with audio) latent: take the picture part out first"
            )
        if not isinstance(samples, Tensor):
            raise InputError(f"the latent is a {type(samples).__name__}; a tensor is needed")
        shape = "×".join(map(str, samples.shape))
        if samples.ndim not in (4, 5):
            raise InputError(
                f"the latent has {samples.ndim} dimensions ({shape}); needed are batch, channels,"
                " height, width, or with frames before the height"
            )
        if samples.shape[1] != self.channels:
            raise InputError(self.explain_channels(samples.shape[1]))
        if not samples.is_floating_point():
            raise InputError(f"the latent holds {samples.dtype} values; floating point is needed")
        if samples.shape[-1] == 0 or samples.shape[-2] == 0 or (samples.ndim == 5 and samples.shape[2] == 0):
            raise InputError(f"the latent is empty ({shape})")

    def explain_channels(self, channels: int) -> str:
        """Why a latent of that many channels does not fit this family, and what to do."""
        others = [f for f in FAMILIES.values() if f.channels == channels]
        advice = (
            f"as {' and '.join(f'{f.name} ({f.title})' for f in others)} latents have:"
            " load a model of that family"
            if others
            else f"which no known family has (known: {', '.join(FAMILIES)})"
        )
        return (
            f"this model boosts {self.name} latents ({self.title}) of {self.channels} channels,"
            f" but the latent has {channels} channels, {advice}"
        )

    def surprise(self, samples: Tensor) -> float:
        """How unlike this family's latents these are: mean squared z-score of `channel_statistics`.

        About 1 for pictures of this family. `samples` are unscaled, (B, C, ...); their mean counts.
        """
        statistics = channel_statistics(self.to_model(samples.float())).mean(0)
        typical, spread = (torch.tensor(v, device=samples.device) for v in (self.typical, self.spread))
        return ((statistics - typical) / spread).square().mean().item()

    def lookalike(self, samples: Tensor) -> LatentFamily | None:
        """The other family of equal shape to which unscaled latents rather seem to belong, or None."""
        if samples.numel() == 0 or samples.shape[-1] * samples.shape[-2] < SMALLEST_SAMPLE:
            return None
        alike = {f.name: f.surprise(samples) for f in FAMILIES.values() if f.channels == self.channels}
        ours = alike.pop(self.name)
        name, theirs = min(alike.items(), key=lambda item: item[1], default=(self.name, math.inf))
        return FAMILIES[name] if theirs < PLAUSIBLE and ours > CLEARLY_WORSE * theirs else None


def channel_statistics(z: Tensor) -> Tensor:
    """Mean and log standard deviation of each channel: (B, C, ...) → (B, 2·C), fp32."""
    flat = z.float().flatten(2)
    return torch.cat([flat.mean(-1), flat.std(-1, correction=0).clamp_min(1e-6).log()], dim=1)


FAMILIES: dict[str, LatentFamily] = {
    family.name: family
    for family in (
        LatentFamily("sd15", "Stable Diffusion 1.x and 2.x", 4, 0.18215, 0.0, "taesd", *FITS["sd15"]),
        LatentFamily("sdxl", "SDXL", 4, 0.13025, 0.0, "taesdxl", *FITS["sdxl"]),
        LatentFamily("sd3", "Stable Diffusion 3 and 3.5", 16, 1.5305, 0.0609, "taesd3", *FITS["sd3"]),
        LatentFamily("flux", "FLUX.1, Z-Image, Chroma", 16, 0.3611, 0.1159, "taef1", *FITS["flux"]),
    )
}
