"""Where a new run starts: at another model's weights, or as a tiny VAE.

A BridgeNet that begins as a tiny VAE is better than any interpolation before its first step. The decoder's
and the encoder's stages are taken as they are, and the convolution across, from what the decoder sees in a
small latent to what the encoder sees in the large one, is fitted by ridge regression. The trunk begins at
zero.
"""

from __future__ import annotations

import dataclasses
from itertools import chain
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..networks import build
from ..networks.bridgenet import COARSE, FINE, NARROW, WIDE, WRITER, BridgeNet
from ..networks.resampling import nearest
from ..networks.velocity import VelocityNetwork
from ..tiny_vae import WIDTH, TinyDecoder, TinyEncoder
from ..upsampling import Size, size_of
from .data import PairData

EXAMPLES = 24  # crops that the resampling is fitted to, and half as many between the scales
RIDGE = 1e-3  # of the features' mean power


def start_from_weights(network: VelocityNetwork, initial: VelocityNetwork) -> None:
    """Take the weights; for latents of other channels, all but the layers that see or make channels.

    Raises:
        InputError: the networks have different shapes.
    """
    channels = network.config.latent_channels
    if dataclasses.replace(initial.config, latent_channels=channels) != network.config:
        raise InputError("the weights to start from are of a network of another shape")
    own = network.state_dict()
    taken = {name: w for name, w in initial.state_dict().items() if w.shape == own[name].shape}
    network.load_state_dict(own | taken)


def start_from_vae(
    shape: dict[str, Any], encoder: TinyEncoder, decoder: TinyDecoder, pairs: PairData
) -> BridgeNet:
    """A BridgeNet of a shape.

    Args:
        shape: fields of its configuration, but for the latent channels.
        encoder, decoder: of the pairs' family, on one device, where the network will be, too.
        pairs: the fit's examples.

    Raises:
        InputError: the VAE has other channels than the pairs.
    """
    if encoder.latent_channels != pairs.channels:
        raise InputError(f"the VAE has {encoder.latent_channels} channels, the pairs have {pairs.channels}")
    network = build("bridgenet", {"latent_channels": pairs.channels, **shape})
    assert isinstance(network, BridgeNet)
    resolutions = network.config.resolutions
    with torch.no_grad():
        own = [*network.coarse, *network.fine, *network.wide, *network.narrow, *network.writer]
        stages = [list(decoder)[part] for part in (COARSE, FINE, WIDE[resolutions])]
        stages += [list(encoder)[part] for part in (NARROW[resolutions], WRITER)]
        for layer, stage in zip(own, chain(*stages), strict=True):
            layer.load_state_dict(stage.state_dict())
        _differences(network.onto.slope)
        _fit(network.to(next(encoder.parameters()).device), encoder, decoder, pairs)
    return network


def _differences(slope: nn.Conv2d) -> None:
    """How features change from one neighbour to the other, per pixel."""
    slope.weight.zero_()
    cast(Tensor, slope.bias).zero_()
    down, right = slope.weight.chunk(2)
    for channel in range(WIDTH):
        for weight in (down[channel, channel, :, 1], right[channel, channel, 1, :]):
            weight.copy_(torch.tensor([-0.5, 0.0, 0.5]))


def _fit(network: BridgeNet, encoder: TinyEncoder, decoder: TinyDecoder, pairs: PairData) -> None:
    """Fit `network.across` so that the encoder's features come out where the trunk adds nothing."""
    across = network.across
    value, slope = cast(nn.Conv2d, across.value), across.slope
    gram = moment = torch.zeros((), dtype=torch.float64)
    for pair in chain(pairs.first(EXAMPLES), pairs.between(EXAMPLES // 2)):
        low, high = (z.to(value.weight.device) for z in pair)
        features = decoder(high).clamp(0, 1)
        for layer in list(encoder)[: NARROW[network.config.resolutions].start]:
            features = layer(features)
        seen = _regressors(network.wide(network.fine(network.coarse(low))), size_of(features))
        gram = gram + (seen.T @ seen).double().cpu()
        moment = moment + (seen.T @ features.flatten(2)[0].T).double().cpu()
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    solution = torch.linalg.solve(gram, moment).T.float()
    weights, biases = solution.split([3 * 9 * WIDTH, 3], 1)
    for layer, weight, bias in (
        (value, weights[:, : 9 * WIDTH], biases[:, :1]),
        (slope, torch.cat(weights[:, 9 * WIDTH :].chunk(2, 1)), torch.cat(biases[:, 1:].chunk(2, 1))),
    ):
        layer.weight.copy_(weight.reshape(layer.weight.shape))
        cast(Tensor, layer.bias).copy_(bias[:, 0])


def _regressors(features: Tensor, size: Size) -> Tensor:
    """What `Resampling` is linear in, (H·W, 3·(9·C + 1)), from features (1, C, h, w).

    The 3×3 neighbourhoods of the nearest places, those times how far down, times how far to the right; then
    the same of a one.
    """
    (rows, down), (columns, right) = (
        nearest(there, here, here) for there, here in zip(size_of(features), size, strict=True)
    )
    patches = F.unfold(features, 3, padding=1).unflatten(2, size_of(features))[0][:, rows][..., columns]
    factors = [torch.ones(size), down[:, None].expand(size), right.expand(size)]
    ones = torch.stack(factors).to(patches)
    everything = torch.cat([*(patches * factor for factor in ones), ones])
    return everything.flatten(1).T
