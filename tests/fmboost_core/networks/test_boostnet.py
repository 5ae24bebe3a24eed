import pytest
import torch
from helpers import lively

from fmboost_core import InputError
from fmboost_core.networks.boostnet import BoostNet, BoostNetConfig

CONFIG = BoostNetConfig(latent_channels=4, width=64, depth=2)


@pytest.fixture(scope="module")
def network() -> BoostNet:
    return lively(BoostNet(CONFIG))


def arguments(height: int = 40, width: int = 40, **changes) -> dict[str, torch.Tensor]:
    x, context = torch.randn(2, 1, 4, height, width, generator=torch.Generator().manual_seed(1))
    values = {"t": 0.3, "sigma": 0.2, "scale": 1.7} | changes
    return {"x": x, "context": context} | {k: torch.tensor([v]) for k, v in values.items()}


def test_untrained_velocity_is_zero():
    assert BoostNet(CONFIG)(**arguments()).abs().max() == 0


@pytest.mark.parametrize("condition", [{"t": 0.31}, {"sigma": 0.21}, {"scale": 1.72}])
def test_small_changes_of_each_condition_are_seen(network, condition):
    assert not torch.allclose(network(**arguments()), network(**arguments(**condition)), atol=1e-3)


@pytest.mark.parametrize("entry", ["x", "context"])
def test_receptive_field_is_exactly_as_stated(network, entry):
    """The gradient at a cell of the output reaches as far as stated and no further."""
    inputs = arguments(60, 60)
    inputs[entry].requires_grad_()
    # The top left pixel of a cell: to its left the reach is the field, to its right a cell less.
    network(**inputs)[..., 30, 30].sum().backward()
    reached = inputs[entry].grad.abs().sum((0, 1)).nonzero()
    reach = network.receptive_field
    assert reached.min().item() == 30 - reach
    assert reached.max().item() == 30 + reach + 1
    # One of the two is a pixel of the same cell: the halo in whole cells is the field.
    assert reach % network.size_multiple == 0


def test_output_does_not_depend_on_what_lies_beyond(network):
    inputs = arguments(60, 60)
    before = network(**inputs)[..., :4]
    inputs["x"][..., 4 + network.receptive_field :] += 100
    torch.testing.assert_close(network(**inputs)[..., :4], before, atol=1e-5, rtol=0)


def test_every_item_has_its_own_conditions(network):
    first, second = arguments(), arguments(t=0.9, sigma=0.0, scale=1.2)
    both = network(**{k: torch.cat([first[k], second[k]]) for k in first})
    torch.testing.assert_close(both[:1], network(**first), atol=1e-5, rtol=0)
    torch.testing.assert_close(both[1:], network(**second), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(network, dtype):
    full = network(**arguments())
    half = lively(BoostNet(CONFIG)).to(dtype)
    inputs = {k: v.to(dtype) if v.ndim == 4 else v for k, v in arguments().items()}
    out = half(**inputs)
    assert out.dtype == dtype
    assert (out.float() - full).abs().mean() / full.abs().mean() < 0.03


@pytest.mark.parametrize(
    "shape", [{"width": 96}, {"width": 0}, {"depth": 0}, {"latent_channels": -4}, {"depth": 1.5}]
)
def test_impossible_shapes_are_refused(shape):
    with pytest.raises(InputError, match=next(iter(shape))):
        BoostNetConfig(**shape)
