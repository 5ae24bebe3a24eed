import pytest
import torch

from fmboost_core import InputError
from fmboost_core.upsampling import LATENT_MODES, resize_through_pixels, upsample


@pytest.mark.parametrize("mode", LATENT_MODES)
def test_constant_latents_stay_constant_at_any_size(mode):
    z = torch.tensor([1.0, -2.0, 3.0, 0.5]).reshape(1, 4, 1, 1).expand(1, 4, 5, 7)
    larger = upsample(z, (9, 14), mode)
    assert larger.shape == (1, 4, 9, 14)
    torch.testing.assert_close(larger, z[..., :1, :1].expand(1, 4, 9, 14))


def test_nearest_repeats_and_bilinear_averages():
    z = torch.tensor([[0.0, 1.0]]).reshape(1, 1, 1, 2)
    assert upsample(z, (1, 4), "nearest").flatten().tolist() == [0, 0, 1, 1]
    assert upsample(z, (1, 4), "bilinear").flatten().tolist() == [0, 0.25, 0.75, 1]


class _Codec:
    """Latents whose pixels are 8×8 copies of their channels."""

    seen = None

    def decode(self, z):
        return z.repeat_interleave(8, -1).repeat_interleave(8, -2)

    def encode(self, pixels):
        self.seen = pixels
        return torch.nn.functional.avg_pool2d(pixels, 8)


def test_psu_enlarges_the_picture_bilinearly_and_encodes_it():
    codec = _Codec()
    z = torch.randn(1, 3, 4, 6)
    larger = resize_through_pixels(z, (7, 9), codec)
    assert codec.seen.shape == (1, 3, 56, 72)
    assert larger.shape == (1, 3, 7, 9)
    expected = torch.nn.functional.interpolate(codec.decode(z), size=(56, 72), mode="bilinear")
    torch.testing.assert_close(codec.seen, expected)


def test_what_is_missing_is_named():
    with pytest.raises(InputError, match="no upsampling 'lanczos'"):
        upsample(torch.zeros(1, 4, 2, 2), (4, 4), "lanczos")
    with pytest.raises(InputError, match="connect the VAE"):
        upsample(torch.zeros(1, 4, 2, 2), (4, 4), "psu")
