import pytest
import torch
from helpers import lively

from fmboost_core import Booster, BoosterSpec, CheckpointError, InputError
from fmboost_core.networks.bridgenet import BridgeNet, BridgeNetConfig
from fmboost_core.peak_memory import PeakMemory

NEAREST = {"context_upsampling": "nearest", "source_upsampling": "nearest"}
CONFIG = BridgeNetConfig(latent_channels=4, width=64, depth=1)
FINER = BridgeNetConfig(latent_channels=4, width=64, depth=1, resolutions=4)


@pytest.fixture(scope="module", params=[CONFIG, FINER], ids=["3", "4"])
def network(request) -> BridgeNet:
    return lively(BridgeNet(request.param))


def arguments(height: int = 40, width: int = 40, **changes) -> dict[str, torch.Tensor]:
    """The context is the small latent itself, half as large."""
    generator = torch.Generator().manual_seed(1)
    x, context = (torch.randn(1, 4, height // k, width // k, generator=generator) for k in (1, 2))
    values = {"t": 0.3, "sigma": 0.2, "scale": 1.7} | changes
    return {"x": x, "context": context} | {k: torch.tensor([v]) for k, v in values.items()}


@pytest.mark.parametrize("condition", [{"t": 0.31}, {"sigma": 0.21}, {"scale": 1.72}])
def test_small_changes_of_each_condition_are_seen(network, condition):
    assert not torch.allclose(network(**arguments()), network(**arguments(**condition)), atol=1e-3)


def test_receptive_field_is_exactly_as_stated(network):
    """The gradient at a cell of the output reaches as far in the small latent as stated, and no further."""
    inputs = arguments(136, 136)
    inputs["context"].requires_grad_()
    network(**inputs)[..., 68:70, 68:70].sum().backward()
    reached = inputs["context"].grad.abs().sum((0, 1)).nonzero()
    reach = network.receptive_field // 2
    assert (reached.min().item(), reached.max().item()) == (34 - reach, 34 + reach)


@pytest.mark.parametrize("size", [(24, 24), (23, 19), (12, 17), (15, 12)])
def test_it_sees_where_things_are_at_any_scale(network, size):
    """A spot in the small latent leaves its mark at the same place of the large one."""
    inputs = arguments(24, 24)
    x, plain = torch.zeros(1, 4, *size), torch.zeros_like(inputs["context"])
    spotted = plain.clone()
    spotted[..., 9, 3] = 3
    given = {k: v for k, v in inputs.items() if v.ndim == 1}
    seen, unseen = (network(x=x, context=context, **given) for context in (spotted, plain))
    change = (seen - unseen).square().sum((0, 1))
    for side, place in ((0, 9.5 / 12), (1, 3.5 / 12)):
        profile = change.sum(1 - side)
        centre = (profile * (torch.arange(size[side]) + 0.5)).sum() / profile.sum() / size[side]
        assert centre.item() == pytest.approx(place, abs=0.06)


def test_without_noise_one_step_says_all(network):
    """Paths are straight at detail 0: more steps lead to the same place."""
    booster = Booster(network, BoosterSpec("sd15"))
    samples = torch.randn(1, 4, 12, 12, generator=torch.Generator().manual_seed(0))
    one, four = (booster.boost(samples, (24, 24), detail=0, steps=steps) for steps in (1, 4))
    torch.testing.assert_close(four, one, atol=2e-3 * one.std().item(), rtol=0)


def test_noise_is_taken_away_exactly():
    """With a guess that does not depend on it, the noise leaves no trace in the result."""
    network = lively(BridgeNet(CONFIG))
    with torch.no_grad():
        network.head.weight.zero_()
    booster = Booster(network, BoosterSpec("sd15"))
    samples = torch.randn(1, 4, 12, 12, generator=torch.Generator().manual_seed(0))
    clean, noisy = (booster.boost(samples, (24, 24), detail=detail) for detail in (0, 1))
    torch.testing.assert_close(noisy, clean, atol=1e-3 * clean.std().item(), rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(network, dtype):
    given = arguments(16, 16)  # small, as a CPU may have to emulate the format
    full = network(**given)
    half = lively(BridgeNet(network.config)).to(dtype)
    inputs = {k: v.to(dtype) if v.ndim == 4 else v for k, v in given.items()}
    out = half(**inputs)
    assert out.dtype == dtype
    assert (out.float() - full).abs().mean() / full.abs().mean() < 0.03


@pytest.mark.parametrize("resolutions", [3, 4])
@pytest.mark.parametrize("scale", [2, 1.25])
@pytest.mark.parametrize(("size", "tile"), [((95, 80), 0), ((95, 80), 32), ((448, 64), 0), ((448, 64), 48)])
def test_a_boost_keeps_to_its_memory_estimate(size, tile, scale, resolutions):
    config = BridgeNetConfig(4, width=192, depth=1, resolutions=resolutions)
    booster = Booster(lively(BridgeNet(config)), BoosterSpec("sd15"))
    samples = torch.randn(1, 4, *(round(side / scale) for side in size))
    with PeakMemory() as memory:
        booster.boost(samples, size, detail=0.5, tile=tile)
    assert memory.peak <= booster.memory_needed(samples.shape, size, tile=tile)


@pytest.mark.parametrize(
    "facts", [{"path": "gvp"}, {"context_upsampling": "nearest"}, {"sigma_min": 0.1}, NEAREST]
)
def test_what_it_takes_for_granted_must_be_so(network, facts):
    with pytest.raises(CheckpointError, match="linear path"):
        Booster(network, BoosterSpec("sd15", **facts))


def test_it_needs_a_context(network):
    with pytest.raises(InputError, match="BridgeNet needs the small latent"):
        network(**{**arguments(), "context": None})


@pytest.mark.parametrize(
    "shape",
    [
        {"width": 96}, {"depth": 0}, {"latent_channels": 1.5}, {"resolutions": 5}, {"resolutions": 3.0},
        {"resolutions": [3]},
    ],
)  # fmt: skip
def test_impossible_shapes_are_refused(shape):
    with pytest.raises(InputError, match=f"BridgeNet: {next(iter(shape))}"):
        BridgeNetConfig(**shape)
