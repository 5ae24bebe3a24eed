"""What a model file that is not ours might be, so that the refusal can say what to do with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ForeignKind:
    """A kind of file that people put into the same folders.

    Attributes:
        marks: any of these, found within a weight's name, tells the kind.
        advice: what it is and where it belongs.
    """

    marks: tuple[str, ...]
    advice: str


KINDS = (
    ForeignKind(
        ("model.diffusion_model.", "diffusion_model.input_blocks", "double_blocks.", "joint_blocks."),
        "it is a diffusion model: load it with Load Checkpoint or Load Diffusion Model",
    ),
    ForeignKind(
        ("post_upsample_res_blocks.",),
        "it is LTX's video latent upscaler: load it with Load Latent Upscale Model",
    ),
    ForeignKind(
        ("blocks.0.block.0.conv.weight", "up.0.block.0.conv1.conv.weight"),
        "it is Hunyuan Video's latent upscaler: load it with Load Latent Upscale Model",
    ),
    ForeignKind(
        ("body.0.rdb1", "conv_first.weight", "RDB1.conv1", "model.1.sub.0", "residual_group.blocks"),
        "it is an ESRGAN-type picture upscaler: load it with Load Upscale Model, after the VAE",
    ),
    ForeignKind(
        ("lora_up.weight", "lora_down.weight", "lora_A.weight", "lora_B.weight"),
        "it is a LoRA: load it with Load LoRA",
    ),
    ForeignKind(
        ("first_stage_model.", "decoder.mid.block_1", "encoder.down.0.block", "decoder.mid_block."),
        "it is a VAE: load it with Load VAE",
    ),
    ForeignKind(("latent_tensor",), "it is a saved latent: load it with Load Latent"),
    ForeignKind(
        ("sr1_block", "resblocks.0.", "head.0.weight", "in_conv.0.weight", "channel_embed", "layer_0.long"),
        "it looks like another latent upscaler (NNLatentUpscale or the like): use its own node",
    ),
    ForeignKind(
        ("input_blocks.0.0.weight",),
        "it looks like a bare U-Net: if it comes from the reference code, run `fmboost convert` on the"
        " .ckpt it was taken from",
    ),
)


def describe_foreign(names: Mapping[str, object], metadata: Mapping[str, str]) -> str:
    """One clause that says what the file is, from its weights' names and metadata."""
    for kind in KINDS:
        if any(mark in name for mark in kind.marks for name in names):
            return kind.advice
    title = metadata.get("modelspec.title") or metadata.get("modelspec.architecture")
    known = f" (it calls itself {title!r:.60})" if title else ""
    return f"its metadata has no 'fmboost' entry{known}; choose a file made by FMBoost"
