"""Crops of one picture enlarged in different ways, side by side, as a JPEG.

    python -m scripts.make_before_after PICTURE WEIGHTS OUT --family sd15 --crop LEFT TOP SIDE --detail 0 1

The picture is halved in pixels and encoded by the family's tiny VAE (found in WEIGHTS); the crop is of the
enlarged picture, in pixels. With --only, core's panel and the original's are left out.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fmboost_core import FAMILIES, builtin_for, load
from fmboost_core.images import to_image, to_tensor
from fmboost_core.tiny_vae import TinyDecoder, TinyEncoder

PANEL = 480  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--family", choices=FAMILIES, default="sd15")
    parser.add_argument("--crop", type=int, nargs=3, default=(0, 0, 320))
    parser.add_argument("--detail", type=float, nargs="+", default=(0.0, 0.3))
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--only", action="store_true")
    options = parser.parse_args()
    booster = load(builtin_for(options.family), dtype=torch.float32)
    family = booster.family
    encoder = TinyEncoder.load(options.weights / f"{family.tiny_vae}_encoder.safetensors")
    decoder = TinyDecoder.load(options.weights / f"{family.tiny_vae}_decoder.safetensors")
    left, top, side = options.crop
    box = (left, top, left + side, top + side)

    def panel(z: Tensor, label: str) -> Image.Image:
        crop = to_image(decoder(z)).crop(box).resize((PANEL, PANEL), Image.Resampling.NEAREST)
        draw = ImageDraw.Draw(crop)
        font = ImageFont.load_default(size=20)
        edges = draw.textbbox((10, PANEL - 34), label, font=font)
        draw.rectangle((edges[0] - 6, edges[1] - 5, edges[2] + 6, edges[3] + 5), fill=(0, 0, 0))
        draw.text((10, PANEL - 34), label, font=font, fill=(255, 255, 255))
        return crop

    image = Image.open(options.picture).convert("RGB")
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    with torch.inference_mode():
        low, high = encoder(to_tensor(small)), encoder(to_tensor(image))
        panels = [
            panel(F.interpolate(low, size=high.shape[-2:], mode="bicubic"), "core: bicubic latent upscale")
        ]
        for detail in options.detail:
            boosted = booster.boost(
                family.from_model(low), tuple(high.shape[-2:]), detail=detail, steps=options.steps
            )
            panels.append(panel(family.to_model(boosted), f"FMBoost, detail {detail:g}"))
        panels = panels[1:] if options.only else [*panels, panel(high, "original, same VAE")]
    sheet = Image.new("RGB", (PANEL * len(panels), PANEL))
    for i, crop in enumerate(panels):
        sheet.paste(crop, (i * PANEL, 0))
    sheet.save(options.out, quality=90)


if __name__ == "__main__":
    main()
