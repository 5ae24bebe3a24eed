import math

import pytest
import torch

from fmboost_core import InputError
from fmboost_core.solvers import ADAPTIVE, FIXED_STEP, SOLVERS, dopri5, evaluations, solve

TORCHDIFFEQ_NAMES = {"euler": "euler", "midpoint": "midpoint", "heun": "heun2", "rk4": "rk4"}


def field(x: torch.Tensor, t: float) -> torch.Tensor:
    """Nonlinear, and different at every time."""
    return torch.sin(3 * x) * math.cos(5 * t) + t - 0.5 * x


def start() -> torch.Tensor:
    return torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("solver", FIXED_STEP)
@pytest.mark.parametrize("steps", [1, 4, 7])
def test_fixed_step_solvers_equal_torchdiffeq(solver, steps):
    torchdiffeq = pytest.importorskip("torchdiffeq")
    theirs = torchdiffeq.odeint(
        lambda t, x: field(x, float(t)),
        start(),
        torch.linspace(0, 1, steps + 1, dtype=torch.float64),
        method=TORCHDIFFEQ_NAMES[solver],
    )[-1]
    torch.testing.assert_close(
        solve(field, start(), solver=solver, steps=steps), theirs, atol=1e-6, rtol=1e-6
    )


def test_dopri5_equals_torchdiffeq():
    torchdiffeq = pytest.importorskip("torchdiffeq")
    theirs = torchdiffeq.odeint(
        lambda t, x: field(x, float(t)),
        start(),
        torch.tensor([0.0, 1.0], dtype=torch.float64),
        method="dopri5",
        rtol=1e-6,
        atol=1e-7,
    )[-1]
    torch.testing.assert_close(dopri5(field, start(), rtol=1e-6, atol=1e-7), theirs, atol=1e-5, rtol=0)


def test_dopri5_meets_its_tolerance_on_a_known_solution():
    x = torch.ones(1, dtype=torch.float64)
    result = dopri5(lambda x, t: 2 * x, x, rtol=1e-8, atol=1e-10)
    assert result.item() == pytest.approx(math.exp(2), rel=1e-7)


def test_dopri5_spends_more_where_the_field_is_harder():
    def count(frequency: float) -> int:
        calls = []
        solve(
            lambda x, t: torch.cos(frequency * t + x),
            torch.zeros(3),
            solver="dopri5",
            watch=lambda e: calls.append(e.t),
        )
        return len(calls)

    assert count(40.0) > count(1.0)


def test_dopri5_refuses_a_field_that_is_not_finite():
    with pytest.raises(InputError, match="no step small enough"):
        dopri5(lambda x, t: x * math.nan, torch.ones(2))


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4)])
def test_order_of_convergence(solver, order):
    exact = dopri5(field, start(), rtol=1e-11, atol=1e-12)
    errors = [(solve(field, start(), solver=solver, steps=n) - exact).abs().max().item() for n in (20, 40)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


@pytest.mark.parametrize("solver", SOLVERS)
def test_straight_paths_are_exact_in_one_step(solver):
    shift = torch.randn(2, 3)
    torch.testing.assert_close(solve(lambda x, t: shift, torch.zeros(2, 3), solver=solver), shift)


@pytest.mark.parametrize("solver", FIXED_STEP)
def test_watcher_sees_every_evaluation_in_order(solver):
    seen = []
    solve(field, start(), solver=solver, steps=3, watch=seen.append)
    assert [e.index for e in seen] == list(range(evaluations(solver, 3)))
    assert all(0 <= e.t <= 1 for e in seen)
    assert seen[0].t == 0
    torch.testing.assert_close(seen[0].endpoint, start() + field(start(), 0.0))


@pytest.mark.parametrize("solver", SOLVERS)
def test_watcher_can_end_the_integration(solver):
    def stop(evaluation):
        if evaluation.index == 2:
            raise KeyboardInterrupt

    calls = []

    def counted(x, t):
        calls.append(t)
        return field(x, t)

    with pytest.raises(KeyboardInterrupt):
        solve(counted, start(), solver=solver, steps=5, watch=stop)
    assert len(calls) == 3


def test_start_is_left_as_it_was():
    x = start()
    for solver in SOLVERS:
        solve(field, x, solver=solver, steps=2)
    torch.testing.assert_close(x, start(), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"solver": "leapfrog"}, "there is no solver 'leapfrog'"), ({"steps": 0}, "at least 1 is needed")],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        solve(field, start(), **options)


def test_adaptive_evaluations_are_not_known_beforehand():
    assert all(evaluations(solver, 5) is None for solver in ADAPTIVE)


# One evaluation to begin with, and six more for each step, taken or not.
@pytest.mark.parametrize(("frequency", "expected"), [(1.0, 1 + 6 * 2), (40.0, 1 + 6 * 15)])
def test_dopri5_takes_the_steps_that_its_default_tolerance_asks_for(frequency, expected):
    times: list[float] = []
    x = torch.full((3,), 0.5, dtype=torch.float64)

    def field(x, t):
        return torch.cos(torch.tensor(frequency * t)) * (1 + x)

    found = solve(field, x, solver="dopri5", watch=lambda e: times.append(e.t))
    exact = 1.5 * math.exp(math.sin(frequency) / frequency) - 1
    assert found.tolist() == pytest.approx([exact] * 3, abs=2e-3)
    assert len(times) == expected
    assert max(times) <= 1
