"""Prompts in ComfyUI's API format that several tests send."""

from __future__ import annotations

import torch

from fmboost_core.latent_file import read_latent


def boost(
    model: str = "small.safetensors", latent=None, size: dict | None = None, precision: str = "fp32", **inputs
) -> dict:
    """Load Latent → FMBoost Upscale → Save Latent."""
    size = size or {"size": "by factor", "factor": 2.0}
    flat = {"size" if k == "size" else f"size.{k}": v for k, v in size.items()}
    defaults = {"detail": 0.5, "steps": 2, "seed": 7, "solver": "euler", "tile_size": 0}
    prompt = {
        "load": {"class_type": "FMBoostModelLoader", "inputs": {"model_name": model, "precision": precision}},
        "latent": {"class_type": "LoadLatent", "inputs": {"latent": "one.latent"}},
        "boost": {
            "class_type": "FMBoostUpscale",
            "inputs": {"model": ["load", 0], "latent": latent or ["latent", 0], **flat, **defaults, **inputs},
        },
        "save": {"class_type": "SaveLatent", "inputs": {"samples": ["boost", 0], "filename_prefix": "out"}},
    }
    if latent:
        del prompt["latent"]
    return prompt


def result(server, prompt) -> torch.Tensor:
    entry = server.run(prompt)
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    return read_latent(server.saved_latent(entry, "save")).samples
