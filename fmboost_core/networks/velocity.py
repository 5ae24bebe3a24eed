"""What every velocity network offers, whatever its architecture."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from torch import Tensor, nn

from ..upsampling import Size

Layer = TypeVar("Layer", bound=nn.Module)


def zeroed(layer: Layer) -> Layer:
    """The layer with all parameters zero: what ends in it contributes nothing until trained."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class VelocityNetwork(nn.Module):
    """Base of the networks that predict the flow's velocity.

    Attributes:
        config: frozen dataclass of its shape, with `latent_channels`; `networks.build` takes its fields.
        size_multiple: height and width of the input must be multiples of it.
        receptive_field: how many pixels of input around an output pixel it depends on; None: all.
        working_channels: channels at the input's resolution that its evaluation keeps in memory, for each
            pixel of `working_area`.
        upsamples: the mode by which it upsamples its context itself, which is the small latent; None: its
            context has been upsampled.
        streams: whether it has `in_bands`.
        straight: whether it takes for granted that paths are linear, and that the context is the source
            without its noise.
    """

    config: Any
    size_multiple: int
    receptive_field: int | None
    working_channels: int
    upsamples: str | None = None
    streams: bool = False
    straight: bool = False

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor) -> Tensor:
        """Velocity at x.

        Args:
            x: point on the path, shape (B, C, H, W).
            t: time in [0, 1], shape (B,).
            context: un-noised upsampled latent, shape (B, C, H, W), where the network takes one; the small
                latent, (B, C, h, w), where it `upsamples` itself.
            sigma: noise level of the source in [0, 1], shape (B,).
            scale: side of the output over side of the input, shape (B,).

        Returns:
            Shape (B, C, H, W).
        """
        raise NotImplementedError

    def working_area(self, size: Size, context: Size) -> int:
        """Latent pixels that memory goes by, from the sizes of x and of the context."""
        return math.prod(size)

    def in_bands(
        self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor, rows: int
    ) -> Tensor:
        """As `forward`, in memory that follows a band of the picture, `rows` high, not the picture."""
        raise NotImplementedError
