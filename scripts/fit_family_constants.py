"""Write `fmboost_core/family_fits.py`: numbers fitted to pictures encoded by each family's tiny VAE.

    python -m scripts.fit_family_constants PICTURES WEIGHTS > fmboost_core/family_fits.py

PICTURES is a folder of pictures, WEIGHTS one with TAESD-type encoders. For each family: the linear
map from a latent pixel to RGB, and mean and spread over pictures of the per-channel statistics by
which one family's latents are told from another's.
"""

import sys

import numpy as np
import torch
from PIL import Image

from fmboost_core.families import FAMILIES, channel_statistics
from fmboost_core.images import find_images, to_tensor
from fmboost_core.tiny_vae import PIXELS_PER_LATENT, TinyEncoder

SIDE, COUNT = 256, 150


def square(path) -> Image.Image:
    image = Image.open(path).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    middle = image.crop((left, top, left + side, top + side))
    return middle.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


HEADER = '''"""Numbers fitted by scripts/fit_family_constants.py; `families` says what they mean."""

from typing import NamedTuple


class Fit(NamedTuple):
    """See the attributes of `families.LatentFamily`."""

    rgb_factors: tuple[tuple[float, float, float], ...]
    rgb_bias: tuple[float, float, float]
    typical: tuple[float, ...]
    spread: tuple[float, ...]


FITS = {'''


def literal(values: np.ndarray) -> str:
    """Nested tuples of three digits behind the point."""
    if values.ndim == 0:
        return f"{values:.3f}"
    return "(" + ", ".join(map(literal, values)) + ")"


def main(pictures: str, weights: str) -> None:
    paths = find_images(pictures)
    images = [square(p) for p in paths[:: max(1, len(paths) // COUNT)]]
    small = [i.resize([SIDE // PIXELS_PER_LATENT] * 2, Image.Resampling.BOX) for i in images]
    rgb = torch.cat([to_tensor(i) for i in small]).movedim(1, -1).reshape(-1, 3)
    sys.stdout.write(HEADER + "\n")
    for name, family in FAMILIES.items():
        encoder = TinyEncoder.load(f"{weights}/{family.tiny_vae}_encoder.safetensors")
        with torch.inference_mode():
            z = torch.cat([encoder(to_tensor(i)) for i in images])
        columns = z.movedim(1, -1).reshape(-1, family.channels)
        design = torch.cat([columns, torch.ones(len(columns), 1)], 1)
        fit = torch.linalg.lstsq(design, rgb).solution
        error = (design @ fit - rgb).square().mean().sqrt().item()
        statistics = channel_statistics(z).numpy()
        sys.stderr.write(f"{name}: RGB error {error:.3f}\n")
        sys.stdout.write(f"    {name!r}: Fit(\n")
        for values in (fit[:-1].numpy(), fit[-1].numpy(), statistics.mean(0), statistics.std(0)):
            sys.stdout.write(f"        {literal(values)},\n")
        sys.stdout.write("    ),\n")
    sys.stdout.write("}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
