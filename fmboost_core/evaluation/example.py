"""One picture made ready: the original, the small latent to start from, the large latent to hope for."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError
from ..images import Picture, centre_crop, to_tensor
from ..sizes import LARGEST_FACTOR
from ..tiny_vae import PIXELS_PER_LATENT
from ..upsampling import Size, size_of
from ..vae import VAE
from .metrics import SMALLEST_SIDE

LARGEST_DENOMINATOR = 16  # finer ratios would crop too much of a picture
SHRINK_FILTER = Image.Resampling.BICUBIC  # Pillow's, which is antialiased


@dataclass(frozen=True)
class Example:
    """What every method starts from, and what it is compared with.

    Attributes:
        original: pixels (1, 3, 8H, 8W) in [0, 1].
        low: model-space latent of the shrunk picture, (1, C, h, w).
        high: model-space latent of the original, (1, C, H, W).
    """

    original: Tensor
    low: Tensor
    high: Tensor

    @property
    def size(self) -> Size:
        """Height and width of the large latent."""
        return size_of(self.high)


def read_scale(text: str | float) -> Fraction:
    """`2`, `1.5` or `4/3` as a ratio of small whole numbers, so that both sizes are whole latents.

    Raises:
        InputError: it is not a number above 1 and up to 8, or not such a ratio.
    """
    try:
        scale = Fraction(str(text))
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"the scale is {text!r}: give a number such as 2, 1.5 or 4/3") from error
    if not 1 < scale <= LARGEST_FACTOR:
        raise InputError(f"the scale is {text}: it must be above 1 and at most {LARGEST_FACTOR:g}")
    near = scale.limit_denominator(LARGEST_DENOMINATOR)
    if near.numerator > 4 * LARGEST_DENOMINATOR or abs(near - scale) > Fraction(1, 1000):
        raise InputError(f"the scale is {text}: give a ratio of small numbers, such as {near}")
    return near


def crop_to_scale(image: Image.Image, scale: Fraction, largest_side: int) -> Image.Image:
    """The middle of a picture, with sides that are whole latents at both sizes. Never resized.

    Raises:
        InputError: a side would be under 192 pixels.
    """
    multiple = PIXELS_PER_LATENT * scale.numerator
    width, height = (min(side, largest_side) // multiple * multiple for side in image.size)
    if min(width, height) < SMALLEST_SIDE:
        raise InputError(
            f"it has {image.width}×{image.height} pixels, cropped for ×{scale} {width}×{height}:"
            f" at least {SMALLEST_SIDE} a side are needed"
        )
    return centre_crop(image, width, height)


@torch.inference_mode()
def make_example(picture: Picture, scale: Fraction, vae: VAE, largest_side: int) -> Example:
    """Crop, shrink in pixels, and encode both sizes. Raises `InputError` as `crop_to_scale` does."""
    image = crop_to_scale(picture.image, scale, largest_side)
    small = image.resize([int(side / scale) for side in image.size], SHRINK_FILTER)
    original = to_tensor(image).to(vae.device)
    return Example(original, vae.encode(to_tensor(small)), vae.encode(original))
