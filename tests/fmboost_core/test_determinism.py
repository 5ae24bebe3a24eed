"""The rows of docs/determinism.md, on the weights that ship."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from helpers import random_latent
from torch import Tensor

from fmboost_core import Booster, builtin_for, load

PAGE = Path(__file__).parents[2] / "docs" / "determinism.md"
ALLOWED = {
    name: float(value)
    for name, value in re.findall(
        r"^\| (\w+) \|[^|]*\| ([\d.e-]+) \|", PAGE.read_text(encoding="utf-8"), re.M
    )
}
SIZE = (48, 40)


@pytest.fixture(scope="module")
def booster() -> Booster:
    return load(builtin_for("sd15"), dtype=torch.float32)


@pytest.fixture(scope="module")
def samples() -> Tensor:
    # Values that bf16 holds exactly, so that both precisions start from the same numbers.
    return random_latent(3, 4, 24, 20).bfloat16().float()


def boost(booster: Booster, samples: Tensor, size: tuple[int, int] = SIZE, **options) -> Tensor:
    return booster.boost(samples, size, **{"detail": 0.6, "steps": 2, "seeds": 5} | options)


def compare(row: str, found: Tensor, expected: Tensor) -> None:
    difference = ((found - expected).abs().max() / expected.std()).item()
    assert difference <= ALLOWED[row]


def test_the_page_has_these_rows():
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert set(ALLOWED) == tests - {"the_page_has_these_rows"}


def test_again(booster, samples):
    compare("again", boost(booster, samples), boost(booster, samples))


def test_seed_at_detail_0(booster, samples):
    compare(
        "seed_at_detail_0",
        boost(booster, samples, detail=0.0, seeds=1),
        boost(booster, samples, detail=0.0, seeds=2),
    )
    assert not torch.equal(boost(booster, samples, seeds=1), boost(booster, samples, seeds=2))


def test_layout(booster, samples):
    other = samples.contiguous(memory_format=torch.channels_last)
    strided = torch.zeros(3, 4, 24, 40)[..., ::2].copy_(samples)
    for laid_out in (other, strided):
        compare("layout", boost(booster, laid_out), boost(booster, samples))


def test_input_precision(booster, samples):
    compare("input_precision", boost(booster, samples.bfloat16()), boost(booster, samples))


def test_frames(booster, samples):
    video = samples.movedim(0, 1)[None]
    as_frames = boost(booster, video, detail=0.0)[0].movedim(0, 1)
    compare("frames", as_frames, boost(booster, samples, detail=0.0))


def test_batch(booster, samples):
    alone = torch.cat([boost(booster, samples[i : i + 1], seeds=5 + i) for i in range(3)])
    compare("batch", boost(booster, samples), alone)


def test_tile(booster, samples):
    for tile in (16, 30):
        compare("tile", boost(booster, samples, tile=tile), boost(booster, samples))


def test_threads(booster, samples):
    several, threads = boost(booster, samples), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        compare("threads", boost(booster, samples), several)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for the CPU needs a C++ compiler (g++)")
def test_compiled(booster, samples):
    compiled = Booster(booster.network, booster.spec, compiled=True)
    compare("compiled", boost(compiled, samples), boost(booster, samples))
    assert not compiled.forward.fell_back


def test_precision(booster, samples):
    half = load(builtin_for("sd15"), dtype=torch.bfloat16)
    compare("precision", boost(half, samples), boost(booster, samples))
