"""The example workflows in ComfyUI's own frontend: they load, keep their values, and suit the server."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfy_frontend import NoBrowser, open_frontend
from comfy_server import PACK
from PIL import Image

from fmboost_core import inspect

WORKFLOWS = {path.stem: path for path in sorted((PACK / "example_workflows").glob("*.json"))}
BLUEPRINT = PACK / "subgraphs" / "Boost and decode.json"
PHOTO = Path(__file__).parents[1] / "data" / "photo.png"
CONTROL = "control_after_generate"  # a widget that only the frontend has
DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
ADDED = """() => {
    const node = app.graph.nodes.at(-1), inputs = node.inputs.filter(slot => !slot.widget)
    return [inputs.map(slot => slot.type), node.outputs.map(slot => slot.type),
        node.widgets.map(widget => widget.name), node.subgraph.nodes.map(inner => inner.type)]
}"""


@pytest.fixture(scope="module")
def frontend(server):
    shutil.copy(PHOTO, server.base / "input" / "example.png")
    try:
        opened = open_frontend(server)
        page = opened.__enter__()
    except NoBrowser as reason:
        pytest.skip(str(reason))
    yield page
    opened.__exit__(None, None, None)


@pytest.fixture(scope="module")
def object_info(server):
    return server.get("/object_info")


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def wanted(required: dict[str, list], values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, list]]:
    """Required inputs by their full names; those of a dynamic combo follow from what is chosen."""
    for name, spec in required.items():
        yield prefix + name, spec
        if spec[0] == DYNAMIC:
            for option in spec[1]["options"]:
                if option["key"] == values.get(prefix + name):
                    yield from wanted(option["inputs"].get("required", {}), values, f"{prefix}{name}.")


def fits(value: Any, spec: list, downloads: set[str]) -> bool:
    """Whether the server would take a value for an input; `downloads` are files that a user has to get."""
    kind, settings = spec[0], spec[1] if len(spec) > 1 else {}
    if isinstance(value, list):
        return isinstance(kind, str) and len(value) == 2
    if kind == "BOOLEAN":
        return isinstance(value, bool)
    if kind in ("INT", "FLOAT"):
        number = isinstance(value, int if kind == "INT" else (int, float)) and not isinstance(value, bool)
        return number and settings.get("min", value) <= value <= settings.get("max", value)
    if kind == DYNAMIC:
        return value in [option["key"] for option in settings["options"]]
    if kind == "COMBO" or isinstance(kind, list):
        return value in (settings.get("options", []) if kind == "COMBO" else kind) or value in downloads
    return kind == "STRING" and isinstance(value, str)


def problems(workflow: dict[str, Any], prompt: dict[str, Any], object_info: dict[str, Any]) -> list[str]:
    """What is wrong with an API prompt by the server's own description, and by what the file says by name."""
    found = []
    models = [model for node in workflow["nodes"] for model in node["properties"].get("models", [])]
    downloads = {model["name"] for model in models} | {"taesd"}
    for node in prompt.values():
        kind, inputs = node["class_type"], node["inputs"]
        for name, spec in wanted(object_info[kind]["input"].get("required", {}), inputs):
            if name not in inputs:
                found.append(f"{kind} lacks {name}")
            elif not fits(inputs[name], spec, downloads):
                found.append(f"{kind}.{name} cannot be {inputs[name]!r}")
    for node in workflow["nodes"]:
        if node["type"].startswith("FMBoost"):
            inputs = prompt[str(node["id"])]["inputs"]
            for name, value in node.get("widgets_values_named", {}).items():
                if name != CONTROL and inputs.get(name) != value:
                    found.append(f"{node['type']}.{name} is {inputs.get(name)!r}, and was saved as {value!r}")
    return found


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_loads_as_it_was_saved(frontend, object_info, name):
    frontend.errors.clear()
    workflow = read(WORKFLOWS[name])
    frontend.load(workflow, name)
    prompt = frontend.prompt()

    assert frontend.missing_nodes() == []
    assert {node["class_type"] for node in prompt.values()} <= object_info.keys()
    assert len(prompt) == sum(node["type"] != "MarkdownNote" for node in workflow["nodes"])
    assert problems(workflow, prompt, object_info) == []
    assert frontend.errors == []


def test_shifted_values_are_noticed(frontend, object_info):
    workflow = copy.deepcopy(read(WORKFLOWS["sd15_text_to_image"]))
    (node,) = (node for node in workflow["nodes"] if node["type"] == "FMBoostUpscale")
    node["widgets_values"].insert(2, 0.5)  # as if there had been another widget before detail
    frontend.load(workflow, "shifted")
    assert any("detail" in problem for problem in problems(workflow, frontend.prompt(), object_info))


@pytest.fixture
def tiny_vae(server):
    if not (server.base / "models" / "vae_approx" / "taesd_decoder.safetensors").exists():
        pytest.skip("put taesd_encoder and taesd_decoder.safetensors into ComfyUI's models/vae_approx")


def test_the_workflow_without_a_checkpoint_runs_to_a_picture(frontend, server, tiny_vae):
    frontend.load(read(WORKFLOWS["boost_a_picture"]), "boost_a_picture")
    prompt = frontend.prompt()
    (saver,) = (key for key, node in prompt.items() if node["class_type"] == "SaveImage")
    entry = server.run(prompt)
    (saved,) = entry["outputs"][saver]["images"]
    picture = Image.open(server.base / "output" / saved["subfolder"] / saved["filename"])
    assert picture.size == tuple(2 * side for side in Image.open(PHOTO).size)
    assert len(picture.convert("RGB").getcolors(1 << 20)) > 1000


def test_the_training_workflow_runs_to_a_model_and_its_loss_graph(frontend, server, tiny_vae):
    frontend.load(read(WORKFLOWS["train_a_booster"]), "train_a_booster")
    prompt = frontend.prompt()
    by_kind = {node["class_type"]: (key, node["inputs"]) for key, node in prompt.items()}
    # The same graph on less: a smaller picture, one crop, fewer steps.
    by_kind["ImageScale"][1].update(width=512, height=512)
    by_kind["FMBoostMakePairs"][1].update(crops=1)
    by_kind["FMBoostTrain"][1].update(steps=10, batch=1)
    entry = server.run(prompt)
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    (graph,) = entry["outputs"][by_kind["LossGraphNode"][0]]["images"]
    assert Image.open(server.base / graph["type"] / graph["subfolder"] / graph["filename"]).width > 100
    info = inspect(server.base / "models" / "fmboost" / "my_booster.safetensors")
    assert (info.spec.family, info.spec.training["steps"]) == ("sd15", 10)


def test_the_blueprint_is_offered_and_can_be_added(frontend, server):
    listed = [entry["name"] for entry in server.get("/global_subgraphs").values()]
    assert BLUEPRINT.stem in listed

    frontend.errors.clear()
    frontend.load(read(WORKFLOWS["boost_a_picture"]), "boost_a_picture")
    frontend.add_by_search(BLUEPRINT.stem)
    inputs, outputs, widgets, inside = frontend.call(ADDED)
    assert inputs == ["FMBOOST_MODEL", "LATENT", "VAE"] and outputs == ["IMAGE"]
    assert [name.split()[-1] for name in widgets] == ["size.factor", "detail", "steps", "seed"]
    assert sorted(inside) == ["FMBoostUpscale", "VAEDecode"]
    assert frontend.errors == []
