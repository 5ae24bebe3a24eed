import pytest
import torch
import torch.nn.functional as F
from helpers import photo

from fmboost_core.evaluation.haarpsi import haarpsi

# Of piq 0.8.0 (github.com/photosynthesis-team/piq), whose YIQ matrix has one more digit.
GOLDEN = {"blur": 0.7534, "noise": 0.8813, "contrast": 0.9928, "channels": 0.4115, "odd": 0.9027}


def degraded(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    picture = photo()
    noise = 0.05 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    found = {
        "blur": F.avg_pool2d(F.pad(picture, (2, 2, 2, 2), mode="reflect"), 5, 1),
        "noise": (picture + noise).clamp(0, 1),
        "contrast": picture * 0.9 + 0.05,
        "channels": picture[:, [1, 2, 0]],
        "odd": (picture + noise).clamp(0, 1),
    }[name]
    side = (slice(None), slice(None), slice(37), slice(51)) if name == "odd" else ...
    return found[side], picture[side]


@pytest.mark.parametrize("name", GOLDEN)
def test_it_agrees_with_a_known_library(name):
    assert haarpsi(*degraded(name)) == pytest.approx(GOLDEN[name], abs=1e-3)


def test_equal_pictures_are_1_flat_ones_too():
    assert haarpsi(photo(), photo()) == pytest.approx(1)
    flat = torch.full((1, 3, 32, 32), 0.5)
    assert haarpsi(flat, flat) == pytest.approx(1)


def test_it_does_not_matter_which_picture_comes_first():
    found, wanted = degraded("noise")
    assert haarpsi(found, wanted) == pytest.approx(haarpsi(wanted, found))
