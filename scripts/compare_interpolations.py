"""PSNR of a model and of what ComfyUI offers without it, over a folder of pictures.

    python -m scripts.compare_interpolations PICTURES WEIGHTS [MODEL] [DETAIL:STEPS ...]

Each picture is halved in pixels (antialiased bicubic) and encoded by the tiny VAE of the model's family,
found in WEIGHTS; the enlarged latents are decoded by the same VAE and compared with the picture.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from fmboost_core import find_model, load
from fmboost_core.precision import PRECISIONS, fastest_precision
from fmboost_core.tiny_vae import TinyDecoder, TinyEncoder
from fmboost_core.training.pairs import find_images, to_tensor

MULTIPLE = 16  # pixels: both sizes must be whole latents


def psnr(found: Tensor, wanted: Tensor) -> float:
    return -10 * math.log10((found.clamp(0, 1) - wanted).square().mean().item())


def legal(image: Image.Image) -> Image.Image:
    width, height = (side // MULTIPLE * MULTIPLE for side in image.size)
    return image.convert("RGB").crop((0, 0, width, height))


def main(pictures: str, weights: str, model: str | None = None, *settings: str) -> None:
    dtype = PRECISIONS[fastest_precision("cpu")]
    booster = load(find_model(model or "boostnet-sd15"), dtype=dtype)
    family = booster.family
    encoder, decoder = (
        cls.load(Path(weights) / f"{family.tiny_vae}_{name}.safetensors").to(
            dtype, memory_format=torch.channels_last
        )
        for cls, name in ((TinyEncoder, "encoder"), (TinyDecoder, "decoder"))
    )

    def encode(pixels: Tensor) -> Tensor:
        return encoder(pixels.to(dtype, memory_format=torch.channels_last)).float()

    def decode(z: Tensor) -> Tensor:
        return decoder(z.to(dtype, memory_format=torch.channels_last)).float()

    def latent(mode: str) -> Callable[[Tensor], Tensor]:
        return lambda z: decode(F.interpolate(z, scale_factor=2, mode=mode))

    def larger(pixels: Tensor) -> Tensor:
        return F.interpolate(pixels, scale_factor=2, mode="bicubic")

    def boosted(detail: float, steps: int) -> Callable[[Tensor], Tensor]:
        def run(z: Tensor) -> Tensor:
            size = (2 * z.shape[-2], 2 * z.shape[-1])
            out = booster.boost(family.from_model(z), size, detail=detail, steps=steps)
            return decode(family.to_model(out))

        return run

    methods = {
        "latent nearest-exact": latent("nearest-exact"),
        "latent bilinear": latent("bilinear"),
        "latent bicubic": latent("bicubic"),
        "VAE route (decode, bicubic, encode)": lambda z: decode(
            encode(larger(decode(z).clamp(0, 1)).clamp(0, 1))
        ),
        "decode, then bicubic in pixels": lambda z: larger(decode(z).clamp(0, 1)),
    }
    for setting in settings or ("0:1", "0.3:2", "1:4"):
        detail, steps = setting.split(":")
        methods[f"FMBoost, detail {detail}, {steps} steps"] = boosted(float(detail), int(steps))
    scores: dict[str, list[float]] = {
        name: [] for name in (*methods, "ceiling (the picture through the VAE)")
    }
    with torch.inference_mode():
        for path in tqdm(find_images(pictures)):
            image = legal(Image.open(path))
            small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
            wanted, z = to_tensor(image), encode(to_tensor(small))
            for name, method in methods.items():
                scores[name].append(psnr(method(z), wanted))
            scores["ceiling (the picture through the VAE)"].append(psnr(decode(encode(wanted)), wanted))
    for name, values in scores.items():
        gain = sum(v > b for v, b in zip(values, scores["latent bicubic"], strict=True))
        mean, count = sum(values) / len(values), len(values)
        sys.stdout.write(f"{name:40s} {mean:6.2f} dB, above latent bicubic on {gain} of {count}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
