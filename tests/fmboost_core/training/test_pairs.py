import numpy as np
import pytest
import torch
from PIL import Image

from fmboost_core import InputError
from fmboost_core.images import find_images
from fmboost_core.safetensors_file import read_tensors
from fmboost_core.training.pairs import encode_pairs


def encode(pixels: torch.Tensor) -> torch.Tensor:
    """A VAE that averages 8×8 pixels; the fourth channel is their mean."""
    small = torch.nn.functional.avg_pool2d(pixels, 8)
    return torch.cat([small, small.mean(1, keepdim=True)], dim=1)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for i, size in enumerate([(600, 520), (512, 512), (900, 700), (300, 800)]):
        coarse = Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(tmp_path / f"{i}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path


def test_pairs_show_the_same_crop_at_three_sizes(folder, tmp_path, caplog):
    count = encode_pairs(find_images(folder), encode, tmp_path / "out", family="sd15")
    tensors, metadata = read_tensors(tmp_path / "out" / "0000.safetensors")
    assert count == 6
    assert metadata == {"family": "sd15"}
    assert {k: tuple(v.shape) for k, v in tensors.items()} == {
        "z64": (6, 4, 64, 64), "z32": (6, 4, 32, 32), "z36": (6, 4, 36, 36),
    }  # fmt: skip
    shrunk = torch.nn.functional.avg_pool2d(tensors["z64"].float(), 2)
    torch.testing.assert_close(shrunk, tensors["z32"].float(), atol=0.03, rtol=0)
    left_out = " ".join(r.getMessage() for r in caplog.records)
    assert "broken.png" in left_out
    assert "3.png is left out: 300×800" in left_out


def test_shards_that_exist_are_not_made_again(folder, tmp_path):
    images = find_images(folder)
    encode_pairs(images, encode, tmp_path / "out", family="sd15")

    def refuse(_):
        raise AssertionError("encoded again")

    assert encode_pairs(images, refuse, tmp_path / "out", family="sd15") == 6


def test_crops_depend_on_seed_and_name_alone(folder, tmp_path):
    images = find_images(folder)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        encode_pairs(images, encode, tmp_path / name, family="sd15", seed=seed)
    a, b, c = (read_tensors(tmp_path / n / "0000.safetensors")[0]["z64"] for n in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_a_folder_without_pictures_is_named(tmp_path):
    with pytest.raises(InputError, match="holds no pictures"):
        find_images(tmp_path)
