"""Files as strangers might send them: who reads them, what a good one looks like, how to spoil it.

A reader is given *seeds*, the part of a good file in which mistakes are interesting (a header, a pickle, a
recipe), and puts the rest around whatever became of it. The suite spoils a few hundred; `scripts/fuzz.py`
goes on for as long as one likes.
"""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from helpers import small_booster, write_shards
from reference_checkpoint import write_checkpoint

from fmboost_core import FMBoostError, inspect, load, save
from fmboost_core.cli.info import describe
from fmboost_core.convert import read_reference
from fmboost_core.latent_file import LatentFile, read_latent, write_latent
from fmboost_core.training.config import read_config
from fmboost_core.training.data import PairData

RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True)
class Reader:
    """One way into the program.

    Attributes:
        suffix: of its files.
        read: does with a file all that is done before its contents are used.
        seeds: good interesting parts.
        assemble: puts the rest of a file around an interesting part.
    """

    suffix: str
    read: Callable[[Path], object]
    seeds: tuple[bytes, ...]
    assemble: Callable[[bytes], bytes]


def verdict(reader: Reader, path: Path) -> str:
    """The word "read", or the one line that says why not. Whatever else is raised goes through."""
    try:
        reader.read(path)
    except FMBoostError as error:
        line = str(error)
        assert line and line.isprintable(), f"not one line: {line!r}"
        return line
    return "read"


def make_readers(folder: Path) -> dict[str, Reader]:
    """The readers, with seeds made in a folder."""
    model, latent, shards = folder / "m.safetensors", folder / "l.latent", folder / "pairs"
    save(model, small_booster(training={"steps": 12}))
    write_latent(latent, LatentFile(torch.zeros(1, 4, 2, 2), {"prompt": "{}"}))
    shard = next(iter(sorted(write_shards(shards, crop=8, shards=1).glob("*.safetensors"))))
    checkpoint = write_checkpoint(folder / "c.ckpt").read_bytes()
    return {
        "checkpoint": _safetensors(model, _use_model),
        "latent": _safetensors(latent, read_latent),
        "shard": _safetensors(shard, lambda path: list(PairData(path.parent, "sd15").first(1))),
        "config": Reader(
            ".toml", read_config, tuple(r.read_bytes() for r in sorted(RECIPES.glob("*.toml"))), bytes
        ),
        "convert": Reader(
            ".ckpt", read_reference, (pickle_of(checkpoint),), lambda data: _with_pickle(checkpoint, data)
        ),
    }


def _use_model(path: Path) -> None:
    describe(inspect(path))
    json.dumps(inspect(path).to_json())
    load(path)


def _safetensors(path: Path, read: Callable[[Path], object]) -> Reader:
    whole = path.read_bytes()
    end = 8 + struct.unpack("<Q", whole[:8])[0]
    return Reader(path.suffix, read, (whole[:end],), lambda header: header + whole[end:])


def pickle_of(checkpoint: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(checkpoint)) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))


def _with_pickle(checkpoint: bytes, data: bytes) -> bytes:
    """The checkpoint with another pickle, its checksums right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(checkpoint)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, data if entry.filename.endswith("/data.pkl") else old.read(entry))
    return out.getvalue()


STRANGE: tuple[Any, ...] = (
    None, True, 0, -1, 3, 64, 10**6, 10**12, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"),
    "", "x", "F8_E4M3", "I64", "../../etc/passwd", "模型\u202e", "\ud800", "a" * 5000, "9" * 5000,
    [], {}, [[]], [0, 1], [1] * 500, {"": {}}, {"family": "flux"}, "sdxl", "unet", "psu", "gvp",
    [0.2, 0.1], [0, 10**12],
)  # fmt: skip
OPERATIONS = b"(.0}]q)abcdeghijlpqrstuRNMKIJGFUVXQ\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x93\x94"


def spoil(seed: bytes, rng: random.Random) -> bytes:
    """A part of a file with one mistake or a few, some in its bytes, some in its meaning."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        seed = rng.choice((_flip, _cut, _repeat, _replace_word, *[_replace_json] * 6))(seed, rng)
    return seed


def _flip(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return rng.randbytes(3)
    at, out = rng.randrange(len(data)), bytearray(data)
    out[at] = rng.choice((rng.randrange(256), out[at] ^ 1 << rng.randrange(8), rng.choice(OPERATIONS)))
    return bytes(out)


def _span(data: bytes, rng: random.Random) -> slice:
    start = rng.randrange(len(data) + 1)
    return slice(start, min(len(data), start + rng.choice((1, 2, 8, 64, 10**9))))


def _cut(data: bytes, rng: random.Random) -> bytes:
    span = _span(data, rng)
    return data[: span.start] + data[span.stop :]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    span, at = _span(data, rng), rng.randrange(len(data) + 1)
    return data[:at] + data[span] * rng.choice((1, 2, 50)) + data[at:]


def _replace_word(data: bytes, rng: random.Random) -> bytes:
    """One value of a text by a strange one; lines of pickles and recipes."""
    words = data.split(b" ") if rng.random() < 0.5 else data.split(b"\n")
    words[rng.randrange(len(words))] = json.dumps(rng.choice(STRANGE)).encode()
    return (b" " if b" " in data else b"\n").join(words)


def _replace_json(data: bytes, rng: random.Random) -> bytes:
    """One entry of a header, or of the description within it, by a strange one; the length is right."""
    try:
        header = json.loads(data[8:])
    except ValueError:
        return _flip(data, rng)
    if not isinstance(header, dict):
        return _flip(data, rng)
    changed = json.dumps(_with_stranger(header, rng)).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(changed)) + changed


def _with_stranger(value: Any, rng: random.Random) -> Any:
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.dumps(_with_stranger(json.loads(value), rng))
        except ValueError:
            return rng.choice(STRANGE)
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.1:
        return rng.choice(STRANGE)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    # Descriptions are where the meaning is, so they are chosen more often than a weight's shape.
    key = "__metadata__" if "__metadata__" in keys and rng.random() < 0.85 else rng.choice(keys)
    out = value.copy()
    what = rng.random()
    if what < 0.1:
        del out[key]
    elif what < 0.2 and isinstance(out, dict):
        out[str(rng.choice(STRANGE))] = out.pop(key)
    else:
        out[key] = _with_stranger(value[key], rng)
    return out
