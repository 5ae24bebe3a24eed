"""Known answers: what was done to a picture moves the metrics that are about it, and no others."""

import math

import pytest
import torch
import torch.nn.functional as F
from helpers import photo

from fmboost_core.evaluation.metrics import (
    ENERGY,
    METRICS,
    as_saved,
    colour_shift,
    measure,
    octave_energy,
    psnr,
)


def blurred(pixels: torch.Tensor) -> torch.Tensor:
    """5×5 means, with no edge to speak of."""
    return F.avg_pool2d(F.pad(pixels, (2, 2, 2, 2), mode="reflect"), 5, 1)


def noisy(pixels: torch.Tensor, amount: float = 0.03) -> torch.Tensor:
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    return (pixels + amount * noise).clamp(0, 1)


def tinted(pixels: torch.Tensor) -> torch.Tensor:
    """Red up and blue down by 10 levels of 255, which leaves the luma nearly alone."""
    return (pixels + torch.tensor([10.0, -3.15, -10.0])[:, None, None] / 255).clamp(0, 1)


@pytest.fixture(scope="module")
def original() -> torch.Tensor:
    """A photograph, away from black and white so that nothing clips."""
    return photo(256) * 0.6 + 0.2


@pytest.fixture(scope="module")
def unchanged(original):
    return measure(original, original)


def test_equal_pictures_are_perfect(unchanged):
    assert unchanged["psnr"] == math.inf
    for name in ("ssim", "ms_ssim", "haarpsi"):
        assert unchanged[name] == pytest.approx(1, abs=1e-6)
    assert unchanged["colour_shift"] == 0


def test_blur_costs_structure_and_fine_energy_but_no_colour(original, unchanged):
    found = measure(blurred(original), original)
    assert found["psnr"] < 35
    assert found["ssim"] < 0.95
    assert found["haarpsi"] < 0.9
    assert found["colour_shift"] < 0.2
    ratios = [found[name] / unchanged[name] for name in ENERGY]
    assert ratios[0] < 0.1
    assert ratios == sorted(ratios)  # the finer, the more is lost
    assert ratios[-1] > 0.8


def test_noise_adds_fine_energy_but_no_colour(original, unchanged):
    found = measure(noisy(original), original)
    assert found["psnr"] == pytest.approx(-20 * math.log10(0.03), abs=0.2)
    assert found["ssim"] < 0.95
    assert found["colour_shift"] < 0.2
    ratios = [found[name] / unchanged[name] for name in ENERGY]
    assert ratios[0] > 1.3
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] == pytest.approx(1, abs=0.02)


def test_a_tint_moves_colour_and_psnr_but_no_structure(original, unchanged):
    found = measure(tinted(original), original)
    assert found["colour_shift"] == pytest.approx((10 + 3.15 + 10) / 3, abs=0.1)
    assert found["psnr"] < 31
    assert found["ssim"] > 0.995
    assert found["ms_ssim"] > 0.995
    for name in ENERGY:
        assert found[name] == pytest.approx(unchanged[name], rel=0.01)


def test_psnr_is_that_of_its_definition():
    wanted = torch.zeros(1, 3, 8, 8)
    assert psnr(wanted + 0.1, wanted) == pytest.approx(20, abs=1e-4)


def test_blotches_that_cancel_over_the_picture_are_a_colour_shift():
    wanted = torch.full((1, 3, 128, 128), 0.5)
    found = wanted.clone()
    found[..., :64] += 8 / 255
    found[..., 64:] -= 8 / 255
    assert colour_shift(found, wanted) == pytest.approx(8, abs=1e-3)


@pytest.mark.parametrize(("period", "octave"), [(3, 0), (6, 1), (12, 2), (24, 3)])
def test_a_wave_has_its_energy_in_its_octave(period, octave):
    wave = 0.5 + 0.3 * torch.sin(2 * math.pi * torch.arange(192) / period)
    for pixels in (wave[:, None].expand(192, 160), wave[None].expand(160, 192)):
        energies = octave_energy(pixels.expand(1, 3, -1, -1))
        assert energies[octave] == pytest.approx(0.3**2 / 2, rel=0.1)
        assert sum(energies) == pytest.approx(energies[octave], rel=0.02)


def test_pictures_are_compared_as_a_file_would_hold_them():
    assert as_saved(torch.tensor([-1.0, 0.001, 0.5, 2.0])).mul(255).tolist() == [0, 0, 128, 255]


def test_every_measured_number_is_described(unchanged):
    assert set(unchanged) <= set(METRICS)
