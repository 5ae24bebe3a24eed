import pytest
import torch
import torch.nn.functional as F
from helpers import DATA
from safetensors.torch import load_file

from fmboost_core import FAMILIES, InputError, builtin, builtin_for, builtin_models, find_model, inspect, load


def test_sd15_comes_first():
    assert next(iter(builtin_models())) == "boostnet-sd15"
    assert builtin_for("sd15") == find_model("boostnet-sd15")


@pytest.mark.parametrize("name", builtin_models())
def test_built_in_models_say_what_they_are(name):
    info = inspect(find_model(name))
    assert name == f"boostnet-{info.spec.family}"
    assert info.network in ("boostnet", "bridgenet")
    assert info.bytes <= 25_000_000
    assert info.receptive_field
    assert info.spec.training["steps"] > 0
    assert info.spec.licence == "MIT"


@pytest.mark.parametrize("name", builtin_models())
def test_built_in_models_beat_bicubic_on_a_latent_they_never_saw(name):
    """`pair_FAMILY.safetensors`: a picture's latent, and that of the picture halved in pixels."""
    booster = load(find_model(name), dtype=torch.float32)
    pair = load_file(DATA / f"pair_{booster.spec.family}.safetensors")
    low, high = pair["low"].float(), pair["high"].float()
    boosted = booster.boost(low, high.shape[-2:])
    plain = F.interpolate(low, size=high.shape[-2:], mode="bicubic")
    # They are trained for what a decoder shows; the latent's own numbers come second, most of all SDXL's.
    share = 0.85 if booster.spec.family == "sdxl" else 0.75
    assert (boosted - high).square().mean() < share * (plain - high).square().mean()


@pytest.mark.parametrize("factor", [1.5, 2, 4])
@pytest.mark.parametrize("name", builtin_models())
def test_built_in_models_give_the_same_by_tiles(name, factor):
    booster = load(find_model(name), dtype=torch.float32)
    low = load_file(DATA / f"pair_{booster.spec.family}.safetensors")["low"].float()[..., :23, :19]
    size = (round(23 * factor), round(19 * factor))
    whole, tiled = (booster.boost(low, size, detail=0.7, steps=2, tile=tile) for tile in (0, 18))
    # A cascade magnifies rounding, most of all SDXL's: no further apart than a few times what
    # the input's last digit makes.
    last_digit = 1e-7 * torch.randn(low.shape, generator=torch.Generator().manual_seed(0))
    nudged = booster.boost(low * (1 + last_digit), size, detail=0.7, steps=2)
    apart = (tiled - whole).abs()
    assert apart.max() <= max(1e-4 * whole.std(), 5 * (nudged - whole).abs().max())
    assert apart.max() < 0.01 * whole.std() and apart.mean() <= 1e-4 * whole.std()


@pytest.mark.parametrize("name", builtin_models())
def test_built_in_models_boost_an_item_of_a_batch_as_alone(name):
    booster = load(find_model(name), dtype=torch.float32)
    low = load_file(DATA / f"pair_{booster.spec.family}.safetensors")["low"].float()
    batch, size = torch.cat([low, low.flip(-1), low.flip(-2)]), (48, 48)
    together = booster.boost(batch, size, detail=0.5, steps=2, seeds=9)
    alone = booster.boost(batch[2:], size, detail=0.5, steps=2, seeds=11)
    torch.testing.assert_close(together[2:], alone, atol=1e-4, rtol=0)


def test_unknown_names_say_what_there_is():
    with pytest.raises(InputError, match="no latent family 'sd9': choose one of sd15"):
        builtin_for("sd9")
    with pytest.raises(InputError, match="boostnet-sd15"):
        find_model("boostnet-sd9")


def test_every_family_has_a_built_in_model(monkeypatch, tmp_path):
    assert list(builtin_models()) == [f"boostnet-{family}" for family in FAMILIES]
    monkeypatch.setattr(builtin, "FOLDER", tmp_path)
    with pytest.raises(InputError, match=r"no built-in model for flux \(built in: none yet\)"):
        builtin_for("flux")
