"""Tests of the paper's U-Net, against golden outputs of CompVis/fm-boosting among others."""

from __future__ import annotations

import copy
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fmboost_core.networks.unet import (
    SelfAttention,
    UNet,
    UNetConfig,
    config_from_reference,
    linear_attention,
)
from fmboost_core.solvers import solve

DATA = Path(__file__).parents[2] / "data"
sys.path.append(str(DATA))
from name_seeded import fill_by_name, seeded_normal  # noqa: E402

FACTS = json.loads((DATA / "reference_unet.json").read_text())
GOLDEN = np.load(DATA / "reference_unet.npz")
NETS = list(FACTS["nets"])
REFERENCE = FACTS["nets"]["base"]
CASES = [(name, tuple(size)) for name in NETS for size in FACTS["sizes"]]
TINY = UNetConfig(
    latent_channels=4,
    model_channels=32,
    num_res_blocks=1,
    channel_mult=(1, 2),
    attention_factors=(2,),
    head_channels=8,
)


def filled(config: UNetConfig) -> UNet:
    net = UNet(config).eval()
    fill_by_name(net)
    return net


def attention(scrambled: bool, linear: bool = False) -> SelfAttention:
    config = dataclasses.replace(TINY, scrambled_attention=scrambled)
    module = SelfAttention(32, config, linear)
    fill_by_name(module)
    return module


def inputs(height: int, width: int) -> dict[str, Tensor]:
    shape = (2, 4, height, width)
    x, context = seeded_normal("x", shape), seeded_normal("context", shape)
    return {"x": x, "t": torch.tensor([0.3, 0.8]), "context": context}


def relative_error(ours: Tensor, reference: np.ndarray) -> float:
    expected = torch.from_numpy(reference)
    return ((ours - expected).abs().max() / expected.abs().max()).item()


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    # Nets this small only lose time to threads that wait for each other on a busy machine.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def reference_nets() -> dict[str, UNet]:
    return {name: filled(config_from_reference(FACTS["nets"][name])) for name in NETS}


@pytest.mark.parametrize("name", NETS)
def test_state_dict_has_the_reference_names_and_shapes(name, reference_nets):
    state = reference_nets[name].state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == FACTS["shapes"][name]


@pytest.mark.parametrize(("name", "size"), CASES)
def test_velocity_equals_the_reference(name, size, reference_nets):
    case = f"{name}/{size[0]}x{size[1]}"
    x, context = (seeded_normal(f"{case}/{part}", (2, 4, *size)) for part in ("x", "context"))
    velocity = reference_nets[name](x, torch.tensor(FACTS["times"]), context)
    assert relative_error(velocity, GOLDEN[f"{case}/velocity"]) <= 1e-4


@pytest.mark.parametrize(("name", "size"), CASES)
def test_euler_endpoint_equals_the_reference(name, size, reference_nets):
    case = f"{name}/{size[0]}x{size[1]}"
    x, context = (seeded_normal(f"{case}/{part}", (2, 4, *size)) for part in ("x", "context"))
    net = reference_nets[name]
    x = solve(lambda x, t: net(x, torch.full((2,), t), context), x, solver="euler", steps=4)
    assert relative_error(x, GOLDEN[f"{case}/endpoint"]) <= 1e-4


@pytest.mark.parametrize("linear", [False, True])
def test_attention_equals_the_formula_token_by_token(linear):
    module, x = attention(scrambled=False, linear=linear), seeded_normal("x", (2, 32, 3, 5))
    heads, width = TINY.num_heads, TINY.head_channels
    tokens = module.norm(x).flatten(2).transpose(1, 2)
    qkv = tokens @ module.qkv.weight[..., 0].T + module.qkv.bias
    q, k, v = qkv.split(heads * width, dim=-1)
    mixed = []
    for head in range(heads):
        channels = slice(head * width, (head + 1) * width)
        queries, keys, values = q[..., channels], k[..., channels], v[..., channels]
        if linear:
            weights = queries.softmax(-1) @ keys.softmax(-2).transpose(1, 2) / width**0.5
        else:
            weights = (queries @ keys.transpose(1, 2) / width**0.5).softmax(-1)
        mixed.append(weights @ values)
    update = torch.cat(mixed, dim=-1) @ module.proj_out.weight[..., 0].T + module.proj_out.bias
    expected = x + update.transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(module(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("linear", [False, True])
def test_only_correct_attention_is_permutation_equivariant(linear):
    x, order = seeded_normal("x", (2, 32, 3, 5)), 4 * torch.arange(15) % 15

    def permuted(values: Tensor) -> Tensor:
        return values.flatten(2)[..., order].reshape(values.shape)

    for scrambled in (False, True):
        module = attention(scrambled, linear)
        gap = (module(permuted(x)) - permuted(module(x))).abs().max().item()
        assert (gap > 0.01) if scrambled else (gap < 1e-5)


def test_scrambled_attention_changes_the_velocity(reference_nets):
    scrambled = reference_nets["base"]
    correct = filled(dataclasses.replace(scrambled.config, scrambled_attention=False))
    x, t = seeded_normal("x", (1, 4, 16, 16)), torch.tensor([0.5])
    gap = (correct(x, t, x) - scrambled(x, t, x)).abs().max().item()
    assert gap > 0.05


def test_linear_attention_weights_sum_to_the_scale():
    q, k = seeded_normal("q", (2, 7, 16)), seeded_normal("k", (2, 7, 16))
    ones = torch.ones(2, 7, 16)
    torch.testing.assert_close(linear_attention(q, k, ones), ones / 4)


@pytest.mark.parametrize("pool_factor", [-1, 2])
def test_new_network_predicts_zero_but_learns(pool_factor):
    net = UNet(dataclasses.replace(TINY, pool_factor=pool_factor))
    with torch.enable_grad():
        velocity = net(**inputs(8, 8))
        (velocity - 1).square().sum().backward()
    assert velocity.abs().max() == 0
    last = (net.un_pool if pool_factor > 1 else net.out)[-1]
    assert last.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("changes", "multiple"),
    [({}, 2), ({"channel_mult": (1, 1, 1)}, 4), ({"pool_factor": 4}, 8), ({"pool_factor": 1}, 2)],
)
def test_sizes_are_multiples_of_size_multiple(changes, multiple):
    net = filled(dataclasses.replace(TINY, **changes))
    assert net.size_multiple == multiple
    for height, width in ((multiple, multiple), (3 * multiple, 2 * multiple)):
        assert net(**inputs(height, width)).shape == (2, 4, height, width)
    with pytest.raises(ValueError, match=f"divisible by {multiple}"):
        net(**inputs(2 * multiple, 2 * multiple + 1))


def test_context_is_required_or_refused():
    wants, refuses = (UNet(dataclasses.replace(TINY, concat_context=c)) for c in (True, False))
    x, t, context = inputs(8, 8).values()
    assert refuses(x, t).shape == x.shape
    with pytest.raises(ValueError, match="expected 8 channels"):
        wants(x, t)
    with pytest.raises(ValueError, match="expected 4 channels"):
        refuses(x, t, context)


def test_output_depends_on_every_input_but_not_on_sigma_or_scale():
    net, given = filled(TINY), inputs(8, 8)
    velocity = net(**given)
    for name in given:
        changed = net(**given | {name: 0.5 * given[name]})
        assert (changed - velocity).abs().max() > 1e-3
    ignored = net(**given, sigma=torch.tensor([0.3, 0.1]), scale=torch.tensor([2.0, 1.5]))
    torch.testing.assert_close(ignored, velocity, atol=0, rtol=0)


def test_time_scale_multiplies_the_time():
    given = inputs(8, 8)
    net, unscaled = filled(TINY), filled(dataclasses.replace(TINY, time_scale=1.0))
    expected = unscaled(**given | {"t": 1000 * given["t"]})
    torch.testing.assert_close(net(**given), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("linear", [False, True])
def test_half_precision_stays_near_float32(dtype, linear):
    net = filled(dataclasses.replace(TINY, linear_attention=linear))
    given = inputs(8, 8)
    expected = net(**given)
    half = copy.deepcopy(net).to(dtype)
    velocity = half(given["x"].to(dtype), given["t"], given["context"].to(dtype))
    assert velocity.dtype == dtype
    assert relative_error(velocity.float(), expected.numpy()) < 0.05


def test_config_survives_json():
    config = json.loads(json.dumps(dataclasses.asdict(TINY)))
    assert UNetConfig(**config) == TINY


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latent_channels", 0),
        ("model_channels", 48),
        ("model_channels", 0),
        ("num_res_blocks", 1.0),
        ("num_heads", True),
        ("head_channels", -1),
        ("channel_mult", ()),
        ("channel_mult", (1, 0)),
        ("channel_mult", 2),
        ("channel_mult", "12"),
        ("attention_factors", (8, None)),
        ("pool_factor", 2.0),
        ("dropout", 1.0),
        ("dropout", "0"),
        ("time_scale", 0.0),
        ("time_scale", float("nan")),
    ],
)
def test_config_errors_name_the_field_in_one_line(field, value):
    with pytest.raises(ValueError, match=rf"^{field} must be [^\n]*$"):
        dataclasses.replace(TINY, **{field: value})


def test_reference_config_maps_every_argument():
    arguments = {
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 64,
        "num_res_blocks": 2,
        "attention_resolutions": [2, 4],
        "dropout": 0.1,
        "channel_mult": [1, 3],
        "conv_resample": False,
        "dim_head": 32,
        "num_heads": 2,
        "use_linear_attn": True,
        "use_scale_shift_norm": False,
        "pool_factor": 2,
    }
    assert config_from_reference(arguments, time_scale=7.0) == UNetConfig(
        latent_channels=4,
        concat_context=False,
        model_channels=64,
        num_res_blocks=2,
        attention_factors=(2, 4),
        dropout=0.1,
        channel_mult=(1, 3),
        learned_resampling=False,
        head_channels=32,
        num_heads=2,
        linear_attention=True,
        scale_shift_norm=False,
        pool_factor=2,
        time_scale=7.0,
        scrambled_attention=True,
    )


def test_reference_config_has_the_reference_defaults():
    shortest = {key: value for key, value in REFERENCE.items() if key not in FACTS["defaults"]}
    config = config_from_reference(shortest)
    assert config == config_from_reference(FACTS["defaults"] | shortest)
    assert config.time_scale == 1.0
    assert config.concat_context


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_fp16": True}, "unknown argument of the reference U-Net: use_fp16"),
        ({"latent_channels": 4}, "unknown argument of the reference U-Net: latent_channels"),
        ({"in_channels": 9}, "in_channels must be out_channels or twice that: 9, 4"),
        ({"out_channels": None}, "in_channels must be out_channels or twice that: 8, None"),
        ({"model_channels": 100}, "model_channels must be a multiple of 32, got 100"),
    ],
)
def test_reference_config_errors(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        config_from_reference(REFERENCE | changes)


@pytest.mark.parametrize("name", ["model_channels", "num_res_blocks", "attention_resolutions"])
def test_reference_config_names_a_missing_argument(name):
    with pytest.raises(ValueError, match=f"missing argument of the reference U-Net: {name}$"):
        config_from_reference({key: value for key, value in REFERENCE.items() if key != name})
