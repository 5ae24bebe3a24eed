"""What may go wrong at any moment, made to go wrong at every moment."""

from __future__ import annotations

import pytest
import torch
from helpers import random_latent, small_booster

from fmboost_core import Booster
from fmboost_core.solvers import ADAPTIVE

SAMPLES = random_latent(2, 4, 24, 20)
RUNS = {
    "one step": {"size": (48, 40)},
    "cascade": {"size": (96, 80), "steps": 2, "solver": "heun"},
    "adaptive": {"size": (36, 30), "solver": "dopri5"},
    "bands": {"size": (48, 40), "steps": 3, "tile": 32},
}  # fmt: skip


class Stop(Exception):
    """What a user's Cancel raises."""


class FailsOnce:
    """Stands before a network and fails at one evaluation, as a full device does."""

    def __init__(self, booster: Booster, at: int) -> None:
        self.calls, self.at = 0, at
        self._inner = {name: getattr(booster.network, name) for name in ("forward", "in_bands")}
        for name in self._inner:
            setattr(booster.network, name, self._failing(name))

    def _failing(self, name: str):
        def evaluate(*arguments):
            self.calls += 1
            if self.calls == self.at:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return self._inner[name](*arguments)

        return evaluate


def moments(evaluations: int) -> list[int]:
    """Every evaluation, or half a dozen of them where there are very many (an adaptive solver's)."""
    return sorted({*range(1, evaluations + 1, max(1, evaluations // 6)), evaluations})


def boost(booster: Booster, watch=None, **run) -> torch.Tensor:
    return booster.boost(SAMPLES, detail=0.6, seeds=3, watch=watch, **run)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_memory_may_run_out_at_any_evaluation(run):
    expected = boost(small_booster(), **run)
    booster = small_booster()
    count = FailsOnce(booster, at=0)
    boost(booster, **run)
    for at in moments(count.calls):
        booster = small_booster()
        failing = FailsOnce(booster, at)
        # A solver that chooses its steps makes more of the smaller tiles' roundings.
        tolerance = 0.5 if run.get("solver") in ADAPTIVE else 1e-3
        torch.testing.assert_close(boost(booster, **run), expected, atol=tolerance, rtol=0)
        assert failing.calls > at


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_boost_may_be_cancelled_at_any_evaluation(run):
    booster, evaluations = small_booster(), []
    expected = boost(booster, evaluations.append, **run)
    for at in moments(len(evaluations)):

        def watch(progress, at=at):
            if progress.done == at:
                raise Stop

        with pytest.raises(Stop):
            boost(booster, watch, **run)
        assert torch.equal(boost(booster, **run), expected)
