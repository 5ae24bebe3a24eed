"""Makes `pair_FAMILY.safetensors`: the latents of a crop, and of the crop halved in pixels.

    python tests/data/make_pairs.py PICTURE WEIGHTS LEFT TOP

PICTURE is the Colosseum of BuddiesOfBudgie/budgie-backgrounds, WEIGHTS the folder of the tiny VAEs.
"""

import sys
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from fmboost_core import builtin_models, inspect
from fmboost_core.images import to_tensor
from fmboost_core.tiny_vae import TinyEncoder

SIDE = 384  # pixels
SOURCE = "part of Roman Colosseum, BuddiesOfBudgie/budgie-backgrounds, CC0-1.0"


@torch.inference_mode()
def main(picture: str, weights: str, left: str, top: str) -> None:
    box = (int(left), int(top), int(left) + SIDE, int(top) + SIDE)
    crop = Image.open(picture).convert("RGB").crop(box)
    small = crop.resize((SIDE // 2, SIDE // 2), Image.Resampling.BICUBIC)
    for model in builtin_models().values():
        family = inspect(model).spec.latent_family
        encoder = TinyEncoder.load(Path(weights) / f"{family.tiny_vae}_encoder.safetensors")
        pair = {name: encoder(to_tensor(image)) for name, image in (("high", crop), ("low", small))}
        pair = {name: family.from_model(z).half() for name, z in pair.items()}
        save_file(pair, Path(__file__).with_name(f"pair_{family.name}.safetensors"), {"picture": SOURCE})


if __name__ == "__main__":
    main(*sys.argv[1:])
