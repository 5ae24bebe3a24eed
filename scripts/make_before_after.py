"""Crops of one picture enlarged in different ways, side by side, as a JPEG.

    python -m scripts.make_before_after PICTURE WEIGHTS OUT.jpg LEFT TOP [SIDE] [DETAIL:STEPS ...]

The picture is halved in pixels and encoded by the family's tiny VAE (found in WEIGHTS); LEFT, TOP and SIDE
choose the crop of the enlarged picture, in pixels. With `only` among the settings, core's panel and the
original's are left out.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fmboost_core import builtin_for, load
from fmboost_core.images import to_image, to_tensor
from fmboost_core.tiny_vae import TinyDecoder, TinyEncoder

PANEL = 480  # pixels
ONLY = "only"


def main(
    picture: str, weights: str, out: str, left: str, top: str, side: str = "320", *settings: str
) -> None:
    booster = load(builtin_for("sd15"), dtype=torch.float32)
    family = booster.family
    encoder = TinyEncoder.load(Path(weights) / f"{family.tiny_vae}_encoder.safetensors")
    decoder = TinyDecoder.load(Path(weights) / f"{family.tiny_vae}_decoder.safetensors")
    box = (int(left), int(top), int(left) + int(side), int(top) + int(side))

    def panel(z: Tensor, label: str) -> Image.Image:
        crop = to_image(decoder(z)).crop(box).resize((PANEL, PANEL), Image.Resampling.NEAREST)
        draw = ImageDraw.Draw(crop)
        font = ImageFont.load_default(size=20)
        edges = draw.textbbox((10, PANEL - 34), label, font=font)
        draw.rectangle((edges[0] - 6, edges[1] - 5, edges[2] + 6, edges[3] + 5), fill=(0, 0, 0))
        draw.text((10, PANEL - 34), label, font=font, fill=(255, 255, 255))
        return crop

    image = Image.open(picture).convert("RGB")
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    with torch.inference_mode():
        low, high = encoder(to_tensor(small)), encoder(to_tensor(image))
        panels = [
            panel(F.interpolate(low, size=high.shape[-2:], mode="bicubic"), "core: bicubic latent upscale")
        ]
        for setting in [s for s in settings if s != ONLY] or ("0:1", "0.3:1"):
            detail, steps = setting.split(":")
            boosted = booster.boost(
                family.from_model(low), tuple(high.shape[-2:]), detail=float(detail), steps=int(steps)
            )
            panels.append(panel(family.to_model(boosted), f"FMBoost, detail {detail}"))
        panels = panels[1:] if ONLY in settings else [*panels, panel(high, "original, same VAE")]
    sheet = Image.new("RGB", (PANEL * len(panels), PANEL))
    for i, crop in enumerate(panels):
        sheet.paste(crop, (i * PANEL, 0))
    sheet.save(out, quality=90)


if __name__ == "__main__":
    main(*sys.argv[1:])
