import pytest
import torch
import torch.nn.functional as F
from helpers import photo

from fmboost_core.evaluation.bootstrap import resampling_weights
from fmboost_core.evaluation.frechet import CropDistance, FrechetDistance, Moments, crop_features, crops
from fmboost_core.tiny_vae import TinyEncoder


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return TinyEncoder().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pictures():
    """Three pictures that differ."""
    return [photo(256), photo(320).flip(-1), 1 - photo(288)]


def features_of(pictures, encoder) -> list[torch.Tensor]:
    return [crop_features(p, encoder) for p in pictures]


def test_equal_sets_are_at_0_and_distance_grows_with_blur_and_with_noise(pictures, encoder):
    wanted = features_of(pictures, encoder)
    distance = CropDistance(wanted, resampling_weights(len(wanted), resamples=0))
    assert distance(wanted).item() == pytest.approx(0, abs=1e-6)
    blurs = [[F.avg_pool2d(p, k, 1, k // 2) for p in pictures] for k in (3, 5, 9)]
    generator = torch.Generator().manual_seed(0)
    noises = [
        [(p + s * torch.randn(p.shape, generator=generator)).clamp(0, 1) for p in pictures]
        for s in (0.02, 0.05, 0.1)
    ]
    for series in (blurs, noises):
        found = [distance(features_of(degraded, encoder)).item() for degraded in series]
        assert 1e-4 < found[0] < found[1] < found[2]


def test_gaussians_of_known_moments():
    # Rows of ±standard deviation around the mean: exactly that covariance.
    def cloud(mean, deviations):
        axes = torch.diag(torch.tensor(deviations)) * len(deviations) ** 0.5
        return torch.cat([axes, -axes]) + torch.tensor(mean)

    a, b = cloud([0.0, 0.0, 0.0], [1.0, 2.0, 0.5]), cloud([1.0, 2.0, 2.0], [3.0, 2.0, 1.0])
    one = torch.ones(1, 1, dtype=torch.float64)
    expected = (1 + 4 + 4) + (1 - 3) ** 2 + 0 + (0.5 - 1) ** 2
    assert FrechetDistance(Moments([b], one))(Moments([a], one)).item() == pytest.approx(expected)


def test_weights_choose_pictures(pictures, encoder):
    features = features_of(pictures, encoder)
    shuffled = [features[1], features[0], features[2]]
    weights = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    same, different = CropDistance(features, weights)(shuffled).tolist()
    assert same == pytest.approx(0, abs=1e-6)
    assert different > 1e-3


def test_crops_reach_every_corner():
    rows, columns = torch.meshgrid(torch.arange(300.0), torch.arange(260.0), indexing="ij")
    cut = crops(torch.stack([rows, columns, rows])[None])
    assert cut.shape == (4, 3, 128, 128)
    assert crops(torch.zeros(1, 3, 700, 400)).shape == (12, 3, 128, 128)
    assert crops(torch.zeros(1, 3, 192, 520)).shape == (8, 3, 128, 128)  # overlapping
    assert (cut[0, :2, 0, 0].tolist(), cut[-1, :2, -1, -1].tolist()) == ([0, 0], [299, 259])


def test_features_are_means_over_the_crop(encoder):
    features = crop_features(photo(256), encoder)
    assert features.shape == (4, 4, 64)
    last = encoder.features(crops(photo(256))[3:4])[2].mean((-2, -1))[0]
    torch.testing.assert_close(features[3, 2], last, atol=1e-4, rtol=1e-3)
