"""A quick picture of a latent, by a linear map of each latent pixel to RGB: no VAE needed."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .families import LatentFamily
from .safetensors_file import atomic_write


def latent_to_rgb(samples: Tensor, family: LatentFamily) -> Tensor:
    """Unscaled latents (B, C, H, W) → RGB (B, 3, H, W) in [0, 1]."""
    z = family.to_model(samples.float())
    factors = torch.tensor(family.rgb_factors, device=z.device)
    bias = torch.tensor(family.rgb_bias, device=z.device)
    return (torch.einsum("bchw,cd->bdhw", z, factors) + bias[:, None, None]).clamp(0, 1)


def preview_image(samples: Tensor, family: LatentFamily) -> Image.Image:
    """All pictures (and frames) of a latent side by side, at the size of the decoded picture."""
    frames = samples.movedim(2, 1).flatten(0, 1) if samples.ndim == 5 else samples
    rgb = torch.cat(list(latent_to_rgb(frames, family)), dim=-1).movedim(0, -1)
    image = Image.fromarray((rgb * 255).round().to(torch.uint8).cpu().numpy())
    factor = family.pixels_per_latent
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)


def write_preview(
    path: str | Path, samples: Tensor, family: LatentFamily, *, overwrite: bool = False
) -> None:
    """Write `preview_image` as a PNG, whole or not at all. Raises `OutputError` if that fails."""
    with atomic_write(path, overwrite=overwrite) as temporary:
        preview_image(samples, family).save(temporary, "PNG")
