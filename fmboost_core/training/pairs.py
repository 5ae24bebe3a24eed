"""Training pairs: pictures → the latents of one crop at two sizes, in shards on disk.

A crop is encoded at full size (`z_h`) and, shrunk *in pixels* with antialiasing, at smaller sizes
(`z_l`): half its side, and one size in between so that the network sees every scale in (1, 2].
Shrinking latents instead would teach the network to sharpen blur that no VAE produces.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from ..errors import InputError
from ..images import read_picture, to_tensor
from ..safetensors_file import open_safetensors, write_tensors
from ..tiny_vae import PIXELS_PER_LATENT

log = logging.getLogger(__name__)

CROP = 64  # latent side of a crop: 512 pixels
HALF = CROP // 2
BETWEEN = (36, 40, 44, 48, 52, 56)  # latent sides of the second low-resolution copy
SHRINK_FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX)
IMAGES_PER_SHARD = 32

Encoder = Callable[[Tensor], Tensor]


def random_crop(image: Image.Image, rng: np.random.Generator, *, shrink: bool) -> Image.Image:
    """A square of CROP latents, mirrored half of the time.

    With `shrink` the picture is first made smaller by a random amount: downscaled photographs are
    as crisp as what a diffusion model paints at that size, and show whole objects.
    """
    side = CROP * PIXELS_PER_LATENT
    short = min(image.size)
    if shrink and short > side:
        factor = rng.uniform(side / short, min(1.0, 1.6 * side / short))
        image = image.resize([max(side, round(v * factor)) for v in image.size], Image.Resampling.LANCZOS)
    left, top = (int(rng.integers(0, v - side + 1)) for v in image.size)
    crop = image.crop((left, top, left + side, top + side))
    return ImageOps.mirror(crop) if rng.random() < 0.5 else crop


@torch.inference_mode()
def encode_picture(
    image: Image.Image, encode: Encoder, rng: np.random.Generator, between: int
) -> list[dict[int, Tensor]]:
    """Two crops of one picture, each as {latent side: latent (C, side, side)}."""
    crops = []
    for shrink in (False, True):
        crop = random_crop(image, rng, shrink=shrink)
        sizes = {CROP: crop}
        for side in (HALF, between):
            pixels = side * PIXELS_PER_LATENT
            sizes[side] = crop.resize((pixels, pixels), SHRINK_FILTERS[rng.integers(len(SHRINK_FILTERS))])
        crops.append({side: encode(to_tensor(picture))[0] for side, picture in sizes.items()})
    return crops


def encode_pairs(
    images: Sequence[Path], encode: Encoder, out: str | Path, *, family: str, seed: int = 0
) -> int:
    """Encode pictures into shards `out/NNNN.safetensors`; shards that exist are not made again.

    Args:
        images: picture files, sides of at least 512 pixels; others are named and left out.
        encode: pixels (1, 3, H, W) in [0, 1] → model-space latents (1, C, H/8, W/8).
        family: latent family, kept in each shard's metadata.
        seed: a picture's crops depend on it and on the picture's name alone.

    Returns:
        The number of crops in all shards.
    """
    count = 0
    starts = range(0, len(images), IMAGES_PER_SHARD)
    for start in tqdm(starts, desc="encode", unit="shard"):
        shard = Path(out) / f"{start // IMAGES_PER_SHARD:04d}.safetensors"
        if not shard.exists():
            # One in-between size a shard, so that a shard is three plain tensors.
            between = BETWEEN[start // IMAGES_PER_SHARD % len(BETWEEN)]
            crops = []
            for path in images[start : start + IMAGES_PER_SHARD]:
                digest = hashlib.sha256(f"{seed}/{path.name}".encode()).digest()
                rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
                try:
                    image = read_picture(path).image
                except InputError as error:
                    log.warning("left out: %s", error)
                    continue
                if min(image.size) < CROP * PIXELS_PER_LATENT:
                    log.warning("%s is left out: %d×%d pixels is too small", path, *image.size)
                    continue
                crops += encode_picture(image, encode, rng, between)
            if not crops:
                continue
            tensors = {f"z{side}": torch.stack([c[side] for c in crops]).half() for side in crops[0]}
            write_tensors(shard, tensors, {"family": family})
        with open_safetensors(shard) as file:
            count += file.get_slice(f"z{CROP}").get_shape()[0]
    return count
