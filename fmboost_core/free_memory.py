"""How much memory a device has to spare, so that the work can be cut to fit before it fails."""

from __future__ import annotations

import psutil
import torch


def free_memory(device: torch.device | str) -> int | None:
    """Bytes that could be allocated on a device now, or None where it does not tell."""
    device = torch.device(device)
    if device.type == "cpu":
        return psutil.virtual_memory().available
    if device.type == "cuda":
        # What torch keeps for reuse is free to us, though not to the driver.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return None
