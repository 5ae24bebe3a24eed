import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from fmboost_core import InputError
from fmboost_core.safetensors_file import read_tensors
from fmboost_core.training.pairs import METADATA_KEY, PairSettings, degraded, encode_pairs, random_crop
from fmboost_core.training.sources import find_pictures, plan_shards

SETTINGS = PairSettings("sd15", crop=32, crops=2)


class Averaging:
    """A VAE that averages 8×8 pixels; the fourth channel is their mean."""

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.avg_pool2d(pixels, 8)
        return torch.cat([small, small.mean(1, keepdim=True)], dim=1)


class Refusing:
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        raise AssertionError("encoded again")


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i, size in enumerate([(300, 260), (256, 256), (450, 350), (150, 400)]):
        coarse = Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return plan_shards(find_pictures(folder), 8)


def encoded(shards, out, **changes) -> dict[str, torch.Tensor]:
    encode_pairs(shards, Averaging(), out, dataclasses.replace(SETTINGS, **changes))
    return read_tensors(out / "000000.safetensors")[0]


def test_pairs_show_the_same_crop_at_several_sizes(shards, tmp_path, caplog):
    assert encode_pairs(shards, Averaging(), tmp_path / "out", SETTINGS) == 6
    tensors, metadata = read_tensors(tmp_path / "out" / "000000.safetensors")
    facts = json.loads(metadata[METADATA_KEY])
    assert (facts["family"], facts["crop"], facts["seed"]) == ("sd15", 32, 0)
    (between,) = {int(name[1:]) for name in tensors} - {32, 16}
    assert between in SETTINGS.sizes_between
    assert {tuple(v.shape[:2]) for v in tensors.values()} == {(6, 4)}
    assert tensors[f"z{between}"].shape[-1] == between
    shrunk = torch.nn.functional.avg_pool2d(tensors["z32"].float(), 2)
    torch.testing.assert_close(shrunk, tensors["z16"].float(), atol=0.03, rtol=0)
    left_out = [r.getMessage() for r in caplog.records]
    assert len(left_out) == 2
    assert any("broken.png cannot be read" in line for line in left_out)
    assert any("3.png: 150×400 pixels, at least 256" in line for line in left_out)


def test_shards_that_exist_are_not_made_again(shards, tmp_path):
    encode_pairs(shards, Averaging(), tmp_path / "out", SETTINGS)
    assert encode_pairs(shards, Refusing(), tmp_path / "out", SETTINGS) == 6


def test_a_folder_of_other_pictures_or_settings_is_not_mixed_up(shards, tmp_path):
    encode_pairs(shards, Averaging(), tmp_path / "out", SETTINGS)
    with pytest.raises(InputError, match="made with another crops: choose another folder"):
        encode_pairs(shards, Averaging(), tmp_path / "out", dataclasses.replace(SETTINGS, crops=3))
    fewer = [dataclasses.replace(shards[0], pictures=shards[0].pictures[1:])]
    with pytest.raises(InputError, match="made with another pictures"):
        encode_pairs(fewer, Averaging(), tmp_path / "out", SETTINGS)


def test_crops_depend_on_seed_and_name_alone(shards, tmp_path):
    a, b, c = (encoded(shards, tmp_path / name, seed=s) for name, s in (("a", 0), ("b", 0), ("c", 1)))
    assert torch.equal(a["z32"], b["z32"])
    assert not torch.equal(a["z32"], c["z32"])
    # Another selection of pictures leaves each picture's crops as they were.
    usable = [p for p in shards[0].pictures if p.name in ("0.png", "1.png", "2.png")]
    last = [dataclasses.replace(shards[0], pictures=usable[-1:])]
    assert torch.equal(encoded(last, tmp_path / "d")["z32"], a["z32"][-2:])


def test_degraded_copies_differ_from_clean_ones_but_the_target_does_not(shards, tmp_path):
    clean, poor = encoded(shards, tmp_path / "clean"), encoded(shards, tmp_path / "poor", degrade=1.0)
    assert torch.equal(clean["z32"][::2], poor["z32"][::2])
    assert not torch.equal(clean["z16"][::2], poor["z16"][::2])


def test_degradations_are_slight():
    image = Image.effect_noise((64, 64), 20).convert("RGB")
    rng = np.random.default_rng(0)
    errors = [np.abs(np.asarray(degraded(image, rng), float) - np.asarray(image)).mean() for _ in range(30)]
    assert min(errors) > 0
    assert max(errors) < 16  # what a flat picture would be off


def test_half_of_the_crops_are_mirrored():
    image = Image.linear_gradient("L").rotate(90).convert("RGB").resize((64, 64))
    rng = np.random.default_rng(0)
    crops = [random_crop(image, 64, rng, shrink=False) for _ in range(40)]
    mirrored = sum(c.getpixel((0, 0))[0] != image.getpixel((0, 0))[0] for c in crops)
    assert 10 < mirrored < 30


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"family": "sd9"}, "no latent family 'sd9'"),
        ({"crop": 30}, "multiple of 4"),
        ({"crops": 0}, "crops is 0"),
        ({"between": 99}, "between is 99"),
        ({"degrade": 1.5}, "degrade is 1.5"),
    ],
)
def test_settings_out_of_range_are_named(change, complaint):
    with pytest.raises(InputError, match=complaint):
        dataclasses.replace(SETTINGS, **change)


def test_an_encoder_of_another_family_is_noticed(shards, tmp_path):
    with pytest.raises(InputError, match="makes 4 channels, but flux has 16"):
        encoded(shards, tmp_path / "out", family="flux")
    assert not list((tmp_path / "out").glob("*"))
