"""Latents from strangers: a right answer or one clear line, and what was given is left as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from helpers import small_booster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fmboost_core import SOLVERS, FMBoostError, boost_latent, latent_size
from fmboost_core.upsampling import size_of

BOOSTER = small_booster()
EXAMPLES = 300
SIDES = st.sampled_from([1, 2, 3, 5, 8, 13, 16])
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
ODD_DTYPES = (torch.float8_e4m3fn, torch.int64, torch.uint8, torch.bool, torch.complex64)


@st.composite
def shapes(draw) -> tuple[int, ...]:
    height, width = draw(st.one_of(st.tuples(SIDES, SIDES), st.sampled_from([(1, 512), (512, 1), (0, 4)])))
    channels = draw(st.sampled_from([4, 4, 4, 4, 4, 3, 16, 0]))
    batch = draw(st.sampled_from([1, 1, 2, 3, 0]))
    if height * width <= 64:
        batch = draw(st.sampled_from([batch, 64]))
    dimensions = draw(st.sampled_from([4, 4, 4, 5, 3, 2]))
    if dimensions == 5:
        return batch, channels, draw(st.sampled_from([1, 2, 0])), height, width
    return (batch, channels, height, width)[4 - dimensions :]


@st.composite
def tensors(draw) -> torch.Tensor:
    """Of any make: values, memory layout, type, and ties to gradients."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    z = 5 * torch.randn(draw(shapes()), generator=generator)
    flat = z.flatten()
    match draw(st.sampled_from(["plain", "plain", "plain", "constant", "nan", "inf", "huge", "tiny"])):
        case "constant":
            z = torch.full_like(z, 3.0)
        case "nan" | "inf" | "huge" as what if len(flat):
            flat[draw(st.integers(0, len(flat) - 1))] = float(what) if what != "huge" else 1e30
        case "tiny":
            z = z * 1e-30
    dtype = draw(st.sampled_from([*DTYPES, *DTYPES, *ODD_DTYPES]))
    z = z.to(dtype)
    match draw(st.sampled_from(["plain", "transposed", "expanded", "inside", "channels last"])):
        case "transposed":
            z = z.transpose(-1, -2).contiguous().transpose(-1, -2)
        case "expanded" if z.ndim and len(z):
            z = z[:1].expand(z.shape)
        case "inside":
            frame = torch.zeros([side + 2 for side in z.shape], dtype=dtype)
            inner = frame[tuple(slice(1, -1) for _ in z.shape)]
            inner.copy_(z)
            z = inner
        case "channels last" if z.ndim == 4:
            z = z.contiguous(memory_format=torch.channels_last)
    match draw(st.sampled_from(["plain", "gradients", "inference"])):
        case "gradients" if dtype in DTYPES:
            z.requires_grad_()
        case "inference":
            with torch.inference_mode():
                z = z.clone()
    return z


def masks(samples: torch.Tensor) -> list[Any]:
    """As ComfyUI's nodes make them, and otherwise."""
    height, width = size_of(samples) if samples.ndim > 1 else (4, 4)
    batch = samples.shape[0]
    return [
        None,
        torch.ones(height, width),
        torch.rand(1, 8 * height, 8 * width),
        torch.rand(batch, 1, 8 * height, 8 * width),
        torch.rand(1, 1, height, width).half(),
        torch.rand(batch, 1, 1, height, width),
        torch.zeros(0, 1, height, width),
        torch.ones(height),
        torch.ones(()),
        torch.ones(7, 5, dtype=torch.uint8),
        "a mask",
    ]


@st.composite
def latents(draw) -> dict[str, Any]:
    samples = draw(tensors())
    latent: dict[str, Any] = {"samples": samples}
    if draw(st.booleans()):
        latent["noise_mask"] = draw(st.sampled_from(masks(samples)))
    if draw(st.booleans()):
        latent["batch_index"] = draw(
            st.sampled_from([list(range(len(samples))), [5] * len(samples), [1], [], None, ["x"], 3])
        )
    if draw(st.booleans()):
        latent["type"] = draw(st.sampled_from(["audio", None, {"deep": [1]}]))
        latent["模型"] = torch.arange(3)
    return latent


@st.composite
def sizes(draw, source: tuple[int, int]) -> tuple[int, int]:
    factor = draw(st.sampled_from([1.0, 1.3, 2.0, 2.0, 3.0, 9.0, 0.5]))
    return round(source[0] * factor), round(source[1] * factor)


def snapshot(latent: dict[str, Any]) -> dict[str, Any]:
    return {key: (value.detach().clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value))
            for key, value in latent.items()}  # fmt: skip


def same(a: Any, b: Any) -> bool:
    if not isinstance(a, torch.Tensor):
        return a == b
    a, b = (x.detach().to(torch.complex128 if x.is_complex() else torch.float64) for x in (a, b))
    return a.shape == b.shape and torch.equal(a.nan_to_num(7e7), b.nan_to_num(7e7))


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_right_answer_or_one_line(data):
    latent = data.draw(latents())
    before, samples = snapshot(latent), latent["samples"]
    options = {
        "detail": data.draw(st.sampled_from([0.0, 0.3, 1.0, -1.0, float("nan")])),
        "steps": data.draw(st.sampled_from([1, 2, 0])),
        "solver": data.draw(st.sampled_from([*SOLVERS, "magic"])),
        "tile": data.draw(st.sampled_from([0, 0, 16, 3, -1])),
    }
    try:
        size = data.draw(sizes(latent_size(latent, BOOSTER)))
        boosted = boost_latent(
            BOOSTER, latent, size, seed=data.draw(st.sampled_from([0, 2**64 - 1])), **options
        )
    except FMBoostError as error:
        assert str(error)
        assert "\n" not in str(error)
        boosted = None
    assert latent.keys() == before.keys()
    assert all(same(latent[key], before[key]) for key in latent)
    if boosted is None:
        return
    assert boosted.keys() == latent.keys()
    assert boosted["samples"].shape == (*samples.shape[:-2], *size)
    assert torch.isfinite(boosted["samples"].float()).all()
    for key in boosted.keys() - {"samples", "noise_mask"}:
        assert boosted[key] is latent[key]
    plain = {**latent, "samples": samples.detach().to(torch.float32, copy=True).contiguous()}
    if size != size_of(samples):
        again = boost_latent(BOOSTER, plain, size, seed=0, **options | {"detail": 0.0, "tile": 0})
        other = boost_latent(BOOSTER, latent, size, seed=0, **options | {"detail": 0.0, "tile": 0})
        torch.testing.assert_close(other["samples"], again["samples"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "latent", [{}, {"samples": None}, {"samples": [1]}, {"samples": "x"}, {"samples": torch.zeros(())}]
)
def test_what_is_no_latent_is_named(latent):
    with pytest.raises(FMBoostError, match=r"^the latent [^\n]+$"):
        boost_latent(BOOSTER, latent, (8, 8))
