"""The ComfyUI face of FMBoost: schemas, model management, progress. The work is done in the core."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .compare import FMBoostCompare
from .loader import FMBoostModelLoader
from .model_files import register_folder
from .pairs import FMBoostMakePairs
from .save_model import FMBoostSaveModel
from .train import FMBoostTrain
from .upscale import FMBoostUpscale


class FMBoostExtension(ComfyExtension):
    """The pack's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        register_folder()
        return [
            FMBoostModelLoader, FMBoostUpscale, FMBoostCompare, FMBoostMakePairs, FMBoostTrain,
            FMBoostSaveModel,
        ]  # fmt: skip
