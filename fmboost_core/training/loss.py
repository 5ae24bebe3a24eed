"""What the tiny decoder makes of a predicted latent, compared with what it makes of the right one.

What a decoder will show matters more than the latent's own numbers (compare PCFlow, LUA and ELIR). Two
losses in its features, each item for itself:

- *fidelity*, the squared error relative to the features' variance: its minimum is the expected picture,
  which is smooth. With it, if wanted, the *structure* of the pixels: how unlike they are in each octave,
  whatever their contrast, so that what is likely but not sure keeps its contrast;
- *texture*, the divergence of the local energy of fine features and of the pixels' finest octaves: how much
  goes on within 32 pixels, but not what. A network that is given noise can satisfy it, as noise is something
  to make texture from. By Itakura's and Saito's divergence the best guess of an unknown energy is its mean;
  by the squared error of the logarithm it would be the geometric mean, which is far less.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ..images import luma
from ..tiny_vae import TinyDecoder

WINDOW = 4  # latents (32 pixels) a side, over which energies are taken
FINE = 3  # side of the mean that is taken away, so that only what is finer remains
OCTAVES = 4  # of the pixels whose energies are compared, from the finest on
LIKENESS_OCTAVES = range(1, 4)  # of the lumas; a small picture at scale 2 holds nothing of the finest
LIKENESS_SIDE = 8  # of the windows that are compared, in pixels of the octave
LIKENESS_FLOOR = 1e-4  # mean square, of pixels in [0, 1], below which contrast does not matter
FLAT = 1e-3  # of the variance: less than that does not matter
STEEPEST = 4  # ratio of energies up to which the divergence grows as it should
NEGLIGIBLE = 5e-4  # of the variance: an error of about 45 dB, which nobody sees
MARGIN = 4  # latents around the part that the fine stages look at, which the coarse stages see, too


class DecoderLoss:
    """Losses in the features of a tiny decoder's first stages.

    Args:
        decoder: of the latents' family; frozen.
        stages: 1 to 4, as `TinyDecoder.features`.
        examples: latents (B, C, H, W) that the variances are taken from.
        pixels: weight of the fourth stage, the pixels, in fidelity's mean over the stages; the others have 1.
        structure: weight of the pixels' unlikeness, which is added to fidelity.
    """

    def __init__(
        self, decoder: TinyDecoder, stages: int, examples: Tensor, pixels: float = 1.0, structure: float = 0.0
    ) -> None:
        self.decoder, self.stages, self.structure = decoder, stages, structure
        with torch.no_grad():
            features = decoder.features(examples, stages)
        self.variances = [f.float().var((0, 2, 3)).mean().item() for f in features]
        weights = [1.0, 1.0, 1.0, pixels][:stages]
        self.weights = [weight / sum(weights) for weight in weights]

    def __call__(
        self, predicted: Tensor, target: Tensor, textured: Tensor, close: tuple[slice, slice] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Losses of each item.

        Args:
            predicted, target: latents (B, C, H, W).
            textured: (B,) bool, the items whose texture loss is wanted; it is 0 for the others.
            close: rows and columns of latents that the two finest stages are compared on, the others on
                `MARGIN` more to each side; all if not given.

        Returns:
            Fidelity and texture, each (B,).
        """
        if close is not None:
            rows, columns = (slice(max(0, part.start - MARGIN), part.stop + MARGIN) for part in close)
            predicted, target = (z[..., rows, columns] for z in (predicted, target))
            close = _within(close[0], rows), _within(close[1], columns)
        with torch.no_grad():
            wanted = self.decoder.features(target, self.stages, close)
        found = self.decoder.features(predicted, self.stages, close)
        fidelity = torch.zeros(len(target), device=target.device)
        texture, items = torch.zeros_like(fidelity), textured.nonzero()[:, 0]
        for k, (f, w, variance) in enumerate(zip(found, wanted, self.variances, strict=True)):
            fidelity = fidelity + self.weights[k] * _squared(f.float(), w.float()) / variance
            if k == 3 and self.structure:
                fidelity = fidelity + self.structure * _unlikeness(f.float(), w.float())
            if len(items):
                octaves = OCTAVES if k == 3 else 1
                energies = (_energies(x[items].float(), WINDOW << k, octaves) for x in (f, w))
                for both in zip(*energies, strict=True):
                    lost = _divergence(*(energy + FLAT * variance for energy in both))
                    texture = texture.index_add(0, items, lost)
        return fidelity, texture / self.stages


def evening(lost: Tensor, evenness: float) -> Tensor:
    """Weights by which the items of a batch count more evenly.

    The gradient becomes, but for a factor, that of each loss's Box-Cox transform (Box and Cox 1964): of
    `lost ** (1 - evenness)`, and at 1 of the logarithm.

    Args:
        lost: (B,), each item's loss, 1 where it is wrong by as much as pictures vary; `NEGLIGIBLE` is added,
            lest items that are right count without bound.
        evenness: 0, where all weights are 1, to 1.

    Returns:
        (B,), without gradient.
    """
    return (lost.detach() + NEGLIGIBLE) ** -evenness


def _within(part: slice, whole: slice) -> slice:
    """The same places, counted from where the whole begins."""
    return slice(part.start - whole.start, part.stop - whole.start)


def _squared(found: Tensor, wanted: Tensor) -> Tensor:
    return (found - wanted).square().mean((1, 2, 3))


def _divergence(found: Tensor, wanted: Tensor) -> Tensor:
    """Half of Itakura's and Saito's divergence: near 0 the squared error of the log of the deviation.

    Above `STEEPEST` times too little it goes on evenly in the logarithm, lest a few windows drown all others.
    """
    ratio = wanted / found
    bounded = ratio.clamp(max=STEEPEST) + STEEPEST * (ratio / STEEPEST).clamp(min=1).log()
    return 0.5 * (bounded - ratio.log() - 1).mean((1, 2, 3))


def _energies(features: Tensor, side: int, octaves: int) -> list[Tensor]:
    """Mean squares of the finest octaves in windows of a side, which overlap by half; finest octave first."""
    energies = []
    for fine in itertools.islice(_octaves(features), octaves):
        energies.append(_in_windows(fine.square(), side))
        side //= 2
    return energies


def _unlikeness(found: Tensor, wanted: Tensor) -> Tensor:
    """1 less the contrast and structure of SSIM (Wang et al. 2004), of the lumas' octaves: 0 to 2, (B,).

    A squared error is least where a guess is shrunk by its correlation with the truth; likeness is greatest
    at the truth's own contrast, as far as there is any correlation.
    """
    both = zip(_octaves(luma(found)), _octaves(luma(wanted)), strict=True)
    lost = []
    for f, w in itertools.islice(both, LIKENESS_OCTAVES.start, LIKENESS_OCTAVES.stop):
        product, sum_of_squares = (_in_windows(x, LIKENESS_SIDE) for x in (f * w, f.square() + w.square()))
        like = (2 * product + LIKENESS_FLOOR) / (sum_of_squares + LIKENESS_FLOOR)
        lost.append(1 - like.mean((1, 2, 3)))
    return torch.stack(lost).mean(0)


def _octaves(x: Tensor) -> Iterator[Tensor]:
    """What each octave of (B, C, H, W) holds, from the finest, at half the resolution of the one before."""
    while True:
        yield x - F.avg_pool2d(x, FINE, 1, FINE // 2, count_include_pad=False)
        x = F.avg_pool2d(x, 2, ceil_mode=True)


def _in_windows(x: Tensor, side: int) -> Tensor:
    """Means of square windows, which overlap by half."""
    width = min(side, *x.shape[-2:])
    return F.avg_pool2d(x, width, max(1, width // 2))
