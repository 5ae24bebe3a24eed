"""A booster in ComfyUI's hands: its memory, its interruption, its progress bar and previews."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from comfy import latent_formats, model_management, model_patcher
from comfy.cli_args import args
from comfy.utils import ProgressBar
from latent_preview import get_previewer
from torch import Tensor

from ..fmboost_core import Booster, Progress
from ..fmboost_core.precision import fastest_precision

LATENT_FORMATS: dict[str, type[latent_formats.LatentFormat]] = {
    "sd15": latent_formats.SD15,
    "sdxl": latent_formats.SDXL,
    "sd3": latent_formats.SD3,
    "flux": latent_formats.Flux,
}
PREVIEW_SIDE = 64  # latent pixels: previews are shown at no more than 512 pixels
FRACTION_STEPS = 1000  # of the progress bar, where the number of evaluations is not known


@dataclass(frozen=True)
class ManagedBooster:
    """What travels along a FMBOOST_MODEL link.

    Attributes:
        booster: the model, for the core.
        patcher: the same network, for ComfyUI's memory management.
    """

    booster: Booster
    patcher: model_patcher.ModelPatcher

    @classmethod
    def manage(cls, booster: Booster) -> ManagedBooster:
        """Put a booster under ComfyUI's memory management."""
        patcher_class = getattr(model_patcher, "CoreModelPatcher", model_patcher.ModelPatcher)
        devices = model_management.get_torch_device(), model_management.unet_offload_device()
        return cls(booster, patcher_class(booster.network, *devices))

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.patcher.load_device

    def ready(self, bytes_needed: int = 0) -> None:
        """Bring the network to its device, and free that much memory beside it."""
        model_management.load_models_gpu([self.patcher], memory_required=bytes_needed)


@dataclass(frozen=True)
class VAECodec:
    """A ComfyUI VAE as the core's codec, for models that upsample in pixel space."""

    vae: Any
    model: ManagedBooster

    def decode(self, samples: Tensor) -> Tensor:
        return self.vae.decode(samples).movedim(-1, 1).to(samples)

    def encode(self, pixels: Tensor) -> Tensor:
        samples = self.vae.encode(pixels.movedim(1, -1))
        # The VAE may have pushed the network off the device.
        self.model.ready()
        return samples.to(pixels)


def automatic_precision(device: torch.device) -> str:
    """The fastest precision that suits the device and the user's own start options."""
    if model_management.is_device_cpu(device):
        return "fp32" if args.force_fp32 else fastest_precision(device)
    # ComfyUI knows the cards whose half precision fails, and what --force-fp32 and the like ask for.
    if model_management.should_use_bf16(device):
        return "bf16"
    return "fp16" if model_management.should_use_fp16(device) else "fp32"


def progress_watcher(model: ManagedBooster) -> Callable[[Progress], None]:
    """A watcher that drives ComfyUI's progress bar and live preview, and obeys its Cancel."""
    previewer = get_previewer(model.device, LATENT_FORMATS[model.booster.spec.family]())
    bar: ProgressBar | None = None

    def watch(progress: Progress) -> None:
        nonlocal bar
        # Asked here too: newer progress bars skip updates that come in quick succession.
        model_management.throw_exception_if_processing_interrupted()
        done, total = progress.done, progress.total
        if total is None:
            done, total = round(progress.fraction * FRACTION_STEPS), FRACTION_STEPS
        bar = bar or ProgressBar(total)
        preview = previewer and previewer.decode_latent_to_preview_image("JPEG", _small(progress.preview()))
        bar.update_absolute(done, total, preview)

    return watch


def to_intermediate(samples: Tensor) -> Tensor:
    """Where and how this ComfyUI keeps tensors between nodes."""
    dtype = getattr(model_management, "intermediate_dtype", lambda: samples.dtype)()
    return samples.to(model_management.intermediate_device(), dtype)


def _small(latent: Tensor) -> Tensor:
    first = latent[:1]
    factor = PREVIEW_SIDE / max(first.shape[-2:])
    if factor >= 1:
        return first
    size = [max(1, round(side * factor)) for side in first.shape[-2:]]
    return F.interpolate(first, size=size, mode="area")
