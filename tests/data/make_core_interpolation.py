"""Golden latents enlarged by ComfyUI's own code, for `test_interpolation.py`.

COMFYUI/.venv/bin/python tests/data/make_core_interpolation.py COMFYUI
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "bislerp")
SIZE = (12, 7)


def main(comfyui: str) -> None:
    sys.path.insert(0, comfyui)
    from comfy.cli_args import args

    args.cpu = True
    from comfy.utils import common_upscale

    z = torch.randn(2, 4, 7, 5, generator=torch.Generator().manual_seed(0)) * 5
    z[0, :, 3, 3] = 0  # no direction
    z[0, :, 5, 1] = z[0, :, 5, 2]  # the same direction
    z[1, :, 2, 2] = -z[1, :, 2, 3]  # opposite directions
    out = {m: common_upscale(z, SIZE[1], SIZE[0], m, "disabled").contiguous() for m in METHODS}
    save_file({"input": z} | out, Path(__file__).parent / "core_interpolation.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
