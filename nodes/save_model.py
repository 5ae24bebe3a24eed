"""The node that saves a booster."""

from __future__ import annotations

import itertools
from pathlib import Path

import folder_paths
from comfy_api.latest import io, ui

from ..fmboost_core import save
from .aliases import with_aliases
from .loader import FMBoostModel
from .managed import ManagedBooster
from .model_files import OWN_FOLDER, SUFFIX
from .pairs import TRAINING_CATEGORY
from .work_folders import checked_name


class FMBoostSaveModel(io.ComfyNode):
    """FMBOOST_MODEL → file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema = io.Schema(
            node_id="FMBoostSaveModel",
            display_name="FMBoost Save Model",
            category=TRAINING_CATEGORY,
            description="Saves a model into models/fmboost, where Load FMBoost Model finds it (press R).",
            is_output_node=True,
            inputs=[
                FMBoostModel.Input("model", tooltip="From FMBoost Train or Load FMBoost Model."),
                io.String.Input(
                    "name", default="my_booster",
                    tooltip="Of the file; a number is added where there is one of that name already.",
                ),
            ],
            outputs=[],
        )  # fmt: skip
        return with_aliases(schema, "export", "fmboost")

    @classmethod
    def execute(cls, model: ManagedBooster, name: str) -> io.NodeOutput:
        path = _free_path(Path(folder_paths.get_folder_paths(OWN_FOLDER)[0]), checked_name(name))
        save(path, model.booster, overwrite=False)
        return io.NodeOutput(ui=ui.PreviewText(f"saved as {path.name}"))


def _free_path(folder: Path, name: str) -> Path:
    numbers = itertools.chain([""], (f"-{k}" for k in itertools.count(2)))
    paths = (folder / f"{name.removesuffix(SUFFIX)}{number}{SUFFIX}" for number in numbers)
    return next(path for path in paths if not path.exists())
