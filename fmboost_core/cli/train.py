"""`fmboost train`: a recipe and shards of pairs → a model file."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..builtin import find_model
from ..checkpoint import inspect, load, save
from ..errors import InputError
from ..families import FAMILIES
from ..host_memory import keep_freed_memory
from ..processes import launched
from ..tiny_vae import TinyDecoder, TinyEncoder
from ..vae import VAE, load_vae
from .common import add_command, print_json, say
from .evaluate import require_evaluation
from .info import describe

if TYPE_CHECKING:
    from ..training.validation import Validation

log = logging.getLogger(__name__)

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
    option("--vae", type=Path, metavar="FILE", help="the family's tiny VAE, for its decoder's loss and --val")
    option("--val", type=Path, metavar="DIR", help="pictures to measure the model on; needs --vae")
    option("--val-every", type=int, default=500, metavar="N", help="steps between validations (default 500)")
    option("--init", metavar="MODEL", help="start from this model's weights; of another family, too")
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
    processes = launched(options.device)
    vae = load_vae(options.vae, device=processes.device) if options.vae else None
    if vae is not None and vae.channels != FAMILIES[config.family].channels:
        raise InputError(f"the VAE {vae.name} has {vae.channels} channels, which {config.family} has not")

    initial = started_from = None
    if options.init:
        booster = load(find_model(options.init), dtype=torch.float32)
        if booster.spec.family != config.family:
            log.info("starting from weights of another family, %s", booster.spec.family)
        initial = booster.network
        started_from = {"model": Path(options.init).stem, "training": booster.spec.training}
    pairs = PairData(options.pairs, config.family)
    encoder, decoder = (vae.encoder, vae.decoder) if vae is not None else (None, None)
    trainer = Trainer(
        config, pairs, options.out, decoder if isinstance(decoder, TinyDecoder) else None, initial, processes,
        encoder if isinstance(encoder, TinyEncoder) else None,
    )  # fmt: skip
    validation = _validation(options.val, vae) if processes.first else None
    trainer.run(until=options.until, validation=validation, validate_every=options.val_every)
    if not trainer.processes.first:
        return
    path = options.out / MODEL_FILE
    training: dict[str, Any] = {
        "recipe": options.config.name,
        "data": f"{len(pairs)} crops of {pairs.crop} latents",
        "steps": trainer.step,
        "config": config.to_json(),
    }
    if started_from:
        training["started_from"] = started_from
    save(path, trainer.booster(training))
    written = inspect(path)
    say(options, describe(written))
    if options.json:
        print_json(written.to_json())


def _validation(images: Path | None, vae: VAE | None) -> Validation | None:
    if images is None:
        return None
    if vae is None:
        raise InputError("--val needs --vae, to encode and decode the pictures")
    require_evaluation("--val")
    from ..training.validation import Validation

    return Validation(images, vae)
