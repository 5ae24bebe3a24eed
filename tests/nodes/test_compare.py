"""The comparison node in a real ComfyUI."""

from __future__ import annotations

import shutil

import comfy_server
import numpy as np
import pytest
from helpers import DATA
from PIL import Image

pytestmark = pytest.mark.skipif(not comfy_server.find_comfyuis(), reason=comfy_server.HOW_TO_GET_ONE)


def compare(server, split: float, **changes) -> dict:
    """A photograph, and its enlarged negative."""
    shutil.copy(DATA / "photo.png", server.base / "input" / "photo.png")
    prompt = {
        "before": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "larger": {"class_type": "ImageScaleBy", "inputs": {
            "image": ["before", 0], "upscale_method": "bicubic", "scale_by": 2.0}},
        "after": {"class_type": "ImageInvert", "inputs": {"image": ["larger", 0]}},
        "compare": {"class_type": "FMBoostCompare", "inputs": {
            "before": ["before", 0], "after": ["after", 0], "split": split}},
        "save": {"class_type": "SaveImage", "inputs": {
            "images": ["compare", 0], "filename_prefix": "halves"}},
    }  # fmt: skip
    return prompt | changes


def shown(server, entry: dict, node: str) -> np.ndarray:
    saved = entry["outputs"][node]["images"][0]
    return np.asarray(Image.open(server.base / saved["type"] / saved["subfolder"] / saved["filename"]), float)


@pytest.mark.parametrize("split", [0.0, 0.25, 1.0])
def test_the_line_divides_before_from_after(server, split):
    entry = server.run(compare(server, split))
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    photo = Image.open(DATA / "photo.png").convert("RGB")
    width, height = (2 * side for side in photo.size)
    before = np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC), float)
    both, line = shown(server, entry, "save"), round(split * width)
    assert both.shape == (height, width, 3)
    # Filters of one name differ a little.
    assert abs(both - before)[:, : max(0, line - 1)].max(initial=0) < 30
    assert abs(both - (255 - before))[:, line + 1 :].max(initial=0) < 30
    if 0 < split < 1:
        assert (both[:, line - 1 : line + 1] == 255).all()
    np.testing.assert_array_equal(shown(server, entry, "compare"), both)


def test_batches_of_different_length_are_named(server):
    two = {"class_type": "ImageBatch", "inputs": {"image1": ["after", 0], "image2": ["after", 0]}}
    prompt = compare(server, 0.5, two=two)
    prompt["compare"]["inputs"]["after"] = ["two", 0]
    assert "1 pictures before and 2 after: give as many of both" in server.error_of(prompt)
