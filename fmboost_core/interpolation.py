"""How ComfyUI itself enlarges latents and pictures: the baselines' arithmetic.

`Latent Upscale` hands unscaled latents to `torch.nn.functional.interpolate`, or to `bislerp`;
`Upscale Image` does the same with pixels, and takes Pillow's filter for Lanczos.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .images import to_image, to_tensor
from .tiny_vae import PIXELS_PER_LATENT
from .upsampling import Size

LATENT_METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "bislerp")
PIXEL_METHODS = ("bicubic", "lanczos")
PARALLEL = 1e-5  # cosines this near to ±1 leave no plane to turn in


def enlarge_latent(samples: Tensor, size: Size, method: str) -> Tensor:
    """Unscaled latents (B, C, h, w) → (B, C, H, W) by one of `LATENT_METHODS`."""
    if method == "bislerp":
        return _slerp_axis(_slerp_axis(samples.float(), size[1], 3), size[0], 2)
    return F.interpolate(samples, size=size, mode=method)


def enlarge_pixels(pixels: Tensor, size: Size, method: str) -> Tensor:
    """Pixels (1, 3, h, w) in [0, 1] → (1, 3, H, W) by one of `PIXEL_METHODS`; `size` in pixels."""
    if method == "lanczos":
        image = to_image(pixels).resize((size[1], size[0]), Image.Resampling.LANCZOS)
        return to_tensor(image).to(pixels.device)
    return F.interpolate(pixels, size=size, mode=method).clamp(0, 1)


def vae_route(
    z: Tensor, size: Size, decode: Callable[[Tensor], Tensor], encode: Callable[[Tensor], Tensor], method: str
) -> Tensor:
    """Model-space latents (B, C, h, w) → (B, C, H, W): decode, enlarge the pixels, encode."""
    height, width = (side * PIXELS_PER_LATENT for side in size)
    return encode(enlarge_pixels(decode(z), (height, width), method))


def _slerp_axis(z: Tensor, length: int, axis: int) -> Tensor:
    """Spherical interpolation of the channel vectors along one axis, at bilinear positions."""
    old = z.shape[axis]
    position = torch.arange(old, dtype=torch.float32, device=z.device)[None, None]
    position = F.interpolate(position, size=length, mode="linear")[0, 0]
    before = position.long()
    after = (before + 1).clamp_max(old - 1)
    along = [1] * z.ndim
    along[axis] = length
    ratio = (position - before).reshape(along)
    return _slerp(z.index_select(axis, before), z.index_select(axis, after), ratio)


def _slerp(a: Tensor, b: Tensor, ratio: Tensor) -> Tensor:
    """From a to b: directions turn at constant speed, lengths change linearly. Vectors lie in dim 1."""
    length_a, length_b = (v.norm(dim=1, keepdim=True) for v in (a, b))
    unit_a, unit_b = (torch.nan_to_num(v / n, 0, 0, 0) for v, n in ((a, length_a), (b, length_b)))
    cosine = (unit_a * unit_b).sum(dim=1, keepdim=True)
    angle = torch.acos(cosine)
    turned = torch.sin((1 - ratio) * angle) * unit_a + torch.sin(ratio * angle) * unit_b
    turned = turned / torch.sin(angle) * (length_a * (1 - ratio) + length_b * ratio)
    straight = a * (1 - ratio) + b * ratio
    # Core keeps the first vector where both point the same way, and mixes linearly where they oppose.
    return torch.where(cosine > 1 - PARALLEL, a, torch.where(cosine < PARALLEL - 1, straight, turned))
