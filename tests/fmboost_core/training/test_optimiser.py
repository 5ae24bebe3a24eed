import copy

import pytest
import torch
from torch import nn

from fmboost_core.networks.boostnet import BoostNet, BoostNetConfig
from fmboost_core.training.optimiser import OPTIMISERS, Optimiser


def network() -> BoostNet:
    torch.manual_seed(0)
    return BoostNet(BoostNetConfig(4, 64, 1)).to(memory_format=torch.channels_last)


def push(net: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in net.parameters():
        p.grad = torch.randn(p.shape, generator=generator)


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_every_parameter_moves_and_gradients_are_used_once(kind):
    net = network()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    optimiser = Optimiser(net, kind, 0.0)
    push(net, 1)
    optimiser.step(1e-3)
    assert all(not torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_muon_makes_all_directions_of_a_convolution_equal():
    net = network()
    weight = net.blocks[0].conv1.weight
    before = weight.detach().clone()
    optimiser = Optimiser(net, "muon", 0.0)
    push(net, 2)
    optimiser.step(1e-3)
    change = (weight.detach() - before).permute(0, 2, 3, 1).flatten(1)
    values = torch.linalg.svdvals(change)
    assert values.max() / values.min() < 2  # a random matrix of this shape has 2
    gradient = torch.randn(change.shape, generator=torch.Generator().manual_seed(3))
    gradient[32:] *= 0.01
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    weight.grad = gradient.unflatten(1, (3, 3, 64)).permute(0, 3, 1, 2)
    lopsided = Optimiser(net, "muon", 0.0)
    before = weight.detach().clone()
    lopsided.step(1e-3)
    change = (weight.detach() - before).permute(0, 2, 3, 1).flatten(1)
    assert change[32:].norm() > 0.5 * change[:32].norm()  # where the gradient's was a hundredth


def test_steps_are_as_long_as_adamw_s():
    moved = {}
    for kind in OPTIMISERS:
        net = network()
        weight = net.blocks[0].conv1.weight
        before = weight.detach().clone()
        optimiser = Optimiser(net, kind, 0.0)
        for seed in range(20):
            push(net, seed)
            optimiser.step(1e-3)
        moved[kind] = (weight.detach() - before).norm().item()
    assert 1 / 3 < moved["muon"] / moved["adamw"] < 3


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_a_saved_optimiser_goes_on_as_it_was(kind):
    first, second = network(), network()
    ours = Optimiser(first, kind, 1e-2)
    for seed in (1, 2):
        push(first, seed)
        ours.step(1e-3)
    second.load_state_dict(first.state_dict())
    theirs = Optimiser(second, kind, 1e-2)
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))  # as from a file
    for net, optimiser in ((first, ours), (second, theirs)):
        push(net, 3)
        optimiser.step(1e-3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
