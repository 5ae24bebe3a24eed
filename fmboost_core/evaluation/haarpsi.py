"""HaarPSI: how alike two pictures look, from the responses of Haar wavelets.

R. Reisenhofer, S. Bosse, G. Kutyniok, T. Wiegand, "A Haar Wavelet-Based Perceptual Similarity Index for
Image Quality Assessment", Signal Processing: Image Communication 61, 2018 (arXiv 1607.06140). It needs no
trained weights. The libraries that offer it import torchvision, so these few lines are ours; the test
compares them with the values of `piq`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Both constants are the paper's, fitted to human ratings of pictures with levels 0 to 255.
STABILITY, STEEPNESS = 30.0, 4.2
SCALES = 3
TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


def haarpsi(found: Tensor, wanted: Tensor) -> float:
    """Similarity of two pictures (1, 3, H, W) in [0, 1]: 1 for equal ones, towards 0 for unlike ones.

    Needs at least 16 pixels a side.
    """
    pair = torch.cat([found, wanted]).float() * 255
    yiq = torch.einsum("bchw,dc->bdhw", pair, pair.new_tensor(TO_YIQ))
    # The eye's own low-pass: 2×2 means, every second one.
    yiq = _box(yiq, 2)[..., ::2, ::2]
    luma, chroma = yiq[:, :1], _box(yiq[:, 1:], 2).abs()

    responses = torch.stack([_haar(luma, 2**scale) for scale in range(1, SCALES + 1)]).abs()
    # (scale, picture, orientation, h, w): the two fine scales say how alike, the coarse one how much
    # a place counts.
    likeness = _similarity(responses[:-1, 0], responses[:-1, 1]).mean(0)
    weight = responses[-1].amax(0)
    colour = _similarity(chroma[0], chroma[1]).mean(0, keepdim=True)
    likeness = torch.cat([likeness, colour])
    weight = torch.cat([weight, weight.mean(0, keepdim=True)])

    squashed = torch.sigmoid(STEEPNESS * likeness.double())
    total = weight.double().sum()
    if total == 0:  # two flat pictures: only their colours can differ
        return likeness.mean().item()
    mean = (squashed * weight).sum() / total
    return ((torch.logit(mean) / STEEPNESS) ** 2).item()


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    return (2 * a * b + STABILITY) / (a.square() + b.square() + STABILITY)


def _same_padding(x: Tensor, side: int) -> Tensor:
    """Zeros around x, so that a window of `side` gives as many values as x has (MATLAB's "same")."""
    before = (side - 1) // 2
    return F.pad(x, (before, side - 1 - before, before, side - 1 - before))


def _box(x: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(_same_padding(x, side), side, stride=1)


def _haar(luma: Tensor, side: int) -> Tensor:
    """Differences of the halves of side×side windows, (B, 1, H, W) → (B, 2, H, W): of height, of width."""
    half = F.avg_pool2d(_same_padding(luma, side), (side // 2, side), stride=1) * (side / 2)
    across = F.avg_pool2d(_same_padding(luma, side), (side, side // 2), stride=1) * (side / 2)
    vertical = half[..., side // 2 :, :] - half[..., : -(side // 2), :]
    horizontal = across[..., side // 2 :] - across[..., : -(side // 2)]
    return torch.cat([vertical, horizontal], dim=1)
