import dataclasses

import numpy as np
import pytest
import torch

from fmboost_core.training.config import TrainConfig
from fmboost_core.training.draws import draw, draw_close

CONFIG = TrainConfig("sd15", steps=6)


def changed(**changes) -> TrainConfig:
    return dataclasses.replace(CONFIG, **changes)


def test_one_noise_level_as_in_the_paper():
    _, sigma, t, _ = draw(changed(sigma_range=(0.6, 0.6), clean=0.0, start=0.0), 0, list(range(1000)), (1,))
    assert torch.equal(sigma, torch.full((1000,), 0.6))
    assert t.mean() == pytest.approx(0.5, abs=0.05)


def test_levels_follow_the_recipe():
    noise, sigma, t, _ = draw(changed(clean=0.3, start=0.8), 3, list(range(4000)), (4, 2, 2))
    assert (sigma == 0).float().mean() == pytest.approx(0.3, abs=0.03)
    assert sigma.max() == pytest.approx(0.5, abs=0.01)
    assert (t[sigma > 0] == 0).float().mean() == pytest.approx(0.8, abs=0.03)
    assert not t[sigma == 0].any()
    assert (noise.mean(), noise.std()) == (pytest.approx(0, abs=0.01), pytest.approx(1, abs=0.01))


def test_fewer_and_fewer_items_learn_the_vae_route():
    config = changed(steps=4, clean=0.5, route=0.8)
    for step, share in enumerate((0.8, 0.6, 0.4, 0.2, 0.0)):
        _, sigma, _, routed = draw(config, step, list(range(2000)), (1,))
        assert routed[sigma == 0].float().mean() == pytest.approx(share, abs=0.05)
        assert not routed[sigma > 0].any()


def test_an_item_draws_the_same_in_any_company():
    whole = draw(CONFIG, 5, [0, 1, 2, 3], (4, 2, 2))
    part = draw(CONFIG, 5, [1, 3], (4, 2, 2))
    for a, b in zip(whole, part, strict=True):
        assert torch.equal(a[[1, 3]], b)
    assert not torch.equal(draw(CONFIG, 6, [1], (4, 2, 2))[0], part[0][:1])


def starts(share: float, inner: slice) -> np.ndarray:
    """Where close parts of a window of 32 begin, rows before columns."""
    rng = np.random.default_rng(0)
    parts = [draw_close(rng, share, 32, (inner, inner)) for _ in range(400)]
    assert all(part.stop - part.start == max(1, round(32 * share)) for both in parts for part in both)
    return np.array([[part.start for part in both] for both in parts])


def test_the_close_part_is_anywhere_inside():
    found = starts(0.5, slice(4, 28))
    for axis in range(2):
        assert set(found[:, axis]) == set(range(4, 13))
    assert len({*map(tuple, found)}) > 70  # of 81 places


@pytest.mark.parametrize(("inner", "borders"), [((0, 28), [0]), ((4, 32), [16]), ((0, 32), [0, 16])])
def test_the_close_part_is_often_at_a_border(inner, borders):
    found = starts(0.5, slice(*inner))
    assert set(found[:, 0]) == set(range(inner[0], inner[1] - 15))
    shares = [(found == border).mean() for border in borders]
    assert shares == [pytest.approx(0.3 / len(borders) + 0.7 / (inner[1] - 15 - inner[0]), abs=0.05)] * len(
        shares
    )


def test_a_large_close_part_goes_over_the_margin_no_more_than_it_must():
    assert set(starts(1.0, slice(4, 28)).flat) == {0}
    assert set(starts(0.9, slice(4, 28)).flat) == {3}
    assert set(starts(0.9, slice(0, 28)).flat) == {0}
    assert set(starts(0.9, slice(4, 32)).flat) == {3}
