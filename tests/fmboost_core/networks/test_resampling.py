import pytest
import torch
from helpers import lively

from fmboost_core.networks.resampling import Resampling, ResamplingInBands, nearest


def test_the_nearest_of_three_for_two():
    """Centres at 1/4 and 3/4 of the length; those of the three are at 1/6, 1/2 and 5/6."""
    index, offset = nearest(3, 2, 3)
    assert index.tolist() == [0, 2, 2]  # the third repeats the last
    torch.testing.assert_close(offset, torch.tensor([0.25, -0.25, -0.25]))


@pytest.mark.parametrize(("there", "here"), [(8, 8), (8, 6), (8, 5), (7, 12), (1, 2), (4096, 4095)])
def test_places_lie_where_they_are_said_to(there, here):
    index, offset = nearest(there, here, here)
    assert index.min() >= 0
    assert index.max() < there
    assert offset.abs().max() <= 0.5
    torch.testing.assert_close((index + offset + 0.5) / there, (torch.arange(here) + 0.5) / here)


@pytest.fixture
def linear() -> Resampling:
    """Slopes that are exact for features which change evenly."""
    layer = Resampling(1)
    kernels = torch.zeros(2, 1, 3, 3)
    kernels[0, 0, :, 1] = kernels[1, 0, 1, :] = torch.tensor([-0.5, 0.0, 0.5])
    with torch.no_grad():
        layer.slope.weight.copy_(kernels)
        layer.slope.bias.zero_()
    return layer


@pytest.mark.parametrize("size", [(12, 15), (9, 20), (16, 11)])
def test_what_changes_evenly_is_found_exactly_in_between(linear, size):
    def ramp(height: int, width: int) -> torch.Tensor:
        down, right = ((torch.arange(n) + 0.5) / n for n in (height, width))
        return (3 * down[:, None] - 2 * right)[None, None]

    inner = (..., slice(2, -2), slice(2, -2))  # a border of zeros is no even change
    out = linear(ramp(16, 20), size)
    torch.testing.assert_close(out[inner], ramp(*size)[inner], atol=1e-5, rtol=0)


def test_on_the_same_grid_nothing_changes(linear):
    features = torch.randn(1, 1, 6, 8)
    assert torch.equal(linear(features, (6, 8)), features)
    grown = linear(features, (6, 8), (8, 9))
    assert torch.equal(grown[..., :6, :8], features)
    assert torch.equal(grown[..., 5, :], grown[..., 7, :])


@pytest.mark.parametrize("bands", [[1] * 12, [5, 7], [0, 12], [12]])
@pytest.mark.parametrize("size", [(12, 10), (7, 9), (10, 10), (17, 6)])
def test_in_bands_it_is_that_of_the_whole(bands, size):
    layer = lively(Resampling(3, torch.nn.Conv2d(3, 3, 3, padding=1)))
    features, grown = torch.randn(2, 3, 12, 10), (size[0] + 1, size[1] + 1)
    fed = ResamplingInBands(layer, (12, 10), size, grown)
    parts = [fed(rows, i == len(bands) - 1) for i, rows in enumerate(features.split(bands, 2))]
    torch.testing.assert_close(torch.cat(parts, 2), layer(features, size, grown))
