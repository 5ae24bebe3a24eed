"""Training pairs: pictures → the latents of one crop at several sizes, in shards on disk.

A crop is encoded at full size (`z_h`) and, shrunk *in pixels* with antialiasing, at smaller sizes
(`z_l`): half its side, and sizes in between so that the network sees every scale in (1, 2]. Shrinking
latents instead would teach the network to sharpen blur that no VAE produces. Mirrored crops are
mirrored before the VAE, which does not treat left and right alike.

A shard is one safetensors file: a tensor `z<side>` of shape (crops, C, side, side), fp16, for each
latent side, and in its metadata the settings and a hash of the pictures.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from safetensors import safe_open
from torch import Tensor

from ..errors import InputError
from ..families import FAMILIES
from ..images import to_tensor
from ..safetensors_file import open_safetensors, write_tensors
from ..tiny_vae import PIXELS_PER_LATENT
from .sources import AnyPicture, Shard

log = logging.getLogger(__name__)

METADATA_KEY = "fmboost_pairs"
FORMAT = 1
SHRINK_FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX)
LARGEST_SHRINK = 1.6  # how much wider than the crop the shrunk picture's short side is at most


class Encoder(Protocol):
    """Anything that encodes: `vae.VAE`, or an object of one's own."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, 8H, 8W) in [0, 1] → model-space latents (B, C, H, W)."""
        ...


@dataclass(frozen=True)
class PairSettings:
    """How pairs are made.

    Attributes:
        family: latent family of the encoder.
        crop: latent side of a crop; a multiple of 4.
        crops: of each picture; the first at the picture's own size, every second one of the picture
            shrunk by a random amount, which is as crisp as what a diffusion model paints, and shows more.
        between: how many sizes between half and full a crop is encoded at, the same in a whole shard.
        degrade: probability that a small copy is blurred, noised or JPEG-compressed before encoding.
        seed: of every random choice; a picture's crops depend on it and on the picture's name alone.
    """

    family: str
    crop: int = 64
    crops: int = 4
    between: int = 1
    degrade: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise InputError(
                f"there is no latent family {self.family!r}: choose one of {', '.join(FAMILIES)}"
            )
        if self.crop % 4 or self.crop < 16:
            raise InputError(f"crop is {self.crop} latent pixels: give a multiple of 4, at least 16")
        if self.crops < 1:
            raise InputError(f"crops is {self.crops}: at least 1 of each picture is needed")
        if not 0 <= self.between <= len(self.sizes_between):
            raise InputError(f"between is {self.between}: give 0 to {len(self.sizes_between)}")
        if not 0 <= self.degrade <= 1:
            raise InputError(f"degrade is {self.degrade}: give a probability, 0 to 1")

    @property
    def half(self) -> int:
        return self.crop // 2

    @property
    def sizes_between(self) -> range:
        """Latent sides strictly between half and full; even, as the network's cells want it."""
        return range(self.half + 2, self.crop, 2)

    @property
    def pixels(self) -> int:
        """Side of a crop in pixels."""
        return self.crop * PIXELS_PER_LATENT


def encode_pairs(shards: Iterable[Shard], encoder: Encoder, out: str | Path, settings: PairSettings) -> int:
    """Encode shards of pictures into `out/NAME.safetensors`; those that exist are not made again.

    Args:
        shards: of `sources.plan_shards`; pictures that are unreadable or too small are named and left out.
        encoder: of the settings' family.
        out: folder, made if it is not there.
        settings: how pairs are made.

    Returns:
        The number of crops in these shards.

    Raises:
        InputError: a shard in `out` was made of other pictures or with other settings, or the encoder
            is of another family.
        OutputError: a shard cannot be written.
    """
    count = 0
    for shard in shards:
        path = Path(out) / f"{shard.name}.safetensors"
        description = _describe(shard.pictures, settings)
        if path.exists():
            _check_same(path, description)
        else:
            tensors = _encode_shard(shard.pictures, encoder, settings, _generator(settings.seed, shard.name))
            if not tensors:
                log.warning("no picture of shard %s could be used", shard.name)
                continue
            write_tensors(path, tensors, {METADATA_KEY: json.dumps(description)})
        with open_safetensors(path) as file:
            count += file.get_slice(f"z{settings.crop}").get_shape()[0]
    return count


def _describe(pictures: Sequence[AnyPicture], settings: PairSettings) -> dict[str, object]:
    names = "\n".join(p.name for p in pictures)
    digest = hashlib.sha256(names.encode()).hexdigest()
    return {"format": FORMAT, **dataclasses.asdict(settings), "pictures": digest}


def read_description(path: Path, file: safe_open) -> dict[str, Any]:
    """What a shard's header says of it. Raises `InputError` if it says nothing that can be read."""
    text = (file.metadata() or {}).get(METADATA_KEY)
    if text is None:
        raise InputError(f"{path} is not a shard of `fmboost encode`: take it out of the folder")
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: delete it, and run `fmboost encode` again") from error
    found = facts.get("format") if isinstance(facts, dict) else None
    if found != FORMAT:
        raise InputError(f"{path} has format {found!r:.40}, this FMBoost reads {FORMAT}: encode again")
    return facts


def _check_same(path: Path, description: dict[str, object]) -> None:
    with open_safetensors(path) as file:
        held = read_description(path, file)
    changed = [key for key, value in description.items() if held.get(key) != value]
    if changed:
        raise InputError(f"{path} was made with another {', '.join(changed)}: choose another folder")


def _generator(seed: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _encode_shard(
    pictures: Sequence[AnyPicture],
    encoder: Encoder,
    settings: PairSettings,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    # The same sizes in a whole shard, so that it is a few plain tensors.
    between = rng.choice(settings.sizes_between, settings.between, replace=False)
    sides = [settings.half, *sorted(int(side) for side in between)]
    crops: list[dict[int, Tensor]] = []
    for source in pictures:
        try:
            image = source.read()
        except InputError as error:
            log.warning("left out: %s", error)
            continue
        if min(image.size) < settings.pixels:
            log.warning(
                "left out: %s: %d×%d pixels, at least %d a side are needed",
                source.name, *image.size, settings.pixels,
            )  # fmt: skip
            continue
        own = _generator(settings.seed, source.name)
        crops += [_encode_crop(image, encoder, settings, sides, own, k) for k in range(settings.crops)]
    if not crops:
        return {}
    expected = FAMILIES[settings.family].channels
    found = crops[0][settings.crop].shape[0]
    if found != expected:
        raise InputError(f"the encoder makes {found} channels, but {settings.family} has {expected}")
    return {f"z{side}": torch.stack([c[side] for c in crops]).half() for side in crops[0]}


@torch.inference_mode()
def _encode_crop(
    image: Image.Image, encoder: Encoder, settings: PairSettings, sides: Sequence[int],
    rng: np.random.Generator, index: int,
) -> dict[int, Tensor]:  # fmt: skip
    crop = random_crop(image, settings.pixels, rng, shrink=index % 2 == 1)
    sizes = {settings.crop: crop}
    for side in sides:
        pixels = side * PIXELS_PER_LATENT
        small = crop.resize((pixels, pixels), SHRINK_FILTERS[rng.integers(len(SHRINK_FILTERS))])
        sizes[side] = degraded(small, rng) if rng.random() < settings.degrade else small
    return {side: encoder.encode(to_tensor(picture))[0].cpu() for side, picture in sizes.items()}


def random_crop(image: Image.Image, side: int, rng: np.random.Generator, *, shrink: bool) -> Image.Image:
    """A square of `side` pixels, mirrored half of the time; with `shrink`, of a smaller copy."""
    short = min(image.size)
    if shrink and short > side:
        factor = rng.uniform(side / short, min(1.0, LARGEST_SHRINK * side / short))
        image = image.resize([max(side, round(v * factor)) for v in image.size], Image.Resampling.LANCZOS)
    left, top = (int(rng.integers(0, v - side + 1)) for v in image.size)
    crop = image.crop((left, top, left + side, top + side))
    return ImageOps.mirror(crop) if rng.random() < 0.5 else crop


def degraded(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The picture slightly blurred, noised, or compressed: what small latents of poor pictures look like."""
    kind = rng.integers(3)
    if kind == 0:
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    if kind == 1:
        levels = np.asarray(image) + rng.normal(0, rng.uniform(2, 10), np.asarray(image).shape)
        return Image.fromarray(levels.clip(0, 255).round().astype(np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(40, 90)))
    return Image.open(buffer).convert("RGB")
