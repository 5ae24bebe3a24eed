"""Which model files ComfyUI offers: the built-in weights, then the user's folders."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ..fmboost_core import CheckpointError, builtin_models

OWN_FOLDER = "fmboost"
FOLDERS = (OWN_FOLDER, "latent_upscale_models")
SUFFIX = ".safetensors"


def register_folder() -> None:
    """Make `models/fmboost` known to ComfyUI, beside what the user's own configuration names."""
    folder_paths.add_model_folder_path(OWN_FOLDER, os.path.join(folder_paths.models_dir, OWN_FOLDER))
    # A folder that is new to ComfyUI has no suffixes, which would list every file in it.
    folder_paths.folder_names_and_paths[OWN_FOLDER][1].add(SUFFIX)


def model_names() -> list[str]:
    """Built-in names first, then the files of the user's folders."""
    found = [name for folder in FOLDERS for name in folder_paths.get_filename_list(folder)]
    files = [name for name in found if name.endswith(SUFFIX)]
    return list(dict.fromkeys([*builtin_models(), *files]))


def model_path(name: str) -> Path:
    """The file behind a listed name. Raises `CheckpointError` if it is gone."""
    built_in = builtin_models().get(name)
    if built_in is not None:
        return built_in
    for folder in FOLDERS:
        path = folder_paths.get_full_path(folder, name)
        if path is not None:
            return Path(path)
    raise CheckpointError(
        f"the model {name} is no longer there: put it into models/{OWN_FOLDER}, press R, and choose again"
    )
