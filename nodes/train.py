"""The node that trains a booster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TypeVar

import folder_paths
import torch
from comfy import model_management
from comfy.utils import ProgressBar
from comfy_api.latest import io
from latent_preview import get_previewer

from ..fmboost_core import FAMILIES, InputError, load, save
from ..fmboost_core.networks import network_name
from ..fmboost_core.networks.trunk import Trunk
from ..fmboost_core.precision import PRECISIONS
from ..fmboost_core.processes import Processes
from ..fmboost_core.tiny_vae import TinyDecoder, TinyEncoder
from ..fmboost_core.training.config import TrainConfig
from ..fmboost_core.training.data import PairData
from ..fmboost_core.training.journal import read_table
from ..fmboost_core.training.trainer import Trainer
from .aliases import with_aliases
from .loader import FMBoostModel
from .managed import LATENT_FORMATS, ManagedBooster, automatic_precision
from .pairs import TRAINING_CATEGORY, FMBoostPairs, PairsFolder
from .work_folders import RUNS, work_folder

NEW_NETWORK = "bridgenet"
Half = TypeVar("Half", TinyEncoder, TinyDecoder)
LossMap = io.Custom("LOSS_MAP")
MODEL_FILE = "model.safetensors"
ROWS = 200  # of the loss curve
# As in the two parts of the recipes: a new network learns by features, one that has learned by pixels.
NEW_DECODER_LOSS = {"decoder_weight": 1.0, "decoder_close": 0.25}
LATER_DECODER_LOSS = {"decoder_weight": 40.0, "decoder_pixels": 16.0, "decoder_close": 0.5}


class FMBoostTrain(io.ComfyNode):
    """Pairs → FMBOOST_MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema = io.Schema(
            node_id="FMBoostTrain",
            display_name="FMBoost Train",
            category=TRAINING_CATEGORY,
            description="Trains a booster on pairs, from scratch or from a model. The run is kept in"
            " output/fmboost/runs: cancelled, it goes on where it was when you run it again.",
            inputs=[
                FMBoostPairs.Input("pairs", tooltip="From FMBoost Make Pairs."),
                io.String.Input("name", default="my_booster", tooltip="Folder of the run."),
                io.Int.Input("steps", default=1000, min=10, max=1_000_000, tooltip="Training steps in all."),
                io.Int.Input("batch", default=8, min=1, max=1024, tooltip="Pairs in each step."),
                io.Float.Input(
                    "learning_rate", default=3e-4, min=1e-6, max=1e-2, step=1e-6, round=False,
                    tooltip="The highest; it rises to it at first and falls at the end.",
                ),
                io.Float.Input(
                    "texture", default=0.5, min=0.0, max=1.0, step=0.05,
                    tooltip="At full detail, how much fidelity is given up for the right amount of texture.",
                ),
                io.Boolean.Input(
                    "decoder_loss", default=True,
                    tooltip="Compare what the family's tiny VAE decoder makes of the latents, rather than the"
                    " latents alone: much better pictures. A new network also starts from that VAE. Needs"
                    " its files in models/vae_approx.",
                ),
                io.Int.Input(
                    "seed", default=0, min=0, max=2**32 - 1, control_after_generate=False,
                    tooltip="Of everything random.",
                ),
                io.Int.Input(
                    "sample_every", default=50, min=1, max=100_000, extra_dict={"advanced": True},
                    tooltip="Steps between previews of a sample.",
                ),
                io.Int.Input(
                    "width", default=192, min=64, max=1024, step=64, extra_dict={"advanced": True},
                    tooltip="Channels of a new network; without effect where a model is connected.",
                ),
                io.Int.Input(
                    "depth", default=4, min=1, max=64, extra_dict={"advanced": True},
                    tooltip="Blocks of a new network; without effect where a model is connected.",
                ),
                FMBoostModel.Input(
                    "model", optional=True,
                    tooltip="Fine-tune this one (one of another family gives a good start); else a new"
                    " network.",
                ),
            ],
            outputs=[
                FMBoostModel.Output(display_name="FMBOOST_MODEL", tooltip="The trained model."),
                LossMap.Output(display_name="LOSS_MAP", tooltip="For core's Plot Loss Graph."),
            ],
        )  # fmt: skip
        return with_aliases(schema, "train upscaler", "fine-tune", "fmboost")

    @classmethod
    def execute(
        cls, pairs: PairsFolder, name: str, steps: int, batch: int, learning_rate: float, texture: float,
        decoder_loss: bool, seed: int, sample_every: int, width: int, depth: int,
        model: ManagedBooster | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        device = model_management.get_torch_device()
        if not pairs.path.is_dir():
            raise InputError(
                f"the pairs in {pairs.path} were taken away: change the seed of FMBoost Make Pairs, and they"
                " are made anew"
            )
        data = PairData(pairs.path, pairs.family)
        weights = NEW_DECODER_LOSS if model is None else LATER_DECODER_LOSS
        config = TrainConfig(
            pairs.family, NEW_NETWORK, {"width": width, "depth": depth}, steps=steps, batch=batch,
            window=min(32, data.crop), learning_rate=learning_rate, warmup=max(1, steps // 20),
            texture=texture, seed=seed,
            precision="bf16" if automatic_precision(device) == "bf16" else "fp32",
            **(weights if decoder_loss else {"decoder_weight": 0.0}),
        )  # fmt: skip
        if model is not None:
            config = _like(model, config)
        decoder = _tiny(TinyDecoder, pairs.family) if decoder_loss else None
        encoder = _tiny(TinyEncoder, pairs.family) if decoder_loss and model is None else None
        model_management.unload_all_models()
        # ComfyUI runs nodes in inference mode, whose tensors cannot be trained.
        with torch.inference_mode(False), torch.enable_grad():
            trainer = Trainer(
                config, data, work_folder(RUNS, name), decoder,
                None if model is None else model.booster.network, Processes(device=device), encoder,
            )  # fmt: skip
            path = trainer.folder / MODEL_FILE
            try:
                trainer.run(log_every=max(1, steps // ROWS), watch=_watcher(trainer, sample_every))
            finally:  # also when cancelled: what was learned so far
                save(path, trainer.booster({"steps": trainer.step, "data": f"{len(data)} crops"}))
        losses = [float(row["total"]) for row in read_table(trainer.folder / "loss.csv")]
        trained = load(path, dtype=PRECISIONS[automatic_precision(device)])
        return io.NodeOutput(ManagedBooster.manage(trained), {"loss": losses})


def _like(model: ManagedBooster, config: TrainConfig) -> TrainConfig:
    """The recipe for a network such as the model's, with its noise."""
    network, spec = model.booster.network, model.booster.spec
    if not isinstance(network, Trunk):
        raise InputError("only BoostNet and BridgeNet models can be fine-tuned here: this one is another")
    shape = {k: v for k, v in asdict(network.config).items() if k != "latent_channels"}
    return replace(config, network=network_name(network), shape=shape, sigma_range=spec.sigma_range)


@torch.inference_mode(False)  # nor could anything be trained through it
def _tiny(half: type[Half], family: str) -> Half:
    """The encoder or decoder of the family's tiny VAE, among ComfyUI's."""
    file = f"{FAMILIES[family].tiny_vae}_{half.__name__.removeprefix('Tiny').lower()}"
    for name in folder_paths.get_filename_list("vae_approx"):
        if name.startswith(f"{file}."):
            path = folder_paths.get_full_path("vae_approx", name)
            if name.endswith(".safetensors") and path:
                return half.load(path)
    raise InputError(
        f"decoder_loss needs {file}.safetensors in models/vae_approx (from github.com/madebyollin/taesd):"
        " put it there, or turn decoder_loss off"
    )


def _watcher(trainer: Trainer, sample_every: int) -> Callable[[int], None]:
    """Drives the progress bar, shows a sample every so often, and obeys Cancel."""
    bar = ProgressBar(trainer.config.steps)
    family = FAMILIES[trainer.config.family]
    previewer = get_previewer(trainer.processes.device, LATENT_FORMATS[family.name]())
    low, high = next(trainer.pairs.first(1))

    def watch(step: int) -> None:
        model_management.throw_exception_if_processing_interrupted()
        preview = None
        if previewer is not None and step % sample_every == 0:
            boosted = trainer.booster().boost(family.from_model(low), (high.shape[-2], high.shape[-1]))
            preview = previewer.decode_latent_to_preview_image("JPEG", family.to_model(boosted))
        bar.update_absolute(step, trainer.config.steps, preview)

    return watch
