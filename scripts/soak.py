"""Hundreds of prompts in a row in a real ComfyUI, and what its memory does.

    python -m scripts.soak --prompts 500

Every prompt has another seed, size, detail or precision, so that nothing comes from the cache, and every
seventh is cancelled.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import psutil
from comfy_server import ComfyServer, find_comfyuis
from helpers import random_latent

from fmboost_core.latent_file import LatentFile, write_latent

WARM_UP = 50  # prompts until every size and precision has been seen
FACTORS, PRECISIONS = (1.5, 2.0, 3.0), ("auto", "fp32")


def prompt(number: int) -> dict:
    return {
        "load": {"class_type": "FMBoostModelLoader", "inputs": {
            "model_name": "boostnet-sd15", "precision": PRECISIONS[number // 10 % 2]}},
        "latent": {"class_type": "LoadLatent", "inputs": {"latent": "one.latent"}},
        "boost": {"class_type": "FMBoostUpscale", "inputs": {
            "model": ["load", 0], "latent": ["latent", 0], "size": "by factor",
            "size.factor": FACTORS[number % len(FACTORS)], "detail": number % 5 / 4, "steps": 1 + number % 3,
            "seed": number, "solver": "euler", "tile_size": 0 if number % 2 else 256}},
        "save": {"class_type": "SaveLatent", "inputs": {
            "samples": ["boost", 0], "filename_prefix": "out"}},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=500)
    options = parser.parse_args()
    folder = find_comfyuis()[0]
    with tempfile.TemporaryDirectory() as base:
        server = ComfyServer(folder, Path(base) / "base")
        write_latent(server.base / "input" / "one.latent", LatentFile(random_latent(1, 4, 64, 64)))
        process = psutil.Process(server.process.pid)
        resident, states = [], {"success": 0, "error": 0}
        try:
            for number in range(options.prompts):
                name = server.queue(prompt(number))
                if number % 7 == 6:
                    time.sleep(0.05)
                    server.post("/interrupt", {})
                states[server.wait(name)["status"]["status_str"]] += 1
                resident.append(process.memory_info().rss / 2**20)
                for file in (server.base / "output").iterdir():
                    file.unlink()
        finally:
            server.stop()
    after = resident[WARM_UP:]
    first, last = statistics.median(after[:50]), statistics.median(after[-50:])
    print(f"ComfyUI at {folder}: {states}")  # noqa: T201
    print(f"resident: {first:.0f} MB at first, {last:.0f} MB at last ({last / first - 1:+.1%}),"  # noqa: T201
          f" from {min(after):.0f} to {max(after):.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
