"""Read the pickle in a checkpoint of the reference code, and run nothing of it.

This is the one place that opens a pickle, and only with torch's restricted reader, which here is restricted
further: a file may name tensors and plain containers, and nothing that allocates on demand. The reference
keeps its settings in OmegaConf containers; inert stand-ins take the place of those classes, so that no code
of the file's choosing runs and OmegaConf need not be installed.
"""

from __future__ import annotations

import collections
import pickletools
import typing
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .errors import CheckpointError

LARGEST_SETTINGS = 10_000  # entries; the reference has some fifty
# What a checkpoint may name besides OmegaConf's classes and Python's own types. Torch's reader would also
# build bytearrays and bare tensors of any size.
REBUILDERS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "collections.OrderedDict")
STORAGES = tuple(
    f"torch.{kind}Storage"
    for kind in ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")
)
TYPES = ("dict", "list", "tuple", "int", "float", "bool", "str", "set")
OLD_NAMES = {"__builtin__.long": "builtins.int", "__builtin__.unicode": "builtins.str"}  # in old pickles


class _Inert:
    """Stand-in for an OmegaConf container or leaf: keeps its state, does nothing."""

    def __init__(self, *args: Any) -> None: ...

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def plain(value: Any) -> Any:
    """Containers of any make → dict and list. Raises `ValueError` if there is no end to them."""
    return _Plain()(value)


class _Plain:
    """Unfolds containers, and counts what it meets."""

    def __init__(self) -> None:
        self.entries = 0

    def __call__(self, value: Any) -> Any:
        self.entries += 1
        if self.entries > LARGEST_SETTINGS:  # a list that holds another twice, and so on, doubles each time
            raise ValueError(f"there are more than {LARGEST_SETTINGS} settings")
        if isinstance(value, _Inert):
            state = vars(value)
            return self(state["_content"] if "_content" in state else state.get("_val"))
        if isinstance(value, Mapping):
            return {k: self(v) for k, v in value.items() if isinstance(k, str)}
        if isinstance(value, (list, tuple)):
            return [self(v) for v in value]
        return value


def read_pickle(path: Path) -> Mapping[str, Any]:
    """The mapping in a torch archive.

    Raises:
        CheckpointError: there is no such file, it cannot be read, or it names what it may not.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path.name} is not a torch checkpoint (or only part of one)")
    try:
        stand_ins: list[Any] = [_stand_in(name, path.name) for name in _names_in(path)]
        with torch.serialization.safe_globals([s for s in stand_ins if s is not None]):
            data = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path.name} cannot be read: {reason}") from error
    if not isinstance(data, Mapping):
        raise CheckpointError(f"{path.name} is not a Lightning checkpoint")
    return data


def _names_in(path: Path) -> set[str]:
    """The classes and functions that the archive's pickle names, which is read but not followed."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        held = sum(entry.file_size for entry in entries)
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or held > path.stat().st_size:
            raise CheckpointError(f"{path.name} is packed in a way that torch never packs: it is not opened")
        pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise CheckpointError(f"{path.name} is not a torch checkpoint: it holds {len(pickles)} pickles")
        operations = pickletools.genops(archive.read(pickles[0]))
        return {
            str(arg).replace(" ", ".", 1) for operation, arg, _ in operations if operation.name == "GLOBAL"
        }


def _stand_in(name: str, file: str) -> tuple[Any, str] | None:
    """What the restricted reader shall use for a name; None for what it may build itself."""
    module, _, attribute = OLD_NAMES.get(name, name).rpartition(".")
    if name in REBUILDERS or name in STORAGES:
        return None
    if name == "typing.Any":
        return typing.Any, name
    if name == "collections.defaultdict":
        return collections.defaultdict, name
    # Python's own types stand in settings as what a value must be; nothing needs to be made of them.
    if module.split(".")[0] == "omegaconf":
        return type(attribute, (_Inert,), {}), name
    if module in ("builtins", "__builtin__") and attribute in TYPES:  # under its old name, too
        return type(attribute, (_Inert,), {}), f"builtins.{attribute}"
    raise CheckpointError(f"{file} wants to run {name}, which is not allowed: it is not opened")
