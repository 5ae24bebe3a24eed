"""Safetensors in and out: readable errors on the way in, whole files or none on the way out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import InputError, OutputError

LARGEST_HEADER = 1 << 24  # bytes; the largest checkpoints of today take a hundredth


@contextmanager
def open_safetensors(path: str | Path) -> Iterator[safe_open]:
    """A memory-mapped handle that has read the header only.

    Raises:
        InputError: no such file, or not a whole safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes): copy or download it again")
    with open(path, "rb") as file:
        start = file.read(9)
    is_header = start[8:] == b"{" and int.from_bytes(start[:8], "little") <= LARGEST_HEADER
    if not is_header and _is_pickle(start):
        raise InputError(
            f"{path} is a pickle (.ckpt/.pt), which can run code when opened and is never read here;"
            " if it is a checkpoint of the reference code, run `fmboost convert` on it"
        )
    if not is_header:
        raise InputError(f"{path} is not a whole safetensors file (no header): copy or download it again")
    try:
        handle = safe_open(path, framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is not a whole safetensors file ({error}): copy or download it again"
        ) from error
    with handle:
        yield handle


def _is_pickle(start: bytes) -> bool:
    # A torch zip archive, or a bare pickle of protocol 2 and later.
    return start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05")


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the metadata of a file. Raises `InputError` as `open_safetensors` does."""
    with open_safetensors(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}


@contextmanager
def atomic_write(path: str | Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes `path`'s place if the block succeeds.

    Raises:
        OutputError: the folder cannot be written, or `path` exists and `overwrite` is False.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder: name a file in it")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already: choose another name, or allow overwriting")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another suffix, so that what a killed process leaves is not taken for a shard, a model or a table.
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".part", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    overwrite: bool = True,
) -> None:
    """Write one safetensors file atomically. Raises `OutputError` as `atomic_write` does."""
    whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic_write(path, overwrite=overwrite) as temporary:
        try:
            save_file(whole, temporary, metadata=dict(metadata or {}))
        except SafetensorError as error:
            raise OutputError(f"{path} cannot be written: {error}") from error
