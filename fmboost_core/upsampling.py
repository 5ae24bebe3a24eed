"""Upsampling of latents, for the flow's source and for the network's context."""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from .errors import InputError

LATENT_MODES = ("nearest", "bilinear", "bicubic")  # "LSU" in the paper: in latent space
VAE_NEEDED = "this model upsamples in pixel space (psu): connect the VAE of its family"
PIXEL_MODE = "psu"  # in pixel space: decode, upsample, encode
MODES = (*LATENT_MODES, PIXEL_MODE)

Size = tuple[int, int]
"""Height and width in latent pixels."""


def size_of(z: Tensor) -> Size:
    """Height and width of latents (..., H, W)."""
    return z.shape[-2], z.shape[-1]


class Codec(Protocol):
    """A VAE: model-space latents to pixels and back."""

    def decode(self, z: Tensor) -> Tensor:
        """Latents (B, C, H, W) → pixels (B, 3, 8H, 8W)."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, 8H, 8W) → latents (B, C, H, W)."""
        ...


def resize_latent(z: Tensor, size: Size, mode: str) -> Tensor:
    """Latents (B, C, h, w) → (B, C, H, W) by one of `LATENT_MODES`."""
    if mode == "nearest":
        return F.interpolate(z, size=size, mode="nearest")
    return F.interpolate(z, size=size, mode=mode, align_corners=False)


def resize_through_pixels(z: Tensor, size: Size, codec: Codec) -> Tensor:
    """Latents (B, C, h, w) → (B, C, H, W) by way of the picture (bilinear, as the paper does)."""
    pixels = codec.decode(z)
    factor = pixels.shape[-1] // z.shape[-1]
    larger = F.interpolate(
        pixels, size=(size[0] * factor, size[1] * factor), mode="bilinear", align_corners=False
    )
    return codec.encode(larger)


def upsample(z: Tensor, size: Size, mode: str, codec: Codec | None = None) -> Tensor:
    """Latents (B, C, h, w) → (B, C, H, W).

    Args:
        z: model-space latents.
        size: height and width of the result in latent pixels.
        mode: one of `MODES`.
        codec: the family's VAE, needed by `psu` alone.

    Raises:
        InputError: unknown mode, or `psu` without a VAE.
    """
    if mode in LATENT_MODES:
        return resize_latent(z, size, mode)
    if mode != PIXEL_MODE:
        raise InputError(f"there is no upsampling {mode!r}: choose one of {', '.join(MODES)}")
    if codec is None:
        raise InputError(VAE_NEEDED)
    return resize_through_pixels(z, size, codec)
