import pytest
import torch

from fmboost_core import InputError
from fmboost_core.safetensors_file import write_tensors
from fmboost_core.tiny_vae import TinyDecoder, TinyEncoder


@pytest.mark.parametrize("channels", [4, 16])
def test_saved_weights_are_loaded_with_their_channels(tmp_path, channels):
    for cls, shape, expected in (
        (TinyEncoder, (1, 3, 16, 24), (1, channels, 2, 3)),
        (TinyDecoder, (1, channels, 2, 3), (1, 3, 16, 24)),
    ):
        model = cls(channels).eval()
        write_tensors(tmp_path / "vae.safetensors", model.state_dict())
        loaded = cls.load(tmp_path / "vae.safetensors")
        x = torch.randn(shape)
        assert loaded(x).shape == expected
        torch.testing.assert_close(loaded(x), model(x))


def test_features_are_taken_on_the_way_to_the_picture():
    decoder = TinyDecoder(4)
    shapes = [tuple(f.shape) for f in decoder.features(torch.randn(1, 4, 3, 5), 3)]
    assert shapes == [(1, 64, 3, 5), (1, 64, 6, 10), (1, 64, 12, 20)]


def test_the_fine_stages_can_look_at_a_part():
    decoder, z = TinyDecoder(4), torch.randn(1, 4, 32, 24)
    whole = decoder.features(z, 4)
    part = decoder.features(z, 4, (slice(2, 30), slice(4, 24)))
    for k in (0, 1):
        torch.testing.assert_close(part[k], whole[k])
    assert part[2].shape[-2:] == (28 * 4, 20 * 4)
    inside, shifted = (slice(80, 140), slice(80, 120)), (slice(80 - 16, 140 - 16), slice(80 - 32, 120 - 32))
    torch.testing.assert_close(part[3][..., shifted[0], shifted[1]], whole[3][..., inside[0], inside[1]])


def test_layers_are_numbered_as_in_the_published_files():
    assert {"0.weight", "1.conv.4.bias", "2.weight", "14.bias"} <= TinyEncoder().state_dict().keys()
    assert {
        "1.weight",
        "3.conv.0.weight",
        "7.weight",
        "18.conv.4.bias",
        "19.bias",
    } <= TinyDecoder().state_dict().keys()


def test_other_files_are_named(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.zeros(1)})
    with pytest.raises(InputError, match="not a TAESD decoder"):
        TinyDecoder.load(path)
    write_tensors(path, {"14.weight": torch.zeros(4, 64, 3, 3)})
    with pytest.raises(InputError, match="not a TAESD encoder"):
        TinyEncoder.load(path)
