import itertools

import pytest
import torch
from helpers import lively, random_latent, small_booster

from fmboost_core import FAMILIES, Booster, BoosterSpec, FMBoostError, InputError
from fmboost_core.networks.unet import UNet, UNetConfig


@pytest.fixture(scope="module")
def booster():
    return small_booster()


@pytest.mark.parametrize(
    ("source", "target"),
    [((8, 8), (16, 16)), ((7, 5), (13, 9)), ((1, 1), (2, 2)), ((1, 1), (8, 8)), ((1, 64), (2, 128)),
     ((9, 9), (9, 18)), ((8, 8), (32, 32)), ((5, 7), (33, 50))],
)  # fmt: skip
def test_sizes_are_exact(booster, source, target):
    out = booster.boost(random_latent(1, 4, *source), target, detail=0.5)
    assert out.shape == (1, 4, *target)
    assert torch.isfinite(out).all()


def test_factor_one_is_the_latent_itself(booster):
    samples = random_latent(1, 4, 8, 8)
    assert booster.boost(samples, (8, 8), detail=1.0) is samples


def test_an_untrained_booster_is_bicubic_interpolation():
    from fmboost_core.networks.boostnet import BoostNet, BoostNetConfig

    booster = Booster(BoostNet(BoostNetConfig(4, 64, 1)), BoosterSpec("sd15"))
    samples = random_latent(1, 4, 8, 8)
    plain = torch.nn.functional.interpolate(samples, size=(16, 16), mode="bicubic")
    torch.testing.assert_close(booster.boost(samples, (16, 16)), plain, atol=1e-4, rtol=0)


def test_input_is_left_as_it_was(booster):
    samples = random_latent(2, 4, 8, 8)
    before = samples.clone()
    booster.boost(samples, (16, 16), detail=0.5)
    assert torch.equal(samples, before)


@pytest.mark.parametrize("solver", ["euler", "heun", "dopri5"])
def test_an_item_of_a_batch_equals_the_item_alone(booster, solver):
    samples = random_latent(3, 4, 9, 7)
    together = booster.boost(samples, (18, 14), detail=0.8, steps=2, solver=solver, seeds=40)
    for i in range(3):
        alone = booster.boost(samples[i : i + 1], (18, 14), detail=0.8, steps=2, solver=solver, seeds=40 + i)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=0)


def test_a_second_run_is_bit_equal(booster):
    samples = random_latent(2, 4, 9, 7)
    first, second = (booster.boost(samples, (40, 30), detail=0.8, steps=3, seeds=7) for _ in range(2))
    assert torch.equal(first, second)


def test_the_global_random_state_neither_matters_nor_moves(booster):
    samples = random_latent(1, 4, 8, 8)
    torch.manual_seed(1)
    first = booster.boost(samples, (16, 16), detail=0.8, seeds=7)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, booster.boost(samples, (16, 16), detail=0.8, seeds=7))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


def test_seeds_matter_with_detail_and_only_then(booster):
    samples = random_latent(1, 4, 8, 8)

    def boost(seed: int, detail: float) -> torch.Tensor:
        return booster.boost(samples, (16, 16), detail=detail, seeds=seed)

    assert torch.equal(boost(1, 0.0), boost(2, 0.0))
    assert not torch.equal(boost(1, 0.5), boost(2, 0.5))


def test_any_integer_is_a_seed(booster):
    samples = random_latent(2, 4, 4, 4)
    for seed in (2**64 - 1, -3):
        assert torch.isfinite(booster.boost(samples, (8, 8), detail=1.0, seeds=seed)).all()


def test_frames_of_a_video_latent_are_boosted_one_by_one(booster):
    video = random_latent(2, 4, 3, 6, 5)
    out = booster.boost(video, (12, 10), detail=0.0)
    assert out.shape == (2, 4, 3, 12, 10)
    alone = booster.boost(video[:, :, 1], (12, 10), detail=0.0)
    torch.testing.assert_close(out[:, :, 1], alone, atol=1e-4, rtol=0)


def test_one_frame_is_the_picture(booster):
    samples = random_latent(1, 4, 6, 5)
    picture = booster.boost(samples, (12, 10), detail=0.6, seeds=3)
    frame = booster.boost(samples[:, :, None], (12, 10), detail=0.6, seeds=3)
    torch.testing.assert_close(frame[:, :, 0], picture, atol=1e-5, rtol=0)


def test_an_empty_batch_stays_empty(booster):
    assert booster.boost(torch.zeros(0, 4, 8, 8), (16, 16), detail=0.5).shape == (0, 4, 16, 16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_type_is_welcome(booster, dtype):
    samples = random_latent(1, 4, 8, 8)
    out = booster.boost(samples.to(dtype), (16, 16))
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, booster.boost(samples, (16, 16)), atol=0.2, rtol=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_networks_agree_with_full(dtype):
    samples = random_latent(1, 4, 16, 16)
    full = small_booster().boost(samples, (32, 32), detail=0.5, steps=2)
    half = small_booster()
    half.network.to(dtype)
    error = (half.boost(samples, (32, 32), detail=0.5, steps=2) - full).abs().mean() / full.abs().mean()
    assert error < 0.02


def test_unusual_tensors_are_welcome(booster):
    samples = random_latent(1, 4, 8, 6)
    expected = booster.boost(samples, (16, 12))
    strided = samples.transpose(2, 3).contiguous().transpose(2, 3)
    assert torch.equal(booster.boost(strided, (16, 12)), expected)
    assert torch.equal(booster.boost(samples.clone().requires_grad_(), (16, 12)), expected)
    with torch.inference_mode():
        inference = samples.clone()
    assert torch.equal(booster.boost(inference, (16, 12)), expected)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (torch.zeros(4, 8, 8), "3 dimensions"),
        (torch.zeros(1, 1, 4, 1, 8, 8), "6 dimensions"),
        (torch.zeros(1, 16, 8, 8), "16 channels.*sd3.*flux"),
        (torch.zeros(1, 5, 8, 8), "5 channels.*sd15"),
        (torch.full((1, 4, 8, 8), float("nan")), "NaN or infinite"),
        (torch.full((1, 4, 8, 8), float("inf")), "NaN or infinite"),
        (torch.zeros(1, 4, 0, 8), "empty"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.int64), "floating point is needed"),
        (None, "NoneType"),
    ],
)
def test_latents_that_cannot_be_boosted_are_named(booster, samples, message):
    with pytest.raises(InputError, match=message) as caught:
        booster.boost(samples, (16, 16))
    assert "\n" not in str(caught.value)


def test_nested_samples_are_named(booster):
    class Nested:
        is_nested = True

    with pytest.raises(InputError, match="nested"):
        booster.boost(Nested(), (16, 16))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detail": 1.5}, "detail is 1.5"),
        ({"detail": float("nan")}, "detail is nan"),
        ({"steps": 0}, "steps is 0"),
        ({"solver": "magic"}, "no solver 'magic'"),
        ({"tile": -1}, "tile is -1"),
        ({"seeds": [1, 2, 3]}, "3 seeds were given for 1"),
    ],
)
def test_wrong_options_are_named(booster, options, message):
    with pytest.raises(InputError, match=message):
        booster.boost(random_latent(1, 4, 8, 8), (16, 16), **options)


def test_a_smaller_target_is_refused(booster):
    with pytest.raises(InputError, match="only enlarges"):
        booster.boost(random_latent(1, 4, 8, 8), (16, 4))


@pytest.mark.parametrize("solver", ["euler", "rk4", "dopri5"])
def test_progress_counts_every_evaluation_of_all_stages(booster, solver):
    seen = []
    booster.boost(random_latent(2, 4, 8, 8), (32, 32), steps=3, solver=solver, watch=seen.append)
    assert [p.done for p in seen] == list(range(1, len(seen) + 1))
    total = booster.evaluations((8, 8), (32, 32), solver=solver, steps=3)
    assert all(p.total == total for p in seen)
    if total is not None:
        assert len(seen) == total
    assert all(a.fraction <= b.fraction for a, b in itertools.pairwise(seen))
    assert seen[-1].fraction == pytest.approx(1)


def test_last_preview_is_the_result(booster):
    seen = []
    out = booster.boost(random_latent(1, 4, 8, 8), (16, 16), detail=0.4, steps=2, watch=seen.append)
    torch.testing.assert_close(FAMILIES["sd15"].from_model(seen[-1].preview()), out)


def test_what_the_watcher_raises_ends_the_boost_at_once(booster):
    seen = []

    def cancel(progress):
        seen.append(progress)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        booster.boost(random_latent(1, 4, 8, 8), (16, 16), steps=9, watch=cancel)
    assert len(seen) == 1


def test_an_overflow_is_named_and_no_black_picture():
    booster = small_booster()
    with torch.no_grad():
        booster.network.head.bias.fill_(1e38)
    booster.network.to(torch.float16)
    with pytest.raises(FMBoostError, match="overflowed in float16: choose precision"):
        booster.boost(random_latent(1, 4, 8, 8), (16, 16))


def test_channel_normalisation_is_applied_both_ways():
    mean, std = (1.0, -2.0, 0.5, 3.0), (2.0, 0.5, 1.0, 4.0)
    plain = small_booster()
    normalised = Booster(plain.network, BoosterSpec("sd15", mean=mean, std=std))
    family = FAMILIES["sd15"]
    shape = (1, 4, 1, 1)
    shift, scale = torch.tensor(mean).reshape(shape), torch.tensor(std).reshape(shape)
    samples = random_latent(1, 4, 8, 8)
    moved = family.from_model(family.to_model(samples) * scale + shift)
    expected = family.to_model(plain.boost(samples, (16, 16))) * scale + shift
    out = family.to_model(normalised.boost(moved, (16, 16)))
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)


class _DoublingCodec:
    """A VAE in whose pixels a latent is written plainly: channels to RGB, each latent pixel 8×8."""

    def decode(self, z):
        return z[:, :3].repeat_interleave(8, -1).repeat_interleave(8, -2)

    def encode(self, pixels):
        small = torch.nn.functional.avg_pool2d(pixels, 8)
        return torch.cat([small, small[:, :1]], dim=1)


def test_pixel_space_upsampling_uses_the_vae():
    booster = small_booster(source_upsampling="psu", context_upsampling="psu")
    assert booster.needs_vae
    with pytest.raises(InputError, match="connect the VAE"):
        booster.boost(random_latent(1, 4, 8, 8), (16, 16))
    out = booster.boost(random_latent(1, 4, 8, 8), (16, 16), codec=_DoublingCodec())
    assert out.shape == (1, 4, 16, 16)


def test_a_model_of_one_noise_level_ignores_detail():
    booster = small_booster(sigma_range=(0.588, 0.588))
    samples = random_latent(1, 4, 8, 8)
    assert torch.equal(booster.boost(samples, (16, 16), detail=0), booster.boost(samples, (16, 16), detail=1))


def test_paper_network_boosts_any_size():
    config = UNetConfig(
        4, model_channels=32, num_res_blocks=1, channel_mult=(1, 2, 2), attention_factors=(4,)
    )
    booster = Booster(lively(UNet(config)), BoosterSpec("sd15", sigma_range=(0.588, 0.588)))
    out = booster.boost(random_latent(1, 4, 9, 7), (17, 15), steps=2)
    assert out.shape == (1, 4, 17, 15)
