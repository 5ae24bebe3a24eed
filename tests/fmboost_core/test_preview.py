from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import random_latent
from PIL import Image
from safetensors.torch import load_file

from fmboost_core import FAMILIES, OutputError
from fmboost_core.latent_file import read_latent
from fmboost_core.preview import latent_to_rgb, preview_image, write_preview

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_preview_shows_the_picture(family):
    """The first of the stored latents is the photo of the tests, encoded."""
    latent = load_file(DATA / "family_latents.safetensors")[family.name][:1].float()
    found = latent_to_rgb(latent, family)[0].movedim(0, -1).numpy()
    photo = Image.open(DATA / "photo.png").convert("RGB").resize((24, 24), Image.Resampling.BOX)
    wanted = np.asarray(photo, np.float32) / 255
    assert np.sqrt(((found - wanted) ** 2).mean()) < 0.13
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.9


def test_preview_has_the_size_of_the_decoded_picture_and_shows_every_item():
    family = FAMILIES["sd15"]
    assert preview_image(random_latent(1, 4, 6, 10), family).size == (80, 48)
    assert preview_image(random_latent(3, 4, 6, 10), family).size == (240, 48)
    assert preview_image(random_latent(1, 4, 2, 6, 10), family).size == (160, 48)


def test_preview_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "p.png"
    write_preview(path, torch.zeros(1, 4, 2, 2), FAMILIES["sd15"])
    assert Image.open(path).size == (16, 16)
    with pytest.raises(OutputError, match="exists already"):
        write_preview(path, torch.zeros(1, 4, 4, 4), FAMILIES["sd15"])
    assert Image.open(path).size == (16, 16)


def test_sample_latent_is_an_ordinary_latent():
    samples = read_latent(Path(__file__).parents[2] / "examples" / "sample.latent").samples
    assert samples.shape == (1, 4, 64, 64)
    assert FAMILIES["sd15"].lookalike(samples) is None
