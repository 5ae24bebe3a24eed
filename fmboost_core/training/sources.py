"""Where training pictures come from: a folder of files, or tar files as webdataset writes them."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from ..errors import InputError
from ..images import find_images, read_picture, readable_suffixes

TAR = ".tar"


@dataclass(frozen=True)
class PictureSource:
    """A picture that can be opened when its turn comes.

    Attributes:
        name: identifies it within its data set.
        file: the picture, or the tar file that holds it.
        offset, size: of the picture's bytes in the tar file; None for a file of its own.
    """

    name: str
    file: Path
    offset: int | None = None
    size: int | None = None

    def read(self) -> Image.Image:
        """The picture as RGB. Raises `InputError` as `images.read_picture`."""
        if self.offset is None:
            return read_picture(self.file, self.name).image
        with open(self.file, "rb") as file:
            file.seek(self.offset)
            return read_picture(io.BytesIO(file.read(self.size)), self.name).image


@dataclass(frozen=True)
class PictureInMemory:
    """A picture that is there already."""

    name: str
    image: Image.Image

    def read(self) -> Image.Image:
        return self.image


AnyPicture = PictureSource | PictureInMemory


@dataclass(frozen=True)
class Shard:
    """The pictures of one shard of pairs."""

    name: str
    pictures: Sequence[AnyPicture]


def find_pictures(folder: str | Path) -> list[PictureSource]:
    """Every picture below a folder, and within its tar files, sorted by name.

    Raises:
        InputError: there is no such folder, no picture in it, or a tar file cannot be read.
    """
    folder = Path(folder)
    tars = sorted(folder.rglob(f"*{TAR}")) if folder.is_dir() else []
    found = [source for tar in tars for source in _in_tar(folder, tar)]
    try:
        files = find_images(folder)
    except InputError:
        if not found:
            raise
        files = []
    found += [PictureSource(file.relative_to(folder).as_posix(), file) for file in files]
    return sorted(found, key=lambda source: source.name)


def _in_tar(folder: Path, path: Path) -> list[PictureSource]:
    known = readable_suffixes()
    inside = path.relative_to(folder).as_posix()
    try:
        with tarfile.open(path, "r:") as tar:
            return [
                PictureSource(f"{inside}/{member.name}", path, member.offset_data, member.size)
                for member in tar
                if member.isfile() and PurePosixPath(member.name).suffix.lower() in known
            ]
    except tarfile.TarError as error:
        raise InputError(f"{path} is not a whole, uncompressed tar file: {error}") from error


def plan_shards(pictures: list[PictureSource], per_shard: int, *, seed: int = 0) -> list[Shard]:
    """Divide pictures into shards, shuffled so that each shard is a sample of the whole."""
    shuffled = list(pictures)
    random.Random(seed).shuffle(shuffled)
    starts = range(0, len(shuffled), per_shard)
    return [Shard(f"{k:06d}", shuffled[i : i + per_shard]) for k, i in enumerate(starts)]
