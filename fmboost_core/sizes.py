"""How large the result shall be, and over which stages it gets there. Sizes are (height, width)."""

from __future__ import annotations

import math

from .errors import InputError
from .upsampling import Size

LARGEST_FACTOR = 8.0
MEGAPIXEL = 1024 * 1024  # pixels, as ComfyUI's own nodes count


def by_factor(size: Size, factor: float) -> Size:
    """`size` times `factor`, rounded to whole latent pixels."""
    if not math.isfinite(factor) or factor <= 0:
        raise InputError(f"the factor is {factor}: choose one from 1 to {LARGEST_FACTOR:g}")
    return _rounded(size[0] * factor), _rounded(size[1] * factor)


def to_pixels(width: int, height: int, pixels_per_latent: int) -> Size:
    """The latent size whose picture is nearest to width × height pixels."""
    if width < 1 or height < 1:
        raise InputError(f"the size is {width}×{height} pixels: both sides must be positive")
    return _rounded(height / pixels_per_latent), _rounded(width / pixels_per_latent)


def to_megapixels(size: Size, megapixels: float, pixels_per_latent: int) -> Size:
    """The latent size of `size`'s proportions whose picture has that many times 1024² pixels."""
    if not math.isfinite(megapixels) or megapixels <= 0:
        raise InputError(f"the size is {megapixels} megapixels: it must be positive")
    if min(size) < 1:
        raise InputError(f"the latent is empty: {size[1]}×{size[0]}")
    pixels = size[0] * size[1] * pixels_per_latent**2
    return by_factor(size, math.sqrt(megapixels * MEGAPIXEL / pixels))


def check_sizes(source: Size, target: Size) -> None:
    """Raise `InputError` unless `target` is 1 to 8 times `source` on both sides."""
    if min(source) < 1:
        raise InputError(f"the latent is empty: {source[1]}×{source[0]} latent pixels")
    if target[0] < source[0] or target[1] < source[1]:
        raise InputError(
            f"the target of {target[1]}×{target[0]} latent pixels is smaller than the input of"
            f" {source[1]}×{source[0]}: a boost only enlarges (×1 to ×{LARGEST_FACTOR:g})"
        )
    # Half a latent pixel of tolerance: rounding must not refuse an exact ×8 of an odd size.
    if any(t > s * LARGEST_FACTOR + 0.5 for s, t in zip(source, target, strict=True)):
        raise InputError(
            f"the target of {target[1]}×{target[0]} latent pixels is more than {LARGEST_FACTOR:g} times"
            f" the input of {source[1]}×{source[0]}: boost in two nodes, or choose a smaller size"
        )


def cascade(source: Size, target: Size, largest_scale: float) -> list[Size]:
    """The sizes after each stage, the last being `target`; each stage scales by at most `largest_scale`.

    Stages share the enlargement equally: 64 → 256 by way of 128, 64 → 192 by way of 111.
    """
    ratio = max(t / s for s, t in zip(source, target, strict=True))
    if ratio <= 1:
        return []
    # The tolerance lets the rounding of an odd size (ratio 2.02, say) pass as one stage.
    stages = max(1, math.ceil(math.log(ratio) / math.log(largest_scale) - 0.05))
    return [
        (_between(source[0], target[0], k / stages), _between(source[1], target[1], k / stages))
        for k in range(1, stages + 1)
    ]


def _between(start: int, end: int, part: float) -> int:
    return _rounded(start * (end / start) ** part)


def _rounded(value: float) -> int:
    return math.floor(value + 0.5)
