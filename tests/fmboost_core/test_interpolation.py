import pytest
import torch
from helpers import DATA

from fmboost_core.interpolation import LATENT_METHODS, enlarge_latent, enlarge_pixels
from fmboost_core.safetensors_file import read_tensors


@pytest.mark.parametrize("method", LATENT_METHODS)
def test_latents_are_enlarged_as_by_comfyui(method):
    golden, _ = read_tensors(DATA / "core_interpolation.safetensors")
    found = enlarge_latent(golden["input"], (12, 7), method)
    torch.testing.assert_close(found, golden[method], atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", ["bicubic", "lanczos"])
def test_pixels_keep_their_range_and_their_mean(method):
    pixels = torch.rand(1, 3, 24, 16, generator=torch.Generator().manual_seed(0)).round()
    found = enlarge_pixels(pixels, (48, 32), method)
    assert found.shape == (1, 3, 48, 32)
    assert found.min() >= 0
    assert found.max() <= 1
    torch.testing.assert_close(found.mean(), pixels.mean(), atol=0.02, rtol=0)
