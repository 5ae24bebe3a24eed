"""Pictures: whatever Pillow reads → RGB, with a word on what had to be done to it; and as tensors."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from .errors import InputError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")
# Pillow's plugins raise these on damaged files; UnidentifiedImageError is an OSError.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Picture:
    """A picture as it was read.

    Attributes:
        image: RGB, upright.
        note: what was done beside reading, for people; empty if nothing.
    """

    image: Image.Image
    note: str = ""


def readable_suffixes() -> set[str]:
    """Endings of the files that Pillow reads, in lower case, each with its dot."""
    return {suffix for suffix, format in Image.registered_extensions().items() if format in Image.OPEN}


def find_images(folder: str | Path) -> list[Path]:
    """Every file below `folder` whose name says that it is a picture, sorted.

    Formats that Pillow cannot read are in the list, so that they are named rather than overlooked.

    Raises:
        InputError: there is no such folder, or no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give one that holds pictures")
    known = readable_suffixes()

    def is_picture(path: Path) -> bool:
        kind = mimetypes.guess_type(path.name)[0] or ""
        return path.is_file() and (path.suffix.lower() in known or kind.startswith("image/"))

    found = sorted(path for path in folder.rglob("*") if is_picture(path))
    if not found:
        raise InputError(f"{folder} holds no pictures")
    return found


def read_picture(source: str | Path | BinaryIO, name: str | None = None) -> Picture:
    """Read a picture as RGB: grey and 16-bit ones are converted, transparency is laid on white.

    Args:
        source: a file's path, or an open file.
        name: what to call it in errors; the path by default.

    Raises:
        InputError: the file is damaged, too large, or in a format that Pillow does not read.
    """
    try:
        with Image.open(source) as file:
            upright = ImageOps.exif_transpose(file)
            return _to_rgb(upright)
    except UNREADABLE as error:
        reason = "in no format that Pillow reads" if "cannot identify" in str(error) else str(error)
        raise InputError(f"{name or source} cannot be read as a picture: {reason}") from error


def _to_rgb(image: Image.Image) -> Picture:
    if image.mode == "F":
        raise ValueError("it holds floating-point values without a known range")
    if image.mode in SIXTEEN_BITS:
        levels = np.asarray(image, np.float64).clip(0, 65535) / 257
        return Picture(Image.fromarray(levels.round().astype(np.uint8)).convert("RGB"), "grey, 16 bits")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        if layered.getchannel("A").getextrema() == (255, 255):
            return Picture(layered.convert("RGB"))
        white = Image.new("RGBA", layered.size, "white")
        return Picture(Image.alpha_composite(white, layered).convert("RGB"), "transparency laid on white")
    grey = image.mode in ("1", "L")
    return Picture(image.convert("RGB"), "grey" if grey else "")


def centre_crop(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of a picture, at most the picture itself."""
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def to_tensor(image: Image.Image) -> Tensor:
    """RGB picture → (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)[None]


def to_image(pixels: Tensor) -> Image.Image:
    """Pixels (1, 3, H, W), clamped to [0, 1] → RGB picture."""
    levels = (pixels[0].clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1)
    return Image.fromarray(levels.cpu().numpy())


def luma(pixels: Tensor) -> Tensor:
    """RGB (B, 3, H, W) → BT.601 luma (B, 1, H, W)."""
    return torch.einsum("bchw,c->bhw", pixels, pixels.new_tensor(LUMA))[:, None]
