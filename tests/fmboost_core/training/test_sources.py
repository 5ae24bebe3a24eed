import io
import tarfile

import pytest
from PIL import Image

from fmboost_core import InputError
from fmboost_core.training.sources import find_pictures, plan_shards


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two pictures in a webdataset tar, one beside it."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("1.png", png((10, 0, 0))), ("1.txt", b"caption"), ("2.png", png((20, 0, 0)))):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    (tmp_path / "b.png").write_bytes(png((30, 0, 0)))
    return tmp_path


def test_pictures_in_tar_files_count_like_files(folder):
    found = find_pictures(folder)
    assert [p.name for p in found] == ["a.tar/1.png", "a.tar/2.png", "b.png"]
    reds = [p.read().getpixel((0, 0))[0] for p in found]
    assert reds == [10, 20, 30]


def test_what_holds_no_pictures_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        find_pictures(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match="holds no pictures"):
        find_pictures(tmp_path)
    (tmp_path / "bad.tar").write_bytes(b"not a tar file" * 100)
    with pytest.raises(InputError, match=r"bad\.tar is not a whole"):
        find_pictures(tmp_path)


def test_shards_divide_the_pictures_and_mix_them(folder):
    pictures = find_pictures(folder)
    shards = plan_shards(pictures, 2)
    assert [s.name for s in shards] == ["000000", "000001"]
    assert sorted(p.name for s in shards for p in s.pictures) == [p.name for p in pictures]
    assert plan_shards(pictures, 2) == shards
    orders = {tuple(p.name for s in plan_shards(pictures, 2, seed=k) for p in s.pictures) for k in range(9)}
    assert len(orders) > 1
