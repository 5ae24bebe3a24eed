import logging
from pathlib import Path

import pytest
import torch
from helpers import random_latent, small_booster
from safetensors.torch import load_file

from fmboost_core import FAMILIES

REAL = load_file(Path(__file__).parents[1] / "data" / "family_latents.safetensors")
TWINS = {"sd15": "sdxl", "sdxl": "sd15", "sd3": "flux", "flux": "sd3"}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_scaling_round_trips(family):
    samples = random_latent(1, family.channels, 4, 4)
    torch.testing.assert_close(family.from_model(family.to_model(samples)), samples)


def test_scaling_is_that_of_the_families_vaes():
    assert FAMILIES["sd15"].to_model(torch.tensor(10.0)) == pytest.approx(1.8215)
    assert FAMILIES["flux"].to_model(torch.tensor(1.1159)) == pytest.approx(0.3611)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_model_space_has_about_unit_variance(family):
    assert 0.5 < family.to_model(REAL[family.name].float()).std() < 1.5


@pytest.mark.parametrize("name", FAMILIES)
def test_real_latents_of_the_own_family_raise_no_alarm(name):
    for latent in REAL[name].float().split(1):
        assert FAMILIES[name].lookalike(latent) is None


@pytest.mark.parametrize("name", FAMILIES)
def test_real_latents_of_the_twin_family_are_recognised(name):
    twins = [FAMILIES[name].lookalike(latent) for latent in REAL[TWINS[name]].float().split(1)]
    recognised = [t for t in twins if t is not None]
    assert all(t.name == TWINS[name] for t in recognised)
    assert len(recognised) >= 5


def test_too_small_a_latent_is_not_judged():
    assert FAMILIES["sd15"].lookalike(REAL["sdxl"][:1, :, :4, :4]) is None


def test_booster_warns_in_one_line_and_goes_on(caplog):
    with caplog.at_level(logging.WARNING):
        out = small_booster().boost(REAL["sdxl"][:1].float(), (48, 48))
    assert out.shape == (1, 4, 48, 48)
    (record,) = caplog.records
    assert "boosts sd15 latents, but these look like sdxl" in record.getMessage()


def test_wrong_channels_name_the_families_that_have_them():
    message = FAMILIES["sd15"].explain_channels(16)
    assert "sd15 latents (Stable Diffusion 1.x and 2.x) of 4 channels" in message
    assert "sd3" in message and "flux" in message
    assert "no known family" in FAMILIES["flux"].explain_channels(7)
