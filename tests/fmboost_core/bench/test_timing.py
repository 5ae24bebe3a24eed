import time

import pytest
import torch

from fmboost_core.bench import timing
from fmboost_core.bench.timing import Timing, time_call

CPU = torch.device("cpu")


def test_a_call_is_timed_after_a_warm_up():
    calls = []

    def call():
        time.sleep(0.2 if not calls else 0.01)
        calls.append(1)

    found = time_call(call, CPU, seconds=0)
    assert found.runs == timing.LEAST_RUNS == len(calls) - 1
    assert 10 <= found.fastest <= found.median <= found.slowest < 200


def test_a_long_call_is_run_once(monkeypatch):
    monkeypatch.setattr(timing, "PATIENCE", 0.01)
    found = time_call(lambda: time.sleep(0.03), CPU)
    assert found.runs == 1
    assert found.fastest == found.median == found.slowest >= 30


def test_several_calls_in_a_row():
    assert Timing(2.0, 1.0, 3.0, 7).times(40) == Timing(80.0, 40.0, 120.0, 7)


@pytest.mark.parametrize("seconds", [0.0, 0.2])
def test_time_given_is_time_used(seconds):
    start = time.monotonic()
    found = time_call(lambda: time.sleep(0.01), CPU, seconds)
    assert time.monotonic() - start >= seconds
    assert found.runs >= timing.LEAST_RUNS
