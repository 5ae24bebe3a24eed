"""The translations in a real ComfyUI: about the nodes that it has, and served to its frontend."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import comfy_server
import pytest

COMFYUIS = comfy_server.find_comfyuis()
pytestmark = pytest.mark.skipif(not COMFYUIS, reason=comfy_server.HOW_TO_GET_ONE)
LOCALES, HELP = comfy_server.PACK / "locales", comfy_server.PACK / "web" / "docs"
LANGUAGES = sorted(path.name for path in LOCALES.iterdir())


def ours(server) -> dict[str, dict[str, Any]]:
    info = server.get("/object_info")
    return {name: node for name, node in info.items() if "FMBoost" in name}


def inputs_of(groups: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """The tooltips of a node's inputs and of what they unfold to, by the names that the frontend looks up."""
    found = {}
    for name, (_, options) in [*groups.get("required", {}).items(), *groups.get("optional", {}).items()]:
        found[f"{prefix}{name}"] = options["tooltip"]
        for option in options.get("options", []):
            if isinstance(option, dict):
                found |= inputs_of(option["inputs"], f"{prefix}{name}_")
    return found


def test_english_is_what_the_schemas_say(server):
    english = json.loads((LOCALES / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    nodes = ours(server)
    assert english.keys() == nodes.keys()
    for name, node in nodes.items():
        texts = english[name]
        assert texts["display_name"] == node["display_name"]
        assert texts["description"] == node["description"]
        assert {key: text["tooltip"] for key, text in texts["inputs"].items()} == inputs_of(node["input"])
        outputs = enumerate(zip(node["output_name"], node["output_tooltips"], strict=True))
        assert texts.get("outputs", {}) == {str(i): {"name": n, "tooltip": t} for i, (n, t) in outputs}


def test_english_names_the_types_and_categories_that_are_ours(server):
    english = json.loads((LOCALES / "en" / "main.json").read_text(encoding="utf-8"))
    nodes = ours(server).values()
    # An output that is called as its type is shown under the name of the type.
    types = {o for node in nodes for o, n in zip(node["output"], node["output_name"], strict=True) if o == n}
    assert english["dataTypes"].keys() == {kind for kind in types if kind.startswith("FMBOOST")}
    parts = {part for node in nodes for part in node["category"].split("/")}
    assert english["nodeCategories"].keys() == {part for part in parts if "FMBoost" in part}


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_are_served(server, language):
    served = server.get("/i18n")[language]
    for name in ("main", "nodeDefs"):
        texts = json.loads((LOCALES / language / f"{name}.json").read_text(encoding="utf-8"))
        assert (served if name == "main" else served[name]).items() >= texts.items()


@pytest.fixture(scope="module")
def plainly_named(server, tmp_path_factory):
    """A ComfyUI with the pack in a folder that could be a user's: no web files are served from one whose
    name has spaces (aiohttp looks for them percent-encoded, and never finds them)."""
    base = tmp_path_factory.mktemp("plainly_named") / "base"
    running = comfy_server.ComfyServer(server.folder, base, pack_name="ComfyUI-FMBoost")
    yield running
    running.stop()


def test_help_is_served_where_the_frontend_looks_for_it(plainly_named):
    packs = {name: node["python_module"].split(".")[1] for name, node in ours(plainly_named).items()}
    files = {f"{name}.md": pack for name, pack in packs.items()}
    files |= {f"{n}/{lang}.md": pack for n, pack in packs.items() for lang in LANGUAGES if lang != "en"}
    pictures = {path.name for path in HELP.iterdir() if path.suffix == ".jpg"}
    files |= dict.fromkeys(pictures, packs["FMBoostUpscale"])
    for file, pack in files.items():
        address = f"http://127.0.0.1:{plainly_named.port}/extensions/{pack}/docs/{file}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert "html" not in answer.headers["Content-Type"], file  # which the frontend does not take
            assert answer.read() == (HELP / file).read_bytes(), file
