"""ComfyUI's LATENT, a dictionary around the samples: boost them and keep the rest true."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from .booster import Booster
from .errors import InputError
from .upsampling import Size, size_of


def latent_size(latent: Mapping[str, Any], booster: Booster) -> Size:
    """Height and width of a LATENT in latent pixels. Raises `InputError` if it cannot be boosted."""
    booster.family.check_shape(_samples(latent))
    return size_of(latent["samples"])


def boost_latent(
    booster: Booster, latent: Mapping[str, Any], size: Size, *, seed: int = 0, **options: Any
) -> dict[str, Any]:
    """Boost a LATENT.

    Args:
        booster: the model.
        latent: `samples`, and whatever else; neither it nor its tensors are changed.
        size: height and width of the result in latent pixels.
        seed: of the batch's item 0. Item i uses seed + i, or seed + `batch_index[i]` where the latent
            remembers its place in a larger batch, so that an item taken out of a batch gives the
            same result alone.
        options: as `Booster.boost`.

    Returns:
        A new LATENT: `samples` boosted, `noise_mask` resized with them, every other entry as it was.

    Raises:
        InputError: as `Booster.boost`.
    """
    samples = _samples(latent)
    booster.family.check_shape(samples)
    seeds = [seed + index for index in _batch_index(latent, len(samples))]
    boosted = dict(latent)
    boosted["samples"] = booster.boost(samples, size, seeds=seeds, **options)
    mask = latent.get("noise_mask")
    if isinstance(mask, Tensor):
        boosted["noise_mask"] = resize_mask(mask, size_of(samples), size)
    return boosted


def resize_mask(mask: Tensor, source: Size, target: Size) -> Tensor:
    """A mask of any layout (..., h, w), at the latent's resolution or the picture's, enlarged alike.

    Returns:
        Shape (..., h·H/source height, w·W/source width), same dtype, bilinear. What has no two sides
        (a number for the whole picture, say) stays as it is.
    """
    if mask.ndim < 2:
        return mask
    size = [math.floor(m * t / s + 0.5) for m, s, t in zip(mask.shape[-2:], source, target, strict=True)]
    if list(mask.shape[-2:]) == size or mask.numel() == 0:
        return mask
    planes = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    larger = F.interpolate(planes, size=size, mode="bilinear", align_corners=False)
    return larger.reshape(*mask.shape[:-2], *size).to(mask.dtype)


def _samples(latent: Mapping[str, Any]) -> Any:
    if "samples" not in latent:
        raise InputError("the latent has no 'samples': connect the LATENT output of a sampler or VAE Encode")
    return latent["samples"]


def _batch_index(latent: Mapping[str, Any], items: int) -> list[int]:
    index = latent.get("batch_index")
    if isinstance(index, Sequence) and len(index) == items and all(isinstance(i, int) for i in index):
        return list(index)
    return list(range(items))
