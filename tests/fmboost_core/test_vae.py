import hashlib

import pytest
import torch
from helpers import photo, write_tiny_vae

from fmboost_core import InputError
from fmboost_core.vae import load_vae, sha256


@pytest.mark.parametrize("suffix", ["", "_encoder.safetensors", "_decoder.safetensors"])
def test_a_vae_is_found_by_either_half_by_name_and_by_folder(tmp_path, suffix):
    path = write_tiny_vae(tmp_path, channels=16)
    vae = load_vae(path.with_name(path.name + suffix))
    assert (vae.name, vae.channels) == ("tiny", 16)
    assert load_vae(tmp_path).sha256 == vae.sha256
    z = vae.encode(photo())
    assert (z.shape, z.dtype) == ((1, 16, 16, 16), torch.float32)
    pixels = vae.decode(z)
    assert (pixels.shape, pixels.dtype) == ((1, 3, 128, 128), torch.float32)
    assert pixels.min() >= 0
    assert pixels.max() <= 1


def test_the_hash_covers_both_halves(tmp_path):
    path = write_tiny_vae(tmp_path)
    files = [tmp_path / f"tiny_{half}.safetensors" for half in ("encoder", "decoder")]
    assert load_vae(path).sha256 == hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()
    assert sha256(files[0]) != sha256(files[1])


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match="must hold one tiny VAE, but holds none"):
        load_vae(tmp_path)
    path = write_tiny_vae(tmp_path)
    (tmp_path / "tiny_decoder.safetensors").rename(tmp_path / "other_encoder.safetensors")
    with pytest.raises(InputError, match=r"there is no .*tiny_decoder"):
        load_vae(path)
    with pytest.raises(InputError, match="holds other, tiny: name one"):
        load_vae(tmp_path)
