"""The node that loads a booster."""

from __future__ import annotations

from comfy import model_management
from comfy_api.latest import io

from nodes import LatentUpscaleBy  # ComfyUI's own module of that name

from ..fmboost_core import load
from ..fmboost_core.precision import PRECISIONS
from .aliases import with_aliases
from .managed import ManagedBooster, automatic_precision
from .model_files import model_names, model_path

FMBoostModel = io.Custom("FMBOOST_MODEL")
CATEGORY = LatentUpscaleBy.CATEGORY  # beside core's own, wherever this version keeps it
AUTO = "auto"


class FMBoostModelLoader(io.ComfyNode):
    """Model file → FMBOOST_MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema = io.Schema(
            node_id="FMBoostModelLoader",
            display_name="Load FMBoost Model",
            category=CATEGORY,
            description="Loads a model for FMBoost Upscale Latent. Built-in models come first in the list;"
            " your own go into models/fmboost.",
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=model_names(),
                    tooltip="The part after the dash is the latent family: sd15 is for Stable Diffusion 1.x"
                    " and 2.x, sdxl for SDXL, sd3 for Stable Diffusion 3 and 3.5, and flux for FLUX.1 and"
                    " what shares its VAE (Z-Image, Chroma). A model boosts latents of its own family only.",
                ),
                io.Combo.Input(
                    "precision",
                    options=[AUTO, *PRECISIONS],
                    default=AUTO,
                    tooltip="Number format that the network computes in. auto: the fastest that this"
                    " machine runs well.",
                    extra_dict={"advanced": True},
                ),
                io.Boolean.Input(
                    "compile",
                    default=False,
                    optional=True,
                    tooltip="Compile the network with torch.compile where this machine can: the first picture"
                    " of each size takes longer, the next ones are faster. The result is the same.",
                    extra_dict={"advanced": True},
                ),
            ],
            outputs=[
                FMBoostModel.Output(display_name="FMBOOST_MODEL", tooltip="For FMBoost Upscale Latent.")
            ],
        )
        return with_aliases(schema, "fmboost", "latent upscale model", "load upscale model", "hires fix")

    @classmethod
    def fingerprint_inputs(cls, model_name: str, precision: str, compile: bool = False) -> tuple[int, int]:
        """Changes when the file is replaced, so that ComfyUI loads it again."""
        status = model_path(model_name).stat()
        return status.st_mtime_ns, status.st_size

    @classmethod
    def execute(cls, model_name: str, precision: str, compile: bool = False) -> io.NodeOutput:
        device = model_management.get_torch_device()
        dtype = PRECISIONS[automatic_precision(device) if precision == AUTO else precision]
        return io.NodeOutput(
            ManagedBooster.manage(load(model_path(model_name), dtype=dtype, compiled=compile))
        )
