import math

import pytest
import torch

from fmboost_core.evaluation.bootstrap import Interval, interval, mean_of, ratio_of, resampling_weights


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide():
    values = torch.randn(400, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 3
    found = interval(mean_of(values, resampling_weights(400)))
    error = values.std().item() / 20
    assert found.value == pytest.approx(values.mean().item())
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.2 * error)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.2 * error)


def test_the_same_weights_each_time():
    assert torch.equal(resampling_weights(7), resampling_weights(7))
    weights = resampling_weights(7)
    assert weights.shape == (2001, 7)
    torch.testing.assert_close(weights.sum(1), torch.ones(2001, dtype=torch.float64))
    assert weights[0].unique().numel() == 1


def test_a_paired_difference_is_surer_than_its_parts():
    base = 20 + 5 * torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = resampling_weights(40)
    better = interval(mean_of(base + 0.5, weights) - mean_of(base, weights))
    assert better.excludes_zero
    assert better.low == pytest.approx(0.5)
    assert interval(mean_of(base, weights)).low < 19.5


def test_infinite_values_do_not_turn_into_nan():
    values = torch.tensor([math.inf, 30.0, 40.0], dtype=torch.float64)
    found = interval(mean_of(values, resampling_weights(3)))
    assert (found.value, found.high) == (math.inf, math.inf)
    assert 30 <= found.low <= 40


def test_a_ratio_of_sums_is_not_the_mean_of_ratios():
    above, below = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 0.0], [1.0, 9.0]))
    weights = resampling_weights(2, resamples=0)
    assert ratio_of(above, below, weights).item() == pytest.approx(0.1)
    assert ratio_of(0 * above, 0 * below, weights).item() == 1


def test_without_resamples_nothing_is_claimed():
    found = interval(mean_of(torch.ones(3, dtype=torch.float64), resampling_weights(3, resamples=0)))
    assert found == Interval(1.0)
    assert not found.excludes_zero
