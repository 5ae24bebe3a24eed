"""The node that shows two pictures as one, half and half."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from comfy_api.latest import io, ui
from torch import Tensor

from ..fmboost_core import InputError
from .aliases import with_aliases

LINE = 2  # pixels of the white line between the halves


class FMBoostCompare(io.ComfyNode):
    """Two IMAGEs → one, left of a line the first, right of it the second."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema = io.Schema(
            node_id="FMBoostCompare",
            display_name="FMBoost Compare",
            category="image",
            description="Shows two pictures as one: left of a line the one before, right of it the one after."
            " The smaller is enlarged to the size of the one after.",
            is_output_node=True,
            inputs=[
                io.Image.Input("before", tooltip="The picture on the left; of any size."),
                io.Image.Input("after", tooltip="The picture on the right, which decides the size."),
                io.Float.Input(
                    "split", default=0.5, min=0.0, max=1.0, step=0.01, display_mode=io.NumberDisplay.slider,
                    tooltip="Where the line is, from 0 (left) to 1 (right).",
                ),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="Both halves, to save or share.")],
        )  # fmt: skip
        return with_aliases(schema, "before after", "compare images", "side by side", "fmboost")

    @classmethod
    def execute(cls, before: Tensor, after: Tensor, split: float) -> io.NodeOutput:
        both = half_and_half(before, after, split)
        return io.NodeOutput(both, ui=ui.PreviewImage(both, cls=cls))


def half_and_half(before: Tensor, after: Tensor, split: float) -> Tensor:
    """ComfyUI's IMAGEs (B, h, w, 3) and (B, H, W, 3) in [0, 1] → (B, H, W, 3).

    Raises:
        InputError: the batches are not of one length.
    """
    if len(before) != len(after):
        raise InputError(
            f"there are {len(before)} pictures before and {len(after)} after: give as many of both"
        )
    height, width = after.shape[1:3]
    if before.shape[1:3] != after.shape[1:3]:
        pixels = before[..., :3].movedim(-1, 1).float()
        larger = F.interpolate(pixels, (height, width), mode="bicubic", antialias=True)
        before = larger.movedim(1, -1).clamp(0, 1)
    line = min(max(round(split * width), 0), width)
    both = torch.cat([before[:, :, :line, :3].to(after), after[:, :, line:, :3]], dim=2)
    if 0 < line < width:
        both[:, :, max(0, line - LINE // 2) : line + LINE // 2] = 1
    return both
