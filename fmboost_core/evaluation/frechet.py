"""The Fréchet distance between crops of two sets of pictures.

Inception's features must be downloaded, and look at objects; the tiny VAE's encoder is at hand, and looks
at texture and structure. From each picture, `FEWEST`² to `GRID`² crops of `CROP`² pixels, evenly spaced, go
through it, overlapping only where it is too small for the fewest; the activations at the end of its four
resolutions, averaged over the crop, make four vectors of 64 numbers. In each resolution the crops of a set,
each picture weighing the same, are summarised by mean μ and covariance C, and

    d² = |μ₁ − μ₂|² + tr(C₁ + C₂ − 2·(C₁^½ C₂ C₁^½)^½)   (Dowson and Landau 1982; FID: Heusel et al. 2017)

divided by tr C of the originals, so that 0 is equality and 1 is as far as the originals spread; the four are
averaged. As every Fréchet distance of samples it is biased upwards for few crops: compare only distances of
the same pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..tiny_vae import TinyEncoder

CROP, FEWEST, GRID = 128, 2, 4


def crops(pixels: Tensor) -> Tensor:
    """Evenly spaced crops of a picture (1, C, H, W): (4 to 16, C, 128, 128)."""
    places = []
    for length in pixels.shape[-2:]:
        count = max(FEWEST, min(GRID, length // CROP))
        places.append([round(k * (length - CROP) / (count - 1)) for k in range(count)])
    cut = [pixels[..., top : top + CROP, left : left + CROP] for top in places[0] for left in places[1]]
    return torch.cat(cut)


def crop_features(pixels: Tensor, encoder: TinyEncoder) -> Tensor:
    """Features of a picture's crops: (1, 3, H, W) in [0, 1] → (N, 4, 64), fp32."""
    weight = next(encoder.parameters())
    cut = crops(pixels).to(weight.device, weight.dtype, memory_format=torch.channels_last)
    return torch.stack([f.float().mean((-2, -1)) for f in encoder.features(cut)], dim=1).cpu()


def inception_features(pixels: Tensor, network: nn.Module) -> Tensor:
    """Features of a picture's crops by a TorchScript Inception network: (N, D), fp32.

    The network is called as StyleGAN's `inception-2015-12-05.pt` wants it: 8-bit pixels, and
    `return_features=True`.
    """
    levels = (crops(pixels) * 255).round().to(torch.uint8)
    return network(levels, return_features=True).float().cpu()


class Moments:
    """Means and covariances of a set's features under several weightings of its pictures.

    Args:
        features: of each picture, (crops, D).
        weights: R weightings (R, pictures), each adding up to 1.

    Attributes:
        mean: (R, D).
        covariance: (R, D, D).
    """

    def __init__(self, features: Sequence[Tensor], weights: Tensor) -> None:
        first = torch.stack([f.double().mean(0) for f in features])
        products = torch.stack([f.double().mT @ f.double() / len(f) for f in features])
        self.mean = weights @ first
        second = torch.einsum("rp,pij->rij", weights, products)
        self.covariance = second - torch.einsum("ri,rj->rij", self.mean, self.mean)

    @property
    def spread(self) -> Tensor:
        """Traces of the covariances, (R,)."""
        return _trace(self.covariance)


class FrechetDistance:
    """Distance to one set, d² as above, for each of R weightings.

    Args:
        wanted: moments of the set that others are compared with.
    """

    def __init__(self, wanted: Moments) -> None:
        self.wanted = wanted
        values, vectors = torch.linalg.eigh(wanted.covariance)
        self.root = (vectors * values.clamp_min(0).sqrt()[:, None]) @ vectors.mT

    def __call__(self, found: Moments) -> Tensor:
        """(R,)"""
        cross = torch.linalg.eigvalsh(self.root @ found.covariance @ self.root).clamp_min(0).sqrt().sum(-1)
        means = (found.mean - self.wanted.mean).square().sum(-1)
        return (means + found.spread + self.wanted.spread - 2 * cross).clamp_min(0)


class CropDistance:
    """The distance of this module's description to one set of pictures.

    Args:
        wanted: `crop_features` of each picture.
        weights: R weightings of the pictures (R, pictures), each adding up to 1.
    """

    def __init__(self, wanted: Sequence[Tensor], weights: Tensor) -> None:
        self.weights = weights
        self.levels = [FrechetDistance(moments) for moments in self._moments(wanted)]

    def _moments(self, features: Sequence[Tensor]) -> list[Moments]:
        return [Moments([f[:, k] for f in features], self.weights) for k in range(features[0].shape[1])]

    def __call__(self, found: Sequence[Tensor]) -> Tensor:
        """Distance of `crop_features` of the same pictures in the same order, (R,)."""
        levels = zip(self.levels, self._moments(found), strict=True)
        return torch.stack([d(m) / d.wanted.spread.clamp_min(1e-12) for d, m in levels]).mean(0)


def _trace(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1).sum(-1)
