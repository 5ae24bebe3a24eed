"""What the node adds to the core's own time. Run by ComfyUI's Python, in ComfyUI's folder:

python custom_nodes/FMBoost/scripts/bench_node.py
"""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import sys
import time
from pathlib import Path

PACK = Path(__file__).parents[1]
RUNS = 15

sys.path.insert(0, ".")
from comfy.cli_args import args  # noqa: E402

args.cpu = True

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402


def _load_pack():
    spec = importlib.util.spec_from_file_location(
        "fmboost_pack", PACK / "__init__.py", submodule_search_locations=[str(PACK)]
    )
    pack = importlib.util.module_from_spec(spec)
    sys.modules["fmboost_pack"] = pack
    spec.loader.exec_module(pack)
    return pack


def _time(call) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    extension = asyncio.run(_load_pack().comfy_entrypoint())
    asyncio.run(extension.get_node_list())
    loader = importlib.import_module("fmboost_pack.nodes.loader").FMBoostModelLoader
    upscale = importlib.import_module("fmboost_pack.nodes.upscale").FMBoostUpscale
    names = importlib.import_module("fmboost_pack.nodes.model_files").model_names()
    name = next(n for n in names if "sd15" in n)
    latent = {"samples": load_file(PACK / "examples" / "sample.latent")["latent_tensor"]}
    height, width = latent["samples"].shape[-2:]
    size = {"size": "by factor", "factor": 2.0}
    with torch.inference_mode():
        model = loader.execute(name, "auto").args[0]
        calls = {
            "load": lambda: loader.execute(name, "auto"),
            "node": lambda: upscale.execute(model, latent, size, 0.3, 1, 0, "euler", 0),
            "core": lambda: model.booster.boost(
                latent["samples"], (2 * height, 2 * width), detail=0.3, steps=1
            ),
        }
        rounds = [{name: _time(call) for name, call in calls.items()} for _ in range(RUNS + 1)][1:]
    load, node, core = (statistics.median(r[name] for r in rounds) for name in calls)
    # Taken in turns, so that both see the same machine.
    added = statistics.median(r["node"] - r["core"] for r in rounds)
    sys.stdout.write(
        f"{8 * width}×{8 * height} pixels ×2, one step; medians of {RUNS}\n"
        f"load a built-in model {load:.0f} ms; node {node:.1f} ms, core {core:.1f} ms: the node adds"
        f" {added:.1f} ms ({100 * added / core:.1f} %)\n"
    )


if __name__ == "__main__":
    main()
