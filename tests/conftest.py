"""Fixtures for the whole suite."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fmboost_core.host_memory import keep_freed_memory

DATA = Path(__file__).parent / "data"
sys.path.insert(0, str(DATA))


keep_freed_memory()  # otherwise most of the time goes into page faults
SHARED = "PYTEST_XDIST_WORKER" in os.environ  # the cores, with other workers
if SHARED:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the commands and servers that tests start


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A worker takes whole files, whose tests share what is costly, or all tests of one ComfyUI."""
    for item in items if SHARED else ():
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        item.add_marker(pytest.mark.xdist_group(str(parameters.get("server", item.path))))


class ReferenceData:
    """Golden arrays computed by the paper's own code (see `data/make_reference_unet.py`)."""

    def __init__(self) -> None:
        self.arrays = np.load(DATA / "reference_unet.npz")
        self.facts = json.loads((DATA / "reference_unet.json").read_text())
        self.path_times = self.facts["path_times"]

    def __getitem__(self, key: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[key])


@pytest.fixture(scope="session")
def reference() -> ReferenceData:
    return ReferenceData()
