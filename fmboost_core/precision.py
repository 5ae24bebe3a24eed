"""Number formats that a network can compute in, and which of them suits a device."""

from __future__ import annotations

import torch

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BF16_INSTRUCTIONS = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # of torch.cpu


def fastest_precision(device: torch.device | str) -> str:
    """The fastest precision that keeps the picture: a key of `PRECISIONS`.

    bf16 where it runs in hardware (NVIDIA from Ampere on, CPUs with AMX or AVX-512 BF16), else fp16 on
    other GPUs, else fp32.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if kind == "cpu":
        # Without such instructions bf16 is emulated, and slower than fp32.
        instructions = (getattr(torch.cpu, name, lambda: False) for name in BF16_INSTRUCTIONS)
        return "bf16" if any(supported() for supported in instructions) else "fp32"
    return "fp16"


def training_precision(device: torch.device | str) -> str:
    """The fastest precision to train in: bf16 or fp32, as fp16 would need its gradients scaled."""
    return "bf16" if fastest_precision(device) == "bf16" else "fp32"
