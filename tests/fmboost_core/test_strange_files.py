"""Files from strangers: each is read, or refused in one line. `scripts/fuzz.py` tries many more."""

import io
import json
import os
import random
import re
import struct
import zipfile
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch
from reference_checkpoint import settings, write_checkpoint
from strange_files import Reader, make_readers, pickle_of, spoil, verdict

SPOILED, CUTS = 200, 60  # files of each kind
NAMES = ("checkpoint", "latent", "shard", "config", "convert")
GIGABYTE = 1 << 30
posix = pytest.mark.skipif(os.name != "posix", reason="links and pipes are made here as on Unix")


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    return make_readers(tmp_path_factory.mktemp("seeds"))


@contextmanager
def little_memory():
    """A gigabyte more than now, so that whoever believes a file's claims fails."""
    resource = pytest.importorskip("resource", reason="memory can be limited on Unix only")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + GIGABYTE, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def with_little_memory(reader: Reader, path: Path) -> str:
    with little_memory():
        return verdict(reader, path)


@pytest.mark.parametrize("name", NAMES)
def test_good_files_are_read(readers, tmp_path, name):
    reader = readers[name]
    for number, seed in enumerate(reader.seeds):
        path = tmp_path / str(number) / f"模型 {number}{reader.suffix}"
        path.parent.mkdir()
        path.write_bytes(reader.assemble(seed))
        assert verdict(reader, path) == "read"


@posix
@pytest.mark.parametrize("name", NAMES)
def test_files_behind_links_are_read(readers, tmp_path, name):
    reader = readers[name]
    path = tmp_path / "behind" / f"good{reader.suffix}"
    path.parent.mkdir()
    path.write_bytes(reader.assemble(reader.seeds[0]))
    link = tmp_path / "link" / f"l{reader.suffix}"
    link.parent.mkdir()
    link.symlink_to(path)
    assert verdict(reader, link) == "read"


@pytest.mark.parametrize("name", NAMES)
def test_spoiled_files_are_read_or_refused_in_one_line(readers, tmp_path, name):
    reader, rng = readers[name], random.Random(0)
    path = tmp_path / f"strange{reader.suffix}"
    verdicts = set()
    for _ in range(SPOILED):
        path.write_bytes(reader.assemble(spoil(rng.choice(reader.seeds), rng)))
        verdicts.add(with_little_memory(reader, path))
    assert len(verdicts) > 5  # mistakes are told apart


@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_anywhere_is_refused(readers, tmp_path, name):
    reader = readers[name]
    whole = reader.assemble(reader.seeds[0])
    path = tmp_path / f"cut{reader.suffix}"
    step = max(1024, len(whole) // CUTS)
    for length in (0, 1, 7, 8, *range(step, len(whole), step), len(whole) - 1):
        path.write_bytes(whole[:length])
        # A recipe cut between two lines, or within a comment, is a recipe still.
        assert verdict(reader, path) != "read" or name == "config"


@posix
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_file_is_refused(readers, tmp_path, name):
    reader = readers[name]
    loop, pipe = (tmp_path / f"{kind}{reader.suffix}" for kind in ("loop", "pipe"))
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    for path in (tmp_path, loop, pipe, tmp_path / "none" / ".." / f"x{reader.suffix}"):
        assert verdict(reader, path) != "read"


def headed(header: dict, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def described(**changes) -> dict:
    description = {
        "format": 1, "network": "boostnet", "config": {"latent_channels": 4, "width": 64, "depth": 1},
        "spec": {"family": "sd15"},
    }  # fmt: skip
    return {"fmboost": json.dumps(description | changes)}


SAFETENSORS_BOMBS = {
    "header of 10¹² bytes": struct.pack("<Q", 10**12) + b"{}",
    "header of nothing but depth": struct.pack("<Q", 10**6) + b"{" + b'"a":{' * 199_999 + b" " * 4,
    "weight of 10¹² numbers": headed(
        {"w": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4]}}, bytes(4)
    ),
    "weight of more numbers than there are": headed(
        {"w": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 4]}}, bytes(4)
    ),
    "200 000 weights of nothing": headed(
        {
            "__metadata__": described(config={"latent_channels": 4, "width": 64, "depth": 200_000}),
            **{str(k): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for k in range(200_000)},
        }
    ),
    "network of 10¹⁸ numbers": headed(
        {"__metadata__": described(config={"latent_channels": 4, "width": 64 * 10**7, "depth": 1})}
    ),
    "training told without end": headed(
        {"__metadata__": described(spec={"family": "sd15", "training": json.loads("[" * 900 + "]" * 900)})}
    ),
    "metadata of 15 megabytes": headed({"__metadata__": {"fmboost": "x" * (15 << 20)}}),
}


@pytest.mark.parametrize("content", SAFETENSORS_BOMBS.values(), ids=SAFETENSORS_BOMBS)
@pytest.mark.parametrize("name", ["checkpoint", "latent", "shard"])
def test_safetensors_bombs_are_refused(readers, tmp_path, name, content):
    path = tmp_path / f"bomb{readers[name].suffix}"
    path.write_bytes(content)
    assert with_little_memory(readers[name], path) != "read"


def nested(times: int) -> list:
    value: list = []
    for _ in range(times):
        value = [value, value]
    return value


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


PICKLE_BOMBS = {
    "code": ({"hyper_parameters": Call(eval, "1/0")}, r"wants to run .*eval"),
    "memory on demand": ({"epoch": Call(bytearray, 10**12)}, "wants to run .*bytearray"),
    "a tensor on demand": ({"epoch": Call(torch.Tensor, 10**6, 10**6)}, "wants to run torch.*Tensor"),
    "lists that double": ({"hyper_parameters": {"fm_cfg": nested(60)}}, "hold no fm_cfg"),
    "one number 10¹² times": (
        {"state_dict": {"ema_model.ema_model.net.out.2.bias": torch.zeros(1).expand(10**6, 10**6)}},
        "claims 4,000,000,000,000 bytes",
    ),
    "a network of 10¹² numbers": (
        {"hyper_parameters": settings(fm_cfg={"params": {"net_cfg": {"params": {
            "in_channels": 8, "out_channels": 4, "model_channels": 32 * 10**6, "num_res_blocks": 1,
            "channel_mult": [1], "attention_resolutions": [], "num_heads": 1, "dim_head": 32,
        }}}})},
        "does not fit the settings' network",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), PICKLE_BOMBS.values(), ids=PICKLE_BOMBS)
def test_pickle_bombs_are_refused(readers, tmp_path, changes, message):
    path = write_checkpoint(tmp_path / "bomb.ckpt", **changes)
    assert re.search(message, with_little_memory(readers["convert"], path))


def test_settings_without_end_are_refused(readers, tmp_path):
    path = tmp_path / "deep.ckpt"
    lists = b"]" * 50_000 + b"a" * 49_999
    path.write_bytes(
        readers["convert"].assemble(
            b"\x80\x02}X\x0a\x00\x00\x00state_dict}sX\x10\x00\x00\x00hyper_parameters" + lists + b"s."
        )
    )
    assert "hold no fm_cfg" in verdict(readers["convert"], path)


def test_zip_bombs_are_refused(readers, tmp_path):
    good = readers["convert"].assemble(readers["convert"].seeds[0])
    path = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        new.writestr("archive/data/zeros", bytes(GIGABYTE // 8))
    assert "packed in a way" in with_little_memory(readers["convert"], path)
    with zipfile.ZipFile(path, "w") as new:
        for folder in ("a", "b"):
            new.writestr(f"{folder}/data.pkl", pickle_of(good))
    assert "holds 2 pickles" in with_little_memory(readers["convert"], path)
