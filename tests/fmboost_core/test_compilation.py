import shutil

import pytest
import torch
from helpers import small_booster

from fmboost_core import Booster
from fmboost_core.compilation import CompiledNetwork


def boosted(booster: Booster, **options) -> torch.Tensor:
    samples = torch.randn(1, 4, 12, 10, generator=torch.Generator().manual_seed(0))
    return booster.boost(samples, (24, 20), detail=0.5, steps=2, **options)


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for the CPU needs a C++ compiler (g++)")
def test_compiled_gives_the_numbers_of_the_plain_network():
    plain = small_booster()
    compiled = Booster(plain.network, plain.spec, compiled=True)
    torch.testing.assert_close(boosted(compiled), boosted(plain), atol=1e-4, rtol=1e-4)
    assert not compiled.forward.fell_back


def test_where_nothing_compiles_the_plain_network_answers(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", lambda network, mode: refuse)
    plain = small_booster()
    compiled = Booster(plain.network, plain.spec, compiled=True)
    assert torch.equal(boosted(compiled), boosted(plain))


def test_lack_of_memory_and_errors_of_the_network_are_not_swallowed(monkeypatch):
    calls = []

    def exhausted(*_):
        calls.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "compile", lambda network, mode: exhausted)
    network = CompiledNetwork(small_booster().network)
    for _ in range(2):  # it stays compiled: a smaller tile is tried next
        with pytest.raises(torch.OutOfMemoryError):
            network(*torch.zeros(5, 1, 4, 8, 8))
    assert len(calls) == 2
