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
from ..networks.trunk import CELL
from ..networks.velocity import VelocityNetwork
from ..tiny_vae import TinyDecoder, TinyEncoder
from ..upsampling import resize_latent, size_of
from .data import PairData

EXAMPLES = 24  # crops that the convolution is fitted to
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
    shape: dict[str, Any], encoder: TinyEncoder, decoder: TinyDecoder, pairs: PairData, upsampling: str
) -> BridgeNet:
    """A BridgeNet of a shape.

    Args:
        shape: fields of its configuration, but for the latent channels.
        encoder, decoder: of the pairs' family, on one device, where the network will be, too.
        pairs: the fit's examples.
        upsampling: of the small latent, for the network's context.

    Raises:
        InputError: the VAE has other channels than the pairs.
    """
    if encoder.latent_channels != pairs.channels:
        raise InputError(f"the VAE has {encoder.latent_channels} channels, the pairs have {pairs.channels}")
    network = build("bridgenet", {"latent_channels": pairs.channels, **shape})
    assert isinstance(network, BridgeNet)
    with torch.no_grad():
        _undo_upsampling(cast(nn.Conv2d, network.coarse[0]), upsampling)
        own = [*list(network.coarse)[1:], *network.fine, *network.wide, *network.narrow, *network.writer]
        stages = [list(decoder)[part] for part in (COARSE, FINE, WIDE)]
        stages += [list(encoder)[part] for part in (NARROW, WRITER)]
        for layer, stage in zip(own, chain(*stages), strict=True):
            layer.load_state_dict(stage.state_dict())
        _fit(network.to(next(encoder.parameters()).device), encoder, decoder, pairs, upsampling)
    return network


def _undo_upsampling(layer: nn.Conv2d, mode: str) -> None:
    """Weights that take the small latent out of the cells of the upsampled one: least squares, in 1-D."""
    length, middle = 11, 5  # latents; longer than any filter's reach
    impulses = torch.eye(length).reshape(length, 1, length, 1)
    seen = resize_latent(impulses, (CELL * length, CELL), mode)[:, 0, :, 0].double()
    around = seen[:, CELL * (middle - 1) : CELL * (middle + 2)]  # three cells
    taps = torch.linalg.pinv(around)[:, middle].float().reshape(3, CELL)
    kernel = torch.einsum("ap,bq->pqab", taps, taps).reshape(CELL**2, 3, 3)
    layer.weight.zero_()
    cast(Tensor, layer.bias).zero_()
    for channel, weight in enumerate(layer.weight):
        weight[channel * CELL**2 : (channel + 1) * CELL**2] = kernel


def _fit(
    network: BridgeNet, encoder: TinyEncoder, decoder: TinyDecoder, pairs: PairData, upsampling: str
) -> None:
    """Fit `network.across` so that the encoder's features come out where the trunk adds nothing."""
    device = network.across.weight.device
    gram = moment = torch.zeros((), dtype=torch.float64)
    for pair in pairs.first(EXAMPLES):
        low, high = (z.to(device) for z in pair)
        u = resize_latent(low, size_of(high), upsampling)
        seen = _patches(network.wide(network.read(network.cells(u, u))))
        features = decoder(high).clamp(0, 1)
        for layer in list(encoder)[: NARROW.start]:
            features = layer(features)
        gram = gram + seen.T @ seen
        moment = moment + seen.T @ features.flatten(2)[0].T.cpu().double()
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    solution = torch.linalg.solve(gram, moment).T.float()
    network.across.weight.copy_(solution[:, :-1].reshape(network.across.weight.shape))
    cast(Tensor, network.across.bias).copy_(solution[:, -1])


def _patches(features: Tensor) -> Tensor:
    """3×3 neighbourhoods and a one, (H·W, 9·C + 1), of features (1, C, H, W); on the CPU, for fp64."""
    patches = F.unfold(features, 3, padding=1)[0].T.cpu().double()
    return torch.cat([patches, patches.new_ones(len(patches), 1)], 1)
