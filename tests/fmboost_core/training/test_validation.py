import pytest
from helpers import photo, small_booster, write_tiny_vae
from PIL import Image

from fmboost_core import InputError
from fmboost_core.images import to_image
from fmboost_core.training.validation import TILE, Validation
from fmboost_core.vae import load_vae


def test_a_booster_is_measured_and_shown(tmp_path, caplog):
    images = tmp_path / "images"
    images.mkdir()
    to_image(photo(300)).save(images / "a.png")
    to_image(photo(100)).save(images / "small.png")
    validation = Validation(images, load_vae(write_tiny_vae(tmp_path)))
    assert "small.png" in caplog.text
    found = validation(small_booster(), tmp_path / "sheet.png")
    assert set(found) == {"psnr_d0", "psnr_d1", "haarpsi_d0", "haarpsi_d1", "energy_d0", "energy_d1"}
    assert 0 < found["psnr_d0"] < 30
    assert 0 < found["haarpsi_d1"] < 1
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.size == (4 * TILE, TILE)
    original = Image.open(images / "a.png").crop((22, 22, 278, 278))
    assert sheet.crop((3 * TILE, 0, 4 * TILE, TILE)).tobytes() == original.tobytes()


def test_without_a_usable_picture_there_is_nothing_to_measure(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.png").write_bytes(b"")
    with pytest.raises(InputError, match="can be used for validation"):
        Validation(tmp_path / "images", load_vae(write_tiny_vae(tmp_path)))
