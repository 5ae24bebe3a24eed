"""Make `boostnet-sd15`: pictures → pairs → two phases of training → a model file.

    python -m scripts.train_first_weights PICTURES WEIGHTS WORK

PICTURES is a folder of pictures of at least 512 pixels, WEIGHTS one with `taesd_encoder.safetensors` and
`taesd_decoder.safetensors`, WORK a folder for the pairs and the runs. Interrupted, it goes on where it was.
The first phase compares predicted endpoints in the decoder's first stage, which is cheap; the second, which
starts from its average, in the first two.
"""

import logging
import random
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from fmboost_core import Booster, BoosterSpec, save
from fmboost_core.builtin import FOLDER
from fmboost_core.tiny_vae import TinyDecoder, TinyEncoder
from fmboost_core.images import find_images
from fmboost_core.training.pairs import encode_pairs
from fmboost_core.training.train import PairData, TrainConfig, Trainer

SHAPE = {"width": 192, "depth": 6}
FIRST = TrainConfig(**SHAPE, steps=10_000, learning_rate=8e-4, feature_weight=1.0, feature_stages=1)
SECOND = TrainConfig(
    **SHAPE, steps=8_000, learning_rate=6e-4, feature_weight=2.0, feature_stages=2, feature_until=0.0, seed=1
)
# Early on its schedule: from here on the deeper loss is the better use of the time.
FIRST_ENDS = 3_677


def main(pictures: str, weights: str, work: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    layout = torch.channels_last
    encoder = (
        TinyEncoder.load(Path(weights) / "taesd_encoder.safetensors").to(memory_format=layout).bfloat16()
    )
    decoder = TinyDecoder.load(Path(weights) / "taesd_decoder.safetensors").to(memory_format=layout)

    def encode(pixels: Tensor) -> Tensor:
        return encoder(pixels.bfloat16().to(memory_format=layout)).float()

    images = find_images(pictures)
    random.Random(0).shuffle(images)
    for part in (0, 1):
        encode_pairs(images[part::2], encode, Path(work, "pairs", str(part)), family="sd15")
    pairs = PairData(Path(work, "pairs"), "sd15")
    first = Trainer(FIRST, pairs, Path(work, "first"), decoder).run(until=FIRST_ENDS)
    second = Trainer(SECOND, pairs, Path(work, "second"), decoder, initial=first).run()
    training = {
        "data": f"{len(pairs)} crops of 512 pixels of {len(images)} pictures, encoded by taesd",
        "recipe": "scripts/train_first_weights.py",
        "steps": FIRST_ENDS + SECOND.steps,
        "phases": [asdict(FIRST), asdict(SECOND)],
    }
    spec = BoosterSpec("sd15", sigma_range=(0.0, FIRST.sigma_max), training=training)
    save(FOLDER / "boostnet-sd15.safetensors", Booster(second, spec))


if __name__ == "__main__":
    main(*sys.argv[1:])
