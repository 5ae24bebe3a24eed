"""Number formats that a network can compute in, and which of them suits a device."""

from __future__ import annotations

import torch

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def fastest_precision(device: torch.device | str) -> str:
    """The fastest precision that keeps the picture: a key of `PRECISIONS`.

    bf16 where it runs in hardware (NVIDIA from Ampere on, CPUs with matrix units), else fp16 on
    other GPUs, else fp32.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if kind == "cpu":
        # Without matrix units bf16 is emulated, and slower than fp32.
        has_matrix_units = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        return "bf16" if has_matrix_units() else "fp32"
    return "fp16"


def training_precision(device: torch.device | str) -> str:
    """The fastest precision to train in: bf16 or fp32, as fp16 would need its gradients scaled."""
    return "bf16" if fastest_precision(device) == "bf16" else "fp32"
