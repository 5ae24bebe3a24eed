"""Makes reference_unet.npz and reference_unet.json by running CompVis/fm-boosting.

    python tests/data/make_reference_unet.py PATH_TO_A_CHECKOUT

Needs torch, numpy, einops, tqdm and torchdiffeq. Weights and inputs follow from their names, see
name_seeded.py; the outputs are stored under these keys:

    NET/HxW/velocity       one forward pass at t = TIMES, batch of 2
    NET/HxW/endpoint       FlowModel.generate: 4 Euler steps from t = 0 to 1
    SCHEDULE/xt, /ut       FlowModel.compute_xt and compute_ut at t = PATH_TIMES
    sigma_min/xt, /ut      the same for the linear schedule with sigma_min = 0.1 and known noise
    diffusion/alpha_bar    ForwardDiffusion().alpha_bar_t, steps 0..999
    diffusion/STEP         ForwardDiffusion().q_sample at that step
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from name_seeded import fill_by_name, seeded_normal

SIZES = ((16, 16), (24, 16))
TIMES = (0.3, 0.85)
PATH_TIMES = (0.0, 0.25, 0.5, 1.0)
STEPS = (1, 400, 999)
SIGMA_MIN = 0.1
BASE = {
    "in_channels": 8,
    "model_channels": 32,
    "out_channels": 4,
    "num_res_blocks": 1,
    "attention_resolutions": [4],
    "channel_mult": [1, 2, 2],
    "num_heads": 4,
    "dim_head": 16,
    "use_linear_attn": False,
}
NETS: dict[str, dict[str, Any]] = {
    "base": BASE,
    "linear_attention": BASE | {"use_linear_attn": True, "num_res_blocks": 2},
    "pooled": BASE | {"pool_factor": 2, "use_scale_shift_norm": False, "conv_resample": False},
}


@torch.no_grad()
def main(checkout: Path) -> None:
    """Runs every case and writes both files next to this script."""
    sys.path.insert(0, str(checkout))
    from fmboost.diffusion import ForwardDiffusion
    from fmboost.flow import FlowModel
    from fmboost.models.unet.model import EfficientUNet

    arrays: dict[str, torch.Tensor] = {}
    shapes: dict[str, dict[str, list[int]]] = {}
    for name, params in NETS.items():
        net = EfficientUNet(**params).eval()
        fill_by_name(net)
        shapes[name] = {key: list(value.shape) for key, value in net.state_dict().items()}
        flow = FlowModel(net, schedule="linear")
        for height, width in SIZES:
            case, shape = f"{name}/{height}x{width}", (2, params["out_channels"], height, width)
            x, context = (seeded_normal(f"{case}/{part}", shape) for part in ("x", "context"))
            euler = {"num_steps": 5, "method": "euler"}  # grid points, not steps
            arrays[f"{case}/velocity"] = flow(x, torch.tensor(TIMES), context=context)
            arrays[f"{case}/endpoint"] = flow.generate(x, euler, context=context)

    net, t, shape = torch.nn.Identity(), torch.tensor(PATH_TIMES), (len(PATH_TIMES), 4, 6, 5)
    x0, x1, noise = (seeded_normal(f"path/{part}", shape) for part in ("x0", "x1", "noise"))
    flows = {name: FlowModel(net, schedule=name) for name in ("linear", "gvp")}
    flows["sigma_min"] = FlowModel(net, schedule="linear", sigma_min=SIGMA_MIN)
    for name, flow in flows.items():
        with mock.patch("torch.randn_like", return_value=noise):
            arrays[f"{name}/xt"] = flow.compute_xt(x0, x1, t)
        arrays[f"{name}/ut"] = flow.compute_ut(x0, x1, t)

    diffusion = ForwardDiffusion()
    arrays["diffusion/alpha_bar"] = diffusion.alpha_bar_t
    for step in STEPS:
        arrays[f"diffusion/{step}"] = diffusion.q_sample(x1, step, noise)

    arguments = inspect.signature(EfficientUNet).parameters.values()
    facts = {
        "repository": "https://github.com/CompVis/fm-boosting",
        "commit": subprocess.check_output(["git", "-C", checkout, "rev-parse", "HEAD"], text=True).strip(),
        "sizes": SIZES,
        "times": TIMES,
        "path_shape": shape,
        "path_times": PATH_TIMES,
        "sigma_min": SIGMA_MIN,
        "steps": STEPS,
        "defaults": {a.name: a.default for a in arguments if a.default is not a.empty},
        "nets": NETS,
        "shapes": shapes,
    }
    target = Path(__file__).with_name("reference_unet")
    np.savez_compressed(target, **{key: value.numpy() for key, value in arrays.items()})
    lines = (f'"{key}": {json.dumps(value)}' for key, value in facts.items())
    target.with_suffix(".json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
