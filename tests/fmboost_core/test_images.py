import numpy as np
import pytest
from PIL import Image

from fmboost_core import InputError
from fmboost_core.images import centre_crop, find_images, read_picture, to_image, to_tensor


@pytest.fixture
def gradient() -> Image.Image:
    return Image.linear_gradient("L").resize((40, 30))


def test_pictures_are_found_by_name_readable_or_not(tmp_path, gradient):
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "a.JPG", "sub/c.webp"):
        gradient.save(tmp_path / name)
    (tmp_path / "drawing.svg").write_text("<svg/>")
    (tmp_path / "notes.txt").write_text("no picture")
    found = [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)]
    assert found == ["a.JPG", "b.png", "drawing.svg", "sub/c.webp"]


def test_no_folder_and_an_empty_folder_are_told_apart(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        find_images(tmp_path / "absent")
    with pytest.raises(InputError, match="holds no pictures"):
        find_images(tmp_path)


def test_grey_pictures_become_rgb_at_8_and_at_16_bits(tmp_path, gradient):
    gradient.save(tmp_path / "8.png")
    levels = np.asarray(gradient).astype(np.uint16) * 257
    Image.fromarray(levels).save(tmp_path / "16.png")
    for name, note in (("8.png", "grey"), ("16.png", "grey, 16 bits")):
        picture = read_picture(tmp_path / name)
        assert picture.note == note
        assert np.array_equal(np.asarray(picture.image), np.asarray(gradient.convert("RGB")))


def test_transparency_is_laid_on_white_where_there_is_any(tmp_path):
    image = Image.new("RGBA", (8, 8), (200, 0, 0, 255))
    image.save(tmp_path / "opaque.png")
    image.putpixel((0, 0), (200, 0, 0, 0))
    image.save(tmp_path / "clear.png")
    assert read_picture(tmp_path / "opaque.png").note == ""
    clear = read_picture(tmp_path / "clear.png")
    assert clear.note == "transparency laid on white"
    assert [clear.image.getpixel(p) for p in ((0, 0), (1, 0))] == [(255, 255, 255), (200, 0, 0)]


def test_cameras_that_were_turned(tmp_path, gradient):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90°
    gradient.convert("RGB").save(tmp_path / "turned.jpg", exif=exif)
    assert read_picture(tmp_path / "turned.jpg").image.size == (30, 40)


@pytest.mark.parametrize(
    "name", ["text.png", "cut.png", "cut.jpg", "drawing.svg", "empty.webp", "float.tiff"]
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, gradient, name):
    path = tmp_path / name
    if name.startswith("cut"):
        noise = Image.effect_noise((200, 200), 80)
        noise.save(path)
        path.write_bytes(path.read_bytes()[:5000])
    elif name == "float.tiff":
        Image.fromarray(np.ones((8, 8), np.float32)).save(path)
    else:
        path.write_text("" if name == "empty.webp" else "<svg/>")
    with pytest.raises(InputError, match=rf"{name} cannot be read as a picture: \S.+") as caught:
        read_picture(path)
    assert "\n" not in str(caught.value)


def test_a_picture_that_claims_to_be_enormous_is_refused(tmp_path, monkeypatch):
    Image.new("RGB", (300, 300)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(InputError, match=r"bomb\.png cannot be read"):
        read_picture(tmp_path / "bomb.png")


def test_tensors_and_pictures_turn_into_each_other():
    image = Image.effect_noise((7, 5), 90).convert("RGB")
    tensor = to_tensor(image)
    assert tensor.shape == (1, 3, 5, 7)
    assert np.array_equal(np.asarray(to_image(tensor)), np.asarray(image))
    assert to_image(tensor * 9 - 4).getextrema()[0] == (0, 255)


def test_the_middle_of_a_picture(gradient):
    assert centre_crop(gradient, 20, 10).size == (20, 10)
    assert np.array_equal(np.asarray(centre_crop(gradient, 20, 10)), np.asarray(gradient)[10:20, 10:30])
