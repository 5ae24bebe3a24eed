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


@pytest.fixture
def diffusers_folder(tmp_path):
    diffusers = pytest.importorskip("diffusers", reason="reading its layout needs diffusers")
    torch.manual_seed(0)
    model = diffusers.AutoencoderKL(
        block_out_channels=(32, 32, 32, 32), down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4, latent_channels=16, scaling_factor=0.3611,
        shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    model.save_pretrained(tmp_path / "flux-vae")
    return tmp_path / "flux-vae", model.eval()


def test_a_vae_in_diffusers_layout_speaks_model_space(diffusers_folder):
    folder, model = diffusers_folder
    vae = load_vae(folder)
    assert (vae.name, vae.channels, vae.tiny) == ("flux-vae", 16, False)
    with torch.inference_mode():
        z = vae.encode(photo(64))
        raw = model.encode(2 * photo(64) - 1).latent_dist.mode()
        torch.testing.assert_close(z, (raw - 0.1159) * 0.3611, atol=1e-4, rtol=1e-4)
        expected = (model.decode(raw).sample / 2 + 0.5).clamp(0, 1)
        torch.testing.assert_close(vae.decode(z), expected, atol=1e-4, rtol=1e-4)


def test_other_things_in_diffusers_layout_are_named(diffusers_folder):
    folder, _ = diffusers_folder
    config = folder / "config.json"
    whole = config.read_text()
    config.write_text(whole.replace("AutoencoderKL", "UNet2DConditionModel"))
    with pytest.raises(InputError, match="holds a UNet2DConditionModel, not a VAE"):
        load_vae(folder)
    config.write_text("{")
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        load_vae(folder)
    config.write_text(whole)
    next(folder.glob("*.safetensors")).unlink()
    with pytest.raises(InputError, match="is not a whole VAE"):
        load_vae(folder)
