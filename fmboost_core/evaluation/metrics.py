"""What is measured on one picture, and how each number is to be read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from ..images import luma
from .haarpsi import haarpsi

# Pixels. MS-SSIM halves a picture four times under a window of 11, which takes 176; a report's crops, 192.
SMALLEST_SIDE = 192
BLOCK = 64  # pixels a side of the blocks whose mean colours are compared
OCTAVES = ("1/4 to 1/2", "1/8 to 1/4", "1/16 to 1/8", "1/32 to 1/16")  # cycles a pixel


@dataclass(frozen=True)
class Metric:
    """How a number is to be read.

    Attributes:
        name: in results and files.
        title: for people, with the unit.
        best: "high", "low", or "one" where the distance from 1 counts.
        digits: after the point.
    """

    name: str
    title: str
    best: str
    digits: int

    def distance(self, value: Tensor) -> Tensor:
        """The value itself, or where 1 is best its distance from 1 in octaves, |log2|."""
        return value.log2().abs() if self.best == "one" else value


ENERGY = [f"energy_{k}" for k in range(len(OCTAVES))]
METRICS = {
    metric.name: metric
    for metric in (
        Metric("psnr", "PSNR, dB", "high", 2),
        Metric("ssim", "SSIM", "high", 4),
        Metric("ms_ssim", "MS-SSIM", "high", 4),
        Metric("haarpsi", "HaarPSI", "high", 4),
        Metric("lpips", "LPIPS", "low", 4),
        Metric("frechet", "Fréchet, tiny encoder", "low", 4),
        Metric("inception_fid", "FID, Inception", "low", 2),
        Metric("colour_shift", "colour shift, levels", "low", 2),
        Metric("latent_mse", "latent MSE", "low", 4),
        *(Metric(n, f"energy, {o} c/px", "one", 3) for n, o in zip(ENERGY, OCTAVES, strict=True)),
    )
}


def as_saved(pixels: Tensor) -> Tensor:
    """Pixels as an 8-bit file would hold them, (…) in [0, 1]."""
    return (pixels.clamp(0, 1) * 255).round() / 255


def psnr(found: Tensor, wanted: Tensor) -> float:
    """Peak signal-to-noise ratio over all channels, in dB; infinite for equal pictures."""
    error = (found - wanted).double().square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(found: Tensor, wanted: Tensor) -> float:
    """Structural similarity of the lumas (Wang et al. 2004: Gaussian window of σ 1.5)."""
    value = structural_similarity_index_measure(luma(found), luma(wanted), data_range=1.0)
    return value.item()  # type: ignore[union-attr]


def ms_ssim(found: Tensor, wanted: Tensor) -> float:
    """Multi-scale structural similarity of the lumas (Wang et al. 2003: five scales)."""
    pair = luma(found), luma(wanted)
    value = multiscale_structural_similarity_index_measure(*pair, data_range=1.0, normalize="relu")
    return value.item()


def colour_shift(found: Tensor, wanted: Tensor) -> float:
    """Mean absolute difference of the mean colours of blocks, in 8-bit levels.

    Blur and fine noise leave a block's mean colour alone; a tint or a blotch does not.
    """
    side = min(BLOCK, *found.shape[-2:])
    return (255 * F.avg_pool2d(found - wanted, side)).abs().mean().item()


def octave_energy(pixels: Tensor) -> list[float]:
    """Spectral energy of the luma in the octaves of `OCTAVES`, per pixel, finest first.

    The picture is weighted by a Hann window, so that its edges make no cross in the spectrum;
    frequencies are radial, in cycles a pixel.
    """
    y = luma(pixels).double()[0, 0]
    height, width = y.shape
    window = torch.outer(torch.hann_window(height).double(), torch.hann_window(width).double())
    power = torch.fft.rfft2((y - y.mean()) * window.to(y)).abs().square()
    power /= y.numel() * window.square().sum()
    power[:, 1 : (width + 1) // 2] *= 2  # the half of the spectrum that rfft leaves out
    rows, columns = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    radius = torch.hypot(rows[:, None], columns[None]).to(y.device)
    edges = [2.0 ** -(k + 1) for k in range(len(OCTAVES) + 1)]
    bands = zip(edges[1:], edges[:-1], strict=True)
    return [power[(radius > low) & (radius <= high)].sum().item() for low, high in bands]


def measure(found: Tensor, wanted: Tensor) -> dict[str, float]:
    """The metrics of one picture.

    Args:
        found: the result, (1, 3, H, W) in [0, 1], at least 192 pixels a side.
        wanted: the original, of the same shape.

    Returns:
        `psnr`, `ssim`, `ms_ssim`, `haarpsi`, `colour_shift`, and `energy_0` … for the octaves, these not
        yet divided by the original's.
    """
    return {
        "psnr": psnr(found, wanted),
        "ssim": ssim(found, wanted),
        "ms_ssim": ms_ssim(found, wanted),
        "haarpsi": haarpsi(found, wanted),
        "colour_shift": colour_shift(found, wanted),
    } | dict(zip(ENERGY, octave_energy(found), strict=True))
