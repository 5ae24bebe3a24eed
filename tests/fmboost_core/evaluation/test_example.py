from fractions import Fraction

import pytest
import torch
from helpers import write_tiny_vae
from PIL import Image

from fmboost_core import InputError
from fmboost_core.evaluation.example import crop_to_scale, make_example, read_scale
from fmboost_core.images import Picture
from fmboost_core.vae import load_vae


@pytest.mark.parametrize(
    ("text", "scale"),
    [("2", Fraction(2)), (1.5, Fraction(3, 2)), ("4/3", Fraction(4, 3)), ("1.333", Fraction(4, 3))],
)
def test_scales_are_ratios_of_small_numbers(text, scale):
    assert read_scale(text) == scale


@pytest.mark.parametrize("text", ["1", "0.5", "9", "-2", "two", "1/0", "nan", "inf", "1.03", ""])
def test_other_scales_are_refused_by_name(text):
    with pytest.raises(InputError, match=f"the scale is .*{text}"):
        read_scale(text)


@pytest.mark.parametrize(("scale", "size"), [("2", (304, 272)), ("1.5", (288, 264)), ("4", (288, 256))])
def test_crops_are_whole_latents_at_both_sizes_and_from_the_middle(scale, size):
    image = Image.linear_gradient("L").convert("RGB").resize((310, 278))
    cropped = crop_to_scale(image, Fraction(scale), 2048)
    assert cropped.size == size
    left, top = (310 - size[0]) // 2, (278 - size[1]) // 2
    assert cropped.getpixel((0, 0)) == image.getpixel((left, top))


def test_large_pictures_are_cropped_and_small_ones_refused():
    assert crop_to_scale(Image.new("RGB", (900, 400)), Fraction(2), 512).size == (512, 400)
    with pytest.raises(InputError, match=r"it has 500×191 pixels.*at least 192"):
        crop_to_scale(Image.new("RGB", (500, 191)), Fraction(2), 2048)


def test_an_example_holds_both_latents(tmp_path):
    vae = load_vae(write_tiny_vae(tmp_path))
    picture = Picture(Image.effect_noise((300, 260), 60).convert("RGB"))
    example = make_example(picture, Fraction(4, 3), vae, 2048)
    assert example.original.shape == (1, 3, 256, 288)
    assert (example.high.shape, example.low.shape) == ((1, 4, 32, 36), (1, 4, 24, 27))
    assert example.size == (32, 36)
    torch.testing.assert_close(example.high, vae.encode(example.original))
