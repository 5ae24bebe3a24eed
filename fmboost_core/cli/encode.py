"""`fmboost encode`: pictures → shards of latent pairs to train on."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tqdm import tqdm

from ..errors import InputError
from ..families import FAMILIES
from ..host_memory import keep_freed_memory
from ..precision import PRECISIONS, fastest_precision
from ..processes import launched
from ..vae import load_vae
from .common import add_command, print_json, say


def _part(text: str) -> tuple[int, int]:
    """`2/8` → (1, 8): the second of eight."""
    part, whole = (int(number) for number in text.split("/"))
    if not 1 <= part <= whole:
        raise ValueError(text)
    return part - 1, whole


def add(commands) -> None:
    command = add_command(
        commands,
        "encode",
        run,
        "Encode a folder of pictures (and tar files of pictures) into shards of latent pairs."
        " Interrupted, the same call goes on; shards that exist are not made again.",
    )
    option = command.add_argument
    option("images", type=Path, metavar="DIR", help="folder of pictures; tar files in it count, too")
    option("-o", "--out", type=Path, required=True, metavar="DIR", help="folder of the shards")
    option("--vae", type=Path, required=True, metavar="FILE", help="tiny VAE's file, or a diffusers folder")
    option("--family", choices=FAMILIES, required=True, help="latent family of the VAE")
    option("--crop", type=int, default=64, metavar="N", help="latent side of a crop (default 64: 512 pixels)")
    option("--crops", type=int, default=4, metavar="N", help="crops of each picture (default 4)")
    option("--between", type=int, default=1, metavar="N", help="sizes between half and full (default 1)")
    option(
        "--degrade", type=float, default=0.0, metavar="P", help="share of degraded small copies (default 0)"
    )
    option("--seed", type=int, default=0, help="of all random choices (default 0)")
    option("--per-shard", type=int, default=32, metavar="N", help="pictures in a shard (default 32)")
    option(
        "--part", type=_part, metavar="I/N",
        help="encode only every Nth shard, from the Ith on, for machines that know nothing of each other"
        " (default: this process's part under `accelerate launch`, else all)",
    )  # fmt: skip
    option("--dtype", choices=PRECISIONS, help="precision of the VAE (default: the fastest good one)")
    option("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, mps, …")
    option("--json", action="store_true", help="print what was done as JSON")


def run(options: argparse.Namespace) -> None:
    """`fmboost encode`."""
    from ..training.pairs import PairSettings, encode_pairs
    from ..training.sources import find_pictures, plan_shards

    if options.per_shard < 1:
        raise InputError(f"--per-shard is {options.per_shard}: at least 1 picture is needed")
    settings = PairSettings(
        options.family, crop=options.crop, crops=options.crops, between=options.between,
        degrade=options.degrade, seed=options.seed,
    )  # fmt: skip
    keep_freed_memory()
    dtype = options.dtype or fastest_precision(options.device)
    processes = launched(options.device)
    vae = load_vae(options.vae, dtype=PRECISIONS[dtype], device=processes.device)
    index, parts = options.part or (processes.index, processes.count)
    shards = plan_shards(find_pictures(options.images), options.per_shard, seed=options.seed)[index::parts]
    crops = encode_pairs(tqdm(shards, desc="encode", unit="shard", disable=None), vae, options.out, settings)
    if not crops:
        raise InputError(f"no picture in {options.images} could be used: see the lines above")
    if options.json:
        print_json({"out": str(options.out), "shards": len(shards), "crops": crops})
    say(options, f"{options.out}: {crops} crops in {len(shards)} shards")
