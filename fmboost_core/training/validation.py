"""How good the weights are while they are trained: the evaluation's metrics on a few fixed pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..booster import Booster
from ..errors import InputError
from ..evaluation.example import Example, make_example
from ..evaluation.metrics import ENERGY, as_saved, measure, octave_energy
from ..images import centre_crop, find_images, read_picture, to_image
from ..interpolation import enlarge_latent
from ..safetensors_file import atomic_write
from ..vae import VAE

log = logging.getLogger(__name__)

SCALE = Fraction(2)
PICTURES, SIDE = 8, 512  # how many, and how many pixels of each
SETTINGS = ((0.0, 1), (1.0, 4))  # detail and steps: the faithful end and the other
SHOWN, TILE = 4, 256  # pictures of a sample sheet, and the side of their crops
MEASURED = ("psnr", "haarpsi")


class Validation:
    """A fixed set of pictures, read and encoded once.

    Args:
        images: folder of pictures that are not trained on.
        vae: of the family.

    Raises:
        InputError: none of the pictures can be used.
    """

    def __init__(self, images: str | Path, vae: VAE) -> None:
        self.vae = vae
        self.examples: list[Example] = []
        for path in find_images(images):
            try:
                self.examples.append(make_example(read_picture(path), SCALE, vae, SIDE))
            except InputError as error:
                log.warning("left out: %s: %s", path, error)
            if len(self.examples) == PICTURES:
                break
        if not self.examples:
            raise InputError(f"no picture in {images} can be used for validation")

    @torch.inference_mode()
    def __call__(self, booster: Booster, sheet: Path) -> dict[str, float]:
        """Measure a booster; writes a sheet of crops: bicubic, each setting, the original.

        Returns:
            Means over the pictures, named like `psnr_d0` for detail 0, and `energy_d1` for the energy in
            the finest octave relative to the original's.
        """
        family = booster.family
        rows: list[list[Tensor]] = []
        sums: dict[str, float] = {}
        energies = {"original": 0.0}
        for example in self.examples:
            samples = family.from_model(example.low)
            bicubic = enlarge_latent(samples, example.size, "bicubic")
            shown = [self.vae.decode(family.to_model(bicubic))]
            energies["original"] += octave_energy(example.original)[0]
            for detail, steps in SETTINGS:
                boosted = booster.boost(samples, example.size, detail=detail, steps=steps)
                pixels = self.vae.decode(family.to_model(boosted))
                found = measure(as_saved(pixels), example.original)
                for name in MEASURED:
                    key = f"{name}_d{detail:g}"
                    sums[key] = sums.get(key, 0.0) + found[name] / len(self.examples)
                energies[f"{detail:g}"] = energies.get(f"{detail:g}", 0.0) + found[ENERGY[0]]
                shown.append(pixels)
            rows.append([*shown, example.original])
        _write_sheet(sheet, rows[:SHOWN])
        whole = energies.pop("original")
        return sums | {f"energy_d{detail}": e / whole for detail, e in energies.items()}


def _write_sheet(path: Path, rows: Sequence[Sequence[Tensor]]) -> None:
    sheet = Image.new("RGB", (TILE * len(rows[0]), TILE * len(rows)))
    for y, row in enumerate(rows):
        for x, pixels in enumerate(row):
            sheet.paste(centre_crop(to_image(pixels), TILE, TILE), (x * TILE, y * TILE))
    with atomic_write(path) as temporary:
        sheet.save(temporary, "PNG")
