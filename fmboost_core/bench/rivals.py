"""What a boost is compared with: decoders, the paper's network, interpolation, the machine's own limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..networks import build
from ..tiny_vae import TinyDecoder

Call = Callable[[], object]

# The paper's network (CompVis/fm-boosting, `unet-base`), 306 M parameters, and its steps.
PAPER_SHAPE = {
    "latent_channels": 4, "model_channels": 128, "num_res_blocks": 3, "channel_mult": (1, 2, 4, 8),
    "head_channels": 64,
}  # fmt: skip
PAPER_STEPS = 40

# A convolution and a product large enough to show what the machine can do.
PEAK_CHANNELS, PEAK_SIDE = 512, 64
PEAK_MATRIX = 2048


def _placed(module: Any, device: torch.device, dtype: torch.dtype) -> Any:
    module = module.eval().requires_grad_(False).to(device, dtype)
    return module.to(memory_format=torch.channels_last)


def tiny_decode(latent: Tensor, dtype: torch.dtype) -> Call:
    """A tiny VAE's decoder; its time does not depend on its weights, which are random here."""
    decoder = _placed(TinyDecoder(latent.shape[1]), latent.device, dtype)
    z = latent.to(dtype)
    return lambda: decoder(z)


def full_decode(latent: Tensor, dtype: torch.dtype) -> Call:
    """The decoder of Stable Diffusion's VAE in its real shape, with random weights.

    Raises:
        InputError: the library that builds it is missing.
    """
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise InputError("the full VAE needs diffusers: pip install 'fmboost[train]'") from error
    vae: Any = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=latent.shape[1],
    )  # fmt: skip
    vae.encoder = nn.Identity()
    vae = _placed(vae, latent.device, dtype)
    z = latent.to(dtype)
    return lambda: vae.decode(z)


def paper_evaluation(latent: Tensor, dtype: torch.dtype) -> Call:
    """One evaluation of the paper's U-Net, of the `PAPER_STEPS` that its boost makes."""
    shape = PAPER_SHAPE | {"latent_channels": latent.shape[1]}
    network = _placed(build("unet", shape), latent.device, dtype)
    x, ones = latent.to(dtype), latent.new_ones(len(latent))
    return lambda: network(x, ones, x, ones, ones)


def bicubic(latent: Tensor, target: tuple[int, int]) -> Call:
    """Core's Latent Upscale in its bicubic mode."""
    return lambda: F.interpolate(latent, size=target, mode="bicubic")


def peak_convolution(device: torch.device, dtype: torch.dtype) -> tuple[Call, float]:
    """A large 3×3 convolution, and its floating-point operations."""
    layer = _placed(nn.Conv2d(PEAK_CHANNELS, PEAK_CHANNELS, 3, padding=1), device, dtype)
    x = torch.randn(1, PEAK_CHANNELS, PEAK_SIDE, PEAK_SIDE, device=device, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    return lambda: layer(x), 2 * 9 * PEAK_CHANNELS**2 * PEAK_SIDE**2


def peak_product(device: torch.device, dtype: torch.dtype) -> tuple[Call, float]:
    """A large matrix product, and its floating-point operations."""
    a, b = torch.randn(2, PEAK_MATRIX, PEAK_MATRIX, device=device).to(dtype)
    return lambda: a @ b, 2.0 * PEAK_MATRIX**3
