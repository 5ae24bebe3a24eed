"""The node that boosts a latent."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..fmboost_core import SOLVERS, boost_latent, latent_size, sizes
from ..fmboost_core.booster import DEFAULT_DETAIL, DEFAULT_STEPS
from .aliases import with_aliases
from .loader import CATEGORY, FMBoostModel
from .managed import ManagedBooster, VAECodec, progress_watcher, to_intermediate

BY_FACTOR, TO_SIZE, TO_MEGAPIXELS = "by factor", "to width × height", "to megapixels"
LARGEST_SIDE = 16384


def _size_input() -> io.DynamicCombo.Input:
    factor = io.Float.Input(
        "factor", default=2.0, min=1.0, max=sizes.LARGEST_FACTOR, step=0.05,
        tooltip="Enlargement of each side. Above 2 the boost runs in stages; 1 gives the latent back.",
    )  # fmt: skip
    width, height = (
        io.Int.Input(
            side, default=1024, min=8, max=LARGEST_SIDE, step=8,
            tooltip=f"{side.capitalize()} of the picture in pixels, at least the latent's own.",
        )
        for side in ("width", "height")
    )  # fmt: skip
    megapixels = io.Float.Input(
        "megapixels", default=1.0, min=0.01, max=256.0, step=0.01,
        tooltip="Area of the picture in units of 1024×1024 pixels; the proportions stay.",
    )  # fmt: skip
    options = {BY_FACTOR: [factor], TO_SIZE: [width, height], TO_MEGAPIXELS: [megapixels]}
    return io.DynamicCombo.Input(
        "size",
        options=[io.DynamicCombo.Option(key, inputs) for key, inputs in options.items()],
        tooltip="How to say the size of the result.",
    )


class FMBoostUpscale(io.ComfyNode):
    """Small LATENT → large LATENT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema = io.Schema(
            node_id="FMBoostUpscale",
            display_name="FMBoost Upscale Latent",
            category=CATEGORY,
            description="Boosts a small latent to a large one by flow matching, in a few network evaluations:"
            " no second sampling pass and no VAE round trip. Decode the result with the usual VAE.",
            inputs=[
                FMBoostModel.Input("model", tooltip="From Load FMBoost Model; of the latent's own family."),
                io.Latent.Input("latent", tooltip="The latent to enlarge, from a sampler or VAE Encode."),
                _size_input(),
                io.Float.Input(
                    "detail", default=DEFAULT_DETAIL, min=0.0, max=1.0, step=0.05,
                    tooltip="How much texture to invent. 0 keeps to what the small latent shows and is free"
                    " of chance; higher is crisper and follows the seed. 0.2 to 0.5 suits most pictures.",
                ),
                io.Int.Input(
                    "steps", default=DEFAULT_STEPS, min=1, max=100,
                    tooltip="Steps from the small to the large latent. 1 suits most pictures;"
                    " 2 to 4 bring out more texture at high detail, at as many times the cost.",
                ),
                io.Int.Input(
                    "seed", default=0, min=0, max=2**64 - 1, control_after_generate=True,
                    tooltip="Of the invented texture; without effect at detail 0. Pictures of a batch count"
                    " up from it.",
                ),
                io.Combo.Input(
                    "solver", options=list(SOLVERS), default="euler", extra_dict={"advanced": True},
                    tooltip="How to integrate the flow. euler: one evaluation a step. midpoint, heun: two;"
                    " rk4: four. dopri5 chooses its own steps.",
                ),
                io.Int.Input(
                    "tile_size", default=0, min=0, max=LARGEST_SIDE, step=64, extra_dict={"advanced": True},
                    tooltip="Work on no more at once than a square of this many pixels, to save memory; the"
                    " result is the same. 0: chosen by the free memory.",
                ),
                io.Vae.Input(
                    "vae", optional=True,
                    tooltip="Needed only by models that upsample in pixel space (psu), such as converted"
                    " checkpoints of the paper's code.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="LATENT", tooltip="The large latent, for VAE Decode.")],
        )  # fmt: skip
        return with_aliases(
            schema, "latent upscale", "hires fix", "super resolution", "upscale", "enlarge latent", "fmboost"
        )

    @classmethod
    def execute(
        cls,
        model: ManagedBooster,
        latent: dict[str, Any],
        size: dict[str, Any],
        detail: float,
        steps: int,
        seed: int,
        solver: str,
        tile_size: int,
        vae: Any = None,
    ) -> io.NodeOutput:
        booster = model.booster
        source = latent_size(latent, booster)
        target = _target(size, source, booster.family.pixels_per_latent)
        if source == target:
            return io.NodeOutput(latent)
        tile = booster.family.latent_side(tile_size)
        model.ready(booster.memory_needed(latent["samples"].shape, target, tile=tile))
        boosted = boost_latent(
            booster, latent, target, detail=detail, steps=steps, seed=seed, solver=solver, tile=tile,
            codec=None if vae is None else VAECodec(vae, model),
            watch=progress_watcher(model), device=model.device,
        )  # fmt: skip
        boosted["samples"] = to_intermediate(boosted["samples"])
        return io.NodeOutput(boosted)


def _target(size: dict[str, Any], source: sizes.Size, pixels_per_latent: int) -> sizes.Size:
    if size["size"] == BY_FACTOR:
        return sizes.by_factor(source, size["factor"])
    if size["size"] == TO_SIZE:
        return sizes.to_pixels(size["width"], size["height"], pixels_per_latent)
    return sizes.to_megapixels(source, size["megapixels"], pixels_per_latent)
