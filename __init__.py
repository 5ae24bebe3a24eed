"""FMBoost for ComfyUI: small latents to large ones, without a second sampling pass."""

from __future__ import annotations

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """ComfyUI's entry point (V3): the pack's nodes."""
    # Imported here, so that the folder can be imported where there is no ComfyUI.
    from .nodes import FMBoostExtension

    return FMBoostExtension()


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
