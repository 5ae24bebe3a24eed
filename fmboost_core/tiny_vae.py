"""TAESD-type tiny autoencoders: the smallest way from pixels to latents and back.

The layout is that of the TAESD family by Ollin Boer Bohan (MIT, github.com/madebyollin/taesd), so
that its published weights load; a whole model is one `nn.Sequential`. Both halves speak *model
space*: the encoder's output and the decoder's input are latents as `families` normalises them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from .errors import InputError
from .safetensors_file import read_tensors

WIDTH = 64
PIXELS_PER_LATENT = 8


class Residual(nn.Module):
    """relu(x + three 3×3 convolutions of x)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x) + x)


class _SoftClamp(nn.Module):
    """Keeps latents within ±3 smoothly, as the decoder was trained."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


def _resample(*, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(WIDTH, WIDTH, 3, padding=1, stride=stride, bias=False)


class TinyEncoder(nn.Sequential):
    """Pixels (B, 3, 8H, 8W) in [0, 1] → model-space latents (B, C, H, W)."""

    def __init__(self, latent_channels: int = 4) -> None:
        stages: list[nn.Module] = [nn.Conv2d(3, WIDTH, 3, padding=1), Residual()]
        for _ in range(3):
            stages += [_resample(stride=2), Residual(), Residual(), Residual()]
        super().__init__(*stages, nn.Conv2d(WIDTH, latent_channels, 3, padding=1))
        self.latent_channels = latent_channels

    def features(self, pixels: Tensor) -> list[Tensor]:
        """Activations at the end of each of the four resolutions, fine to coarse.

        Returns tensors (B, 64, 8H / 2^i, 8W / 2^i) for i = 0 … 3.
        """
        out = []
        for layer in self:
            if (isinstance(layer, nn.Conv2d) and layer.stride == (2, 2)) or layer is self[-1]:
                out.append(pixels)
            pixels = layer(pixels)
        return out

    @classmethod
    def load(cls, path: str | Path) -> TinyEncoder:
        """Read a TAESD encoder file. Raises `InputError` for any other file."""
        return _load(cls, path, channels_key="14.weight", channels_dim=0)


class TinyDecoder(nn.Sequential):
    """Model-space latents (B, C, H, W) → pixels (B, 3, 8H, 8W), about [0, 1] (not clamped)."""

    def __init__(self, latent_channels: int = 4) -> None:
        stages: list[nn.Module] = [
            _SoftClamp(),
            nn.Conv2d(latent_channels, WIDTH, 3, padding=1),
            nn.ReLU(),
        ]
        for blocks in (3, 3, 3):
            stages += [Residual() for _ in range(blocks)]
            stages += [nn.Upsample(scale_factor=2), _resample()]
        super().__init__(*stages, Residual(), nn.Conv2d(WIDTH, 3, 3, padding=1))

    def features(self, z: Tensor, stages: int, close: tuple[slice, slice] | None = None) -> list[Tensor]:
        """Activations at the end of the first `stages` resolutions (1 to 4), coarse to fine.

        Args:
            z: latents.
            stages: how many.
            close: rows and columns of latents that the third and fourth resolution go on with; all of them
                if not given. Nine tenths of the work are done there.

        Returns tensors (B, 64, H·2^i, W·2^i) for i = 0 … stages-1; the fourth are the pixels,
        (B, 3, 8H, 8W).
        """
        out = []
        for layer in self:
            if isinstance(layer, nn.Upsample):
                out.append(z)
                if len(out) == stages:
                    return out
                if len(out) == 2 and close is not None:
                    rows, columns = (slice(2 * part.start, 2 * part.stop) for part in close)
                    z = z[..., rows, columns]
            z = layer(z)
        return [*out, z]

    @classmethod
    def load(cls, path: str | Path) -> TinyDecoder:
        """Read a TAESD decoder file. Raises `InputError` for any other file."""
        return _load(cls, path, channels_key="1.weight", channels_dim=1)


def _load(cls, path: str | Path, *, channels_key: str, channels_dim: int):
    weights, _ = read_tensors(path)
    if channels_key not in weights:
        raise InputError(f"{path} is not a TAESD {cls.__name__[4:].lower()}: it has no {channels_key}")
    model = cls(weights[channels_key].shape[channels_dim])
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"{path} is not a TAESD {cls.__name__[4:].lower()}") from error
    return model.float().eval().requires_grad_(False)
