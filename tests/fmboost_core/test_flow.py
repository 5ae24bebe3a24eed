import math

import pytest
import torch

from fmboost_core import InputError
from fmboost_core.flow import (
    PATHS,
    augment,
    cosine_alpha_bar,
    cosine_sigma,
    flow_matching_loss,
    point_on_path,
    sample_training_point,
    velocity,
    velocity_to,
)


def ends(items: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(items, 4, 5, 6, generator=generator, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_path_joins_source_to_target(path):
    x0, x1 = ends()
    zeros, ones = torch.zeros(3), torch.ones(3)
    torch.testing.assert_close(point_on_path(path, x0, x1, zeros), x0)
    torch.testing.assert_close(point_on_path(path, x0, x1, ones), x1, atol=1e-6, rtol=0)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_velocity_is_the_time_derivative_of_the_path(path):
    x0, x1 = ends()
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    h = 1e-5
    slope = (point_on_path(path, x0, x1, t + h) - point_on_path(path, x0, x1, t - h)) / (2 * h)
    torch.testing.assert_close(velocity(path, x0, x1, t), slope, atol=1e-8, rtol=1e-6)


def test_linear_velocity_is_the_difference():
    x0, x1 = ends()
    torch.testing.assert_close(velocity(PATHS["linear"], x0, x1, torch.full((3,), 0.3)), x1 - x0)


def test_gvp_keeps_the_variance_of_independent_ends():
    a, b = PATHS["gvp"].coefficients(torch.linspace(0, 1, 11))
    torch.testing.assert_close(a**2 + b**2, torch.ones(11))


def test_augmentation_preserves_variance_and_is_the_identity_at_zero():
    generator = torch.Generator().manual_seed(0)
    u, noise = torch.randn(2, 1, 4, 128, 128, generator=generator)
    assert augment(u, noise, 0.6).var().item() == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(augment(u, noise, 0.0), u)
    torch.testing.assert_close(augment(u, noise, 1.0), noise)


def test_augmentation_takes_one_sigma_per_item():
    u, noise = ends(2)
    both = augment(u, noise, torch.tensor([0.2, 0.7]))
    torch.testing.assert_close(both[1:], augment(u[1:], noise[1:], 0.7), check_dtype=False, atol=1e-6, rtol=0)


def test_paper_noise_level():
    assert cosine_alpha_bar(0.4) == pytest.approx(0.6545, abs=5e-5)
    assert cosine_sigma(0.4) == pytest.approx(0.588, abs=5e-4)
    assert math.sqrt(cosine_alpha_bar(0.4)) == pytest.approx(0.809, abs=5e-4)
    assert (cosine_sigma(0.0), cosine_sigma(1.0)) == (0.0, 1.0)


def test_diffusion_time_outside_the_schedule_is_refused():
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        cosine_sigma(1.5)


def test_sigma_min_widens_the_point_and_leaves_the_target():
    x0, x1 = ends()
    t, noise = torch.full((3,), 0.25), torch.ones_like(x0)
    thin = sample_training_point(PATHS["linear"], x0, x1, t)
    wide = sample_training_point(PATHS["linear"], x0, x1, t, sigma_min=0.1, noise=noise)
    torch.testing.assert_close(wide.x - thin.x, 0.1 * noise)
    torch.testing.assert_close(wide.target, thin.target)


def test_loss_is_the_mean_square_in_fp32():
    loss = flow_matching_loss(torch.full((2, 3), 3.0, dtype=torch.bfloat16), torch.ones(2, 3))
    assert loss.dtype == torch.float32
    assert loss.item() == 4.0


@pytest.mark.parametrize("name", ["linear", "gvp"])
def test_points_and_velocities_equal_the_reference(name, reference):
    from name_seeded import seeded_normal

    shape = tuple(reference[f"{name}/xt"].shape)
    x0, x1 = (seeded_normal(f"path/{end}", shape) for end in ("x0", "x1"))
    t = torch.tensor(reference.path_times)
    torch.testing.assert_close(point_on_path(PATHS[name], x0, x1, t), reference[f"{name}/xt"])
    torch.testing.assert_close(velocity(PATHS[name], x0, x1, t), reference[f"{name}/ut"])


def test_cosine_schedule_equals_the_reference(reference):
    table = reference["diffusion/alpha_bar"]
    ours = torch.tensor([cosine_alpha_bar(i / (len(table) - 1)) for i in range(len(table))])
    torch.testing.assert_close(ours, table, atol=1e-5, rtol=0)


TIMES = torch.tensor([0.0, 0.4, 0.9], dtype=torch.float64)


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.5])
def test_a_right_guess_gives_the_paths_velocity_at_its_start(sigma):
    u, x1 = ends()
    x0 = augment(u, torch.randn_like(u), torch.full((3,), sigma))
    v = velocity_to(x1, x0, u, torch.zeros(3), torch.full((3,), sigma), 0.5)
    torch.testing.assert_close(v, x1 - x0, atol=1e-5, rtol=0)


def test_without_noise_the_point_tells_the_endpoint_whatever_the_guess():
    u, x1 = ends()
    x = point_on_path(PATHS["linear"], u, x1, TIMES)
    v = velocity_to(100 * x1, x, u, TIMES, torch.zeros(3), 0.5)[1:]
    torch.testing.assert_close(v, (x1 - u)[1:], atol=0.05, rtol=0)


def test_the_linear_part_is_the_mean_of_gaussian_velocities():
    """With the linear estimate itself as the guess, v is the regression of the velocity on the point."""
    generator = torch.Generator().manual_seed(1)
    u, change, noise = torch.randn(3, 1, 200_000, generator=generator, dtype=torch.float64)
    sigma, t, deviation = torch.full((1,), 0.4), torch.full((1,), 0.3), 0.6
    x1, x0 = u + deviation * change, augment(u, noise, sigma)
    x = point_on_path(PATHS["linear"], x0, x1, t)
    middle = 0.7 * math.sqrt(1 - 0.16) + 0.3
    y = x - middle * u
    guess = u + y * (y * (x1 - u)).sum() / (y * y).sum()
    error = x1 - x0 - velocity_to(guess, x, u, t, sigma, deviation)
    for seen in (y, u):  # what is left has nothing to do with what is seen
        assert abs((error * seen).mean() / (error.std() * seen.std())) < 0.01


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_it_is_finite_at_both_ends(sigma):
    u, x1 = ends()
    for t in (0.0, 1e-6, 1.0):
        assert torch.isfinite(velocity_to(x1, u, u, torch.full((3,), t), torch.full((3,), sigma), 0.5)).all()
