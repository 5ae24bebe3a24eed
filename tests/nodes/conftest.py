"""A running ComfyUI of each version at hand, with the pack in it, for all node tests."""

from __future__ import annotations

import comfy_server
import pytest
import torch
from helpers import lively, random_latent, small_booster
from safetensors.torch import save_file

from fmboost_core import Booster, BoosterSpec, save
from fmboost_core.latent_file import LatentFile, write_latent
from fmboost_core.networks.unet import UNet, UNetConfig

COMFYUIS = comfy_server.find_comfyuis()


@pytest.fixture(
    scope="session", params=COMFYUIS or [None], ids=lambda p: comfy_server.version(p) if p else "none"
)
def server(request, tmp_path_factory):
    if request.param is None:
        pytest.skip(comfy_server.HOW_TO_GET_ONE)
    base = tmp_path_factory.mktemp("comfy")
    running = comfy_server.ComfyServer(request.param, base / "base")
    models = running.base / "models" / "fmboost"
    save(models / "small.safetensors", small_booster(), dtype=torch.float32)
    save(models / "flux.safetensors", small_booster("flux"), dtype=torch.float32)
    save(models / "psu.safetensors", small_booster(source_upsampling="psu", context_upsampling="psu"))
    paper = UNetConfig(4, model_channels=32, num_res_blocks=1, channel_mult=(1, 2), attention_factors=(2,))
    save(
        models / "paper.safetensors",
        Booster(lively(UNet(paper)), BoosterSpec("sd15", sigma_range=(0.588, 0.588))),
    )
    save_file({"lora_unet.lora_up.weight": torch.zeros(2)}, models / "lora.safetensors")
    write_latent(running.base / "input" / "one.latent", LatentFile(random_latent(1, 4, 16, 12)))
    yield running
    running.stop()
