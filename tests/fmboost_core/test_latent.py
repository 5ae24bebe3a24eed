import pytest
import torch
from helpers import random_latent, small_booster

from fmboost_core import InputError, boost_latent, latent_size
from fmboost_core.latent import resize_mask


@pytest.fixture(scope="module")
def booster():
    return small_booster()


def test_other_entries_are_kept_and_the_input_is_left(booster):
    mask = torch.ones(1, 1, 64, 64)
    latent = {
        "samples": random_latent(1, 4, 8, 8),
        "noise_mask": mask,
        "downscale_ratio_spacial": 8,
        "mine": [1],
    }
    before = dict(latent)
    boosted = boost_latent(booster, latent, (16, 16))
    assert boosted["samples"].shape == (1, 4, 16, 16)
    assert (boosted["downscale_ratio_spacial"], boosted["mine"]) == (8, [1])
    assert boosted["noise_mask"].shape == (1, 1, 128, 128)
    assert latent.keys() == before.keys()
    assert all(latent[k] is before[k] for k in latent)


def test_an_item_taken_out_of_a_batch_keeps_its_noise(booster):
    samples = random_latent(4, 4, 8, 8)
    batch = boost_latent(booster, {"samples": samples}, (16, 16), seed=9, detail=1.0)
    alone = boost_latent(booster, {"samples": samples[2:3], "batch_index": [2]}, (16, 16), seed=9, detail=1.0)
    torch.testing.assert_close(alone["samples"], batch["samples"][2:3], atol=1e-4, rtol=0)
    assert alone["batch_index"] == [2]


def test_a_batch_index_that_does_not_fit_is_ignored(booster):
    samples = random_latent(2, 4, 8, 8)
    odd = boost_latent(booster, {"samples": samples, "batch_index": [5]}, (16, 16), detail=1.0)
    plain = boost_latent(booster, {"samples": samples}, (16, 16), detail=1.0)
    assert torch.equal(odd["samples"], plain["samples"])


@pytest.mark.parametrize(
    ("mask", "expected"),
    [((8, 8), (16, 24)), ((1, 64, 64), (1, 128, 192)), ((2, 1, 8, 8), (2, 1, 16, 24)),
     ((1, 1, 3, 8, 8), (1, 1, 3, 16, 24)), ((1, 1, 100, 50), (1, 1, 200, 150))],
)  # fmt: skip
def test_masks_of_any_layout_grow_alike(mask, expected):
    assert resize_mask(torch.rand(mask), (8, 8), (16, 24)).shape == expected


def test_mask_stays_where_it_was():
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    larger = resize_mask(mask, (8, 8), (16, 16))
    assert larger[..., :60].eq(1).all()
    assert larger[..., 68:].eq(0).all()


def test_size_of_a_latent(booster):
    assert latent_size({"samples": torch.zeros(1, 4, 3, 8, 9)}, booster) == (8, 9)
    with pytest.raises(InputError, match="no 'samples'"):
        latent_size({}, booster)
    with pytest.raises(InputError, match="3 dimensions"):
        latent_size({"samples": torch.zeros(4, 8, 9)}, booster)
