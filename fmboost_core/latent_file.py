"""ComfyUI's latent files, as its Save Latent and Load Latent nodes write and read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from .errors import InputError
from .safetensors_file import open_safetensors, write_tensors

TENSOR = "latent_tensor"
VERSION = "latent_format_version_0"  # its presence says that the samples are unscaled
OLD_SCALE = 0.18215  # files without it hold SD 1.x latents times this


@dataclass(frozen=True)
class LatentFile:
    """What a latent file holds.

    Attributes:
        samples: unscaled latents, fp32, (B, C, H, W) or (B, C, T, H, W).
        metadata: ComfyUI's prompt and workflow, kept from input to output.
    """

    samples: Tensor
    metadata: dict[str, str] = field(default_factory=dict)


def read_latent(path: str | Path) -> LatentFile:
    """Read a `.latent` file. Raises `InputError` if it is not one."""
    with open_safetensors(path) as file:
        names, metadata = set(file.keys()), file.metadata() or {}
        if TENSOR not in names:
            raise InputError(f"{path} is not a latent file of ComfyUI's Save Latent: it has no {TENSOR}")
        samples = file.get_tensor(TENSOR)
    if not samples.is_floating_point():
        raise InputError(f"{path} holds {samples.dtype} latents; floating point is needed")
    scale = 1.0 if VERSION in names else 1 / OLD_SCALE
    return LatentFile(samples.float() * scale, metadata)


def write_latent(path: str | Path, latent: LatentFile, *, overwrite: bool = False) -> None:
    """Write a `.latent` file, whole or not at all. Raises `OutputError` if it cannot be written."""
    tensors = {TENSOR: latent.samples.float(), VERSION: torch.tensor([])}
    write_tensors(path, tensors, latent.metadata, overwrite=overwrite)
