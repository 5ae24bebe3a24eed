"""`fmboost train`: a recipe and shards of pairs → a model file."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from ..builtin import find_model
from ..checkpoint import inspect, load, save
from ..errors import InputError
from ..host_memory import keep_freed_memory
from ..processes import launched
from ..tiny_vae import TinyDecoder
from .common import add_command, print_json, say
from .info import describe

MODEL_FILE = "model.safetensors"


def add(commands) -> None:
    command = add_command(
        commands,
        "train",
        run,
        "Train a booster on shards of `fmboost encode`. Interrupted, the same call goes on where it was.",
    )
    option = command.add_argument
    option("config", type=Path, metavar="CONFIG.toml", help="the recipe")
    option("--pairs", type=Path, required=True, metavar="DIR", help="folder of shards")
    option("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    option("--decoder", type=Path, metavar="FILE", help="NAME_decoder.safetensors, for the decoder's loss")
    option("--init", metavar="MODEL", help="start from this model's weights: fine-tune")
    option("--until", type=int, metavar="STEP", help="stop at this step, on the recipe's schedule")
    option("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, mps, …")
    option("--json", action="store_true", help="print what was written as JSON")


def run(options: argparse.Namespace) -> None:
    """`fmboost train`."""
    from ..training.config import read_config
    from ..training.data import PairData
    from ..training.trainer import Trainer

    logging.getLogger("fmboost_core").setLevel(logging.INFO)
    keep_freed_memory()
    config = read_config(options.config)
    decoder = TinyDecoder.load(options.decoder) if options.decoder else None
    initial = None
    if options.init:
        booster = load(find_model(options.init), dtype=torch.float32)
        if booster.spec.family != config.family:
            raise InputError(f"{options.init} boosts {booster.spec.family} latents, not {config.family}")
        initial = booster.network
    pairs = PairData(options.pairs, config.family)
    trainer = Trainer(config, pairs, options.out, decoder, initial, launched(options.device))
    trainer.run(until=options.until)
    if not trainer.processes.first:
        return
    path = options.out / MODEL_FILE
    training = {
        "recipe": options.config.name,
        "data": f"{len(pairs)} crops of {pairs.crop} latents",
        "steps": trainer.step,
        "config": config.to_json(),
    }
    if options.init:
        training["started_from"] = str(options.init)
    save(path, trainer.booster(training))
    written = inspect(path)
    say(options, describe(written))
    if options.json:
        print_json(written.to_json())
