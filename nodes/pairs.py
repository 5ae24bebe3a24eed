"""The node that makes training pairs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from comfy import model_management
from comfy.utils import ProgressBar
from comfy_api.latest import io
from torch import Tensor

from ..fmboost_core import FAMILIES, InputError, LatentFamily
from ..fmboost_core.images import to_image
from ..fmboost_core.training.pairs import PairSettings, encode_pairs
from ..fmboost_core.training.sources import PictureInMemory, Shard
from .aliases import with_aliases
from .loader import CATEGORY
from .work_folders import PAIRS, work_folder

FMBoostPairs = io.Custom("FMBOOST_PAIRS")
TRAINING_CATEGORY = f"{CATEGORY}/FMBoost training"


@dataclass(frozen=True)
class PairsFolder:
    """What travels along a FMBOOST_PAIRS link."""

    path: Path
    family: str


class _Encoder:
    """A ComfyUI VAE as the core's encoder; each call moves the progress bar, and obeys Cancel."""

    def __init__(self, vae: Any, family: LatentFamily, bar: ProgressBar) -> None:
        self.vae, self.family, self.bar = vae, family, bar

    def encode(self, pixels: Tensor) -> Tensor:
        model_management.throw_exception_if_processing_interrupted()
        samples = self.vae.encode(pixels.movedim(1, -1))
        samples = samples[:, :, 0] if samples.ndim == 5 else samples  # a video VAE's only frame
        self.family.check(samples)
        self.bar.update(1)
        return self.family.to_model(samples.float())


class FMBoostMakePairs(io.ComfyNode):
    """Images and a VAE → pairs on disk."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema = io.Schema(
            node_id="FMBoostMakePairs",
            display_name="FMBoost Make Pairs",
            category=TRAINING_CATEGORY,
            description="Encodes crops of images at full and at smaller sizes, to train a booster on."
            " Pairs are kept in output/fmboost/pairs; images that are there are not encoded again.",
            inputs=[
                io.Image.Input("images", tooltip="At least 512 pixels on both sides."),
                io.Vae.Input("vae", tooltip="The VAE of the models whose latents shall be boosted."),
                io.Combo.Input("family", options=list(FAMILIES), tooltip="The VAE's latent family."),
                io.String.Input(
                    "name", default="my_pairs",
                    tooltip="Folder of the pairs; run again with other images to add to it.",
                ),
                io.Int.Input(
                    "crops", default=4, min=1, max=64,
                    tooltip="Crops of 512×512 pixels of each image, at random places.",
                ),
                io.Int.Input(
                    "seed", default=0, min=0, max=2**32 - 1, control_after_generate=False,
                    tooltip="Of the random places.",
                ),
            ],
            outputs=[FMBoostPairs.Output(display_name="PAIRS", tooltip="For FMBoost Train.")],
        )  # fmt: skip
        return with_aliases(schema, "training data", "dataset", "fmboost")

    @classmethod
    def execute(
        cls, images: Tensor, vae: Any, family: str, name: str, crops: int, seed: int
    ) -> io.NodeOutput:
        settings = PairSettings(family, crops=crops, seed=seed)
        folder = work_folder(PAIRS, name)
        pixels = [image[None, ..., :3].movedim(-1, 1) for image in images]
        shard = _shard_name(images, settings)
        pictures = [PictureInMemory(f"{shard}-{k}", to_image(p)) for k, p in enumerate(pixels)]
        bar = ProgressBar(len(images) * crops * (2 + settings.between))
        encoder = _Encoder(vae, FAMILIES[family], bar)
        if not encode_pairs([Shard(shard, pictures)], encoder, folder, settings):
            raise InputError(
                f"no image is large enough: {settings.pixels} pixels a side are needed, these have"
                f" {images.shape[2]}×{images.shape[1]}"
            )
        return io.NodeOutput(PairsFolder(folder, family))


def _shard_name(images: Tensor, settings: PairSettings) -> str:
    digest = hashlib.sha256(json.dumps(asdict(settings)).encode())
    digest.update((images * 255).round().byte().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
