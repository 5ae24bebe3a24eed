"""Where training keeps its things: folders of the user's naming, below ComfyUI's output folder."""

from __future__ import annotations

import re
from pathlib import Path

import folder_paths

from ..fmboost_core import InputError

PAIRS, RUNS = "pairs", "runs"
ALLOWED = re.compile(r"[\w][\w .-]*")


def checked_name(name: str) -> str:
    """A name that is one folder or file and no way out of it. Raises `InputError`."""
    name = name.strip()
    if not ALLOWED.fullmatch(name) or name.endswith("."):
        raise InputError(f"the name {name!r} cannot be used: take letters, digits, spaces, '-', '_' and '.'")
    return name


def work_folder(kind: str, name: str) -> Path:
    """`output/fmboost/KIND/NAME`."""
    return Path(folder_paths.get_output_directory()) / "fmboost" / kind / checked_name(name)
