"""Checkpoints like those of the reference code, made without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from name_seeded import fill_by_name

from fmboost_core.networks.unet import UNet, config_from_reference

NET = {
    "in_channels": 8, "out_channels": 4, "model_channels": 32, "num_res_blocks": 1, "channel_mult": [1, 2],
    "attention_resolutions": [2], "dim_head": 8, "num_heads": 2, "use_linear_attn": False,
    "use_scale_shift_norm": True, "conv_resample": True, "dropout": 0.0, "pool_factor": -1,
}  # fmt: skip


def settings(**changes) -> dict[str, Any]:
    """The arguments of the reference's module, as its YAML has them."""
    flow = {
        "schedule": "linear",
        "net_cfg": {"target": "fmboost.models.unet.model.EfficientUNet", "params": NET},
    }
    values = {
        "low_res_size": 512, "high_res_size": 1024, "upsampling_mode": "bilinear",
        "upsampling_mode_context": "nearest", "start_from_noise": False, "noising_step": 400,
        "concat_context": True, "ca_context": False,
        "fm_cfg": {"target": "fmboost.flow.FlowModel", "params": flow},
    }  # fmt: skip
    return values | changes


def weights(seed_scale: float) -> dict[str, torch.Tensor]:
    network = UNet(config_from_reference(NET))
    fill_by_name(network)
    return {k: seed_scale * v for k, v in network.state_dict().items()}


def write_checkpoint(path: Path, **changes) -> Path:
    state = {f"model.net.{k}": v for k, v in weights(1.0).items()}
    state |= {f"ema_model.ema_model.net.{k}": v for k, v in weights(0.5).items()}
    state["first_stage.encoder.conv_in.weight"] = torch.zeros(3)
    content = {
        "state_dict": state,
        "hyper_parameters": settings(),
        "epoch": 3,
        "pytorch-lightning_version": "2.5",
    }
    torch.save(content | changes, path)
    return path
