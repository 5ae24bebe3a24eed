"""Small real parts that many tests share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from fmboost_core import Booster, BoosterSpec
from fmboost_core.images import read_picture, to_tensor
from fmboost_core.networks.boostnet import BoostNet, BoostNetConfig
from fmboost_core.safetensors_file import write_tensors
from fmboost_core.tiny_vae import TinyDecoder, TinyEncoder
from fmboost_core.training.pairs import FORMAT, METADATA_KEY

TESTS = Path(__file__).parent
DATA = TESTS / "data"


def in_two_processes(*arguments: str) -> str:
    """Run a program, or `--module` and its name, with arguments, as two processes; returns what it prints.

    `accelerate launch` starts a single process where there is no GPU; this is what it uses where there are.
    """
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *arguments], capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights everywhere, zero-initialised layers too, so that every input matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 50
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)
    return network.eval().requires_grad_(False)


def small_booster(family: str = "sd15", **spec) -> Booster:
    """An untrained BoostNet of one block and random weights: fast, and sensitive to all inputs."""
    channels = BoosterSpec(family).latent_family.channels
    network = lively(BoostNet(BoostNetConfig(latent_channels=channels, width=64, depth=1)))
    return Booster(network, BoosterSpec(family, **spec))


def random_latent(*shape: int, seed: int = 0, scale: float = 5.0) -> torch.Tensor:
    """Unscaled latents of about the size that ComfyUI passes."""
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def photo(side: int = 128) -> torch.Tensor:
    """A photograph (1, 3, side, side) in [0, 1], side at least 128."""
    image = read_picture(DATA / "photo.png").image
    return to_tensor(image.resize((side, side), Image.Resampling.LANCZOS) if side != 128 else image)


def write_tiny_vae(folder: Path, channels: int = 4, seed: int = 0) -> Path:
    """Files of a tiny VAE of random weights that pass a picture's structure on; returns `folder/tiny`."""
    for cls, half in ((TinyEncoder, "encoder"), (TinyDecoder, "decoder")):
        torch.manual_seed(seed)
        write_tensors(folder / f"tiny_{half}.safetensors", cls(channels).state_dict())
    return folder / "tiny"


def write_shards(folder: Path, *, family: str = "sd15", crop: int = 32, shards: int = 2) -> Path:
    """Shards of three random crops each, at full size, half, and one size in between."""
    channels = BoosterSpec(family).latent_family.channels
    generator = torch.Generator().manual_seed(0)
    facts = {METADATA_KEY: json.dumps({"format": FORMAT, "family": family, "crop": crop})}
    for k in range(shards):
        sides = (crop, crop // 2, crop // 2 + 4 + 4 * k)
        tensors = {f"z{s}": torch.randn(3, channels, s, s, generator=generator).half() for s in sides}
        write_tensors(folder / f"{k}.safetensors", tensors, facts)
    return folder
