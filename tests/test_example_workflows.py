"""Saved workflows are a contract: their widgets must go to the inputs they were saved for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from fmboost_core import FAMILIES, SOLVERS, builtin_models

FOLDER = Path(__file__).parents[1] / "example_workflows"
WORKFLOWS = sorted(FOLDER.glob("*.json"))
CORE = {
    "CheckpointLoaderSimple", "CLIPTextEncode", "EmptyLatentImage", "KSampler", "LatentUpscaleBy",
    "EmptySD3LatentImage", "LoadImage", "MarkdownNote", "PreviewImage", "SaveImage", "VAEDecode", "VAEEncode",
    "VAELoader", "ImageScale", "LossGraphNode", "LoraLoaderModelOnly", "ModelSamplingDiscrete",
    "VAEDecodeTiled",
}  # fmt: skip


def nodes(path: Path, kind: str | None = None) -> list[dict]:
    found = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    return [n for n in found if kind in (None, n["type"])]


def test_there_are_workflows_to_start_from():
    assert {
        "boost_a_picture", "boost_then_refine", "cascade_to_2k_and_4k", "flux_text_to_image",
        "lcm_sd15_4_steps", "sd15_text_to_image", "sdxl_text_to_image", "sd35_text_to_image",
        "train_a_booster",
    } <= {path.stem for path in WORKFLOWS}  # fmt: skip


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_only_core_nodes_and_ours(path):
    kinds = {n["type"] for n in nodes(path)}
    ours = {kind for kind in kinds if kind.startswith("FMBoost")}
    assert kinds - CORE == ours
    assert ours & {"FMBoostUpscale", "FMBoostTrain"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_widgets_are_in_the_order_of_the_inputs(path):
    for node in nodes(path, "FMBoostUpscale"):
        mode, factor, detail, steps, seed, after, solver, tile = node["widgets_values"]
        assert mode == "by factor" and 1 <= factor <= 8
        assert 0 <= detail <= 1 and 1 <= steps <= 100
        assert seed >= 0 and after in ("fixed", "randomize")
        assert solver in SOLVERS and tile == 0
    for node in nodes(path, "FMBoostMakePairs"):
        family, name, crops, seed = node["widgets_values"]
        assert family in FAMILIES and name and crops >= 1 and seed >= 0
    for node in nodes(path, "FMBoostTrain"):
        name, steps, batch, rate, texture, decoder, seed, every, width, depth = node["widgets_values"]
        assert name and steps >= 10 and batch >= 1 and 0 < rate < 0.01
        assert 0 <= texture <= 1 and decoder in (True, False) and seed >= 0 and every >= 1
        assert width % 64 == 0 and depth >= 1
    for node in nodes(path, "FMBoostSaveModel"):
        assert len(node["widgets_values"]) == 1
    for node in nodes(path, "FMBoostModelLoader"):
        name, precision, compiled = node["widgets_values"]
        assert name in builtin_models() and precision == "auto" and compiled is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_values_in_order_and_by_name_agree(path):
    for node in nodes(path):
        assert list(node.get("widgets_values_named", {}).values()) == node.get("widgets_values", [])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_nodes_do_not_overlap(path):
    title = 30
    boxes = [(x, y - title, x + w, y + h) for x, y, w, h in ((*n["pos"], *n["size"]) for n in nodes(path))]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_every_workflow_has_a_preview_picture(path):
    preview = path.with_suffix(".jpg")
    width, height = Image.open(preview).size
    assert width >= 400 and height >= 200 and preview.stat().st_size <= 120_000


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_models_can_be_downloaded(path):
    folders = {"CheckpointLoaderSimple": "checkpoints", "LoraLoaderModelOnly": "loras"}
    for node in nodes(path):
        if node["type"] in folders:
            (model,) = node["properties"]["models"]
            assert model["name"] == node["widgets_values"][0] == model["url"].rsplit("/", 1)[-1]
            assert model["url"].startswith("https://huggingface.co/")
            assert model["directory"] == folders[node["type"]]
