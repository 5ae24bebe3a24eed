"""What may go wrong in a running ComfyUI, made to go wrong."""

from __future__ import annotations

import itertools
import json
import time

import comfy_server
import pytest
import torch
from fmboost_prompts import boost, result

from fmboost_core.latent_file import read_latent

pytestmark = pytest.mark.skipif(not comfy_server.find_comfyuis(), reason=comfy_server.HOW_TO_GET_ONE)

LONG = {"size": {"size": "by factor", "factor": 8.0}, "steps": 100, "solver": "rk4"}


def status(server, prompt_id: str) -> str:
    """How a prompt ended: success, interrupted, error, or never begun."""
    try:
        messages = dict(server.wait(prompt_id, 30)["status"]["messages"])
    except TimeoutError:
        return "never begun"
    return next(
        (kind[10:] for kind in messages if kind in ("execution_interrupted", "execution_error")), "success"
    )


@pytest.mark.parametrize("order", [*itertools.permutations(["running", "waiting"])], ids="-".join)
@pytest.mark.parametrize("how_many", [1, 2])
def test_prompts_are_cancelled_in_any_order(server, order, how_many):
    ids = {"running": server.queue(boost(seed=1, **LONG)), "waiting": server.queue(boost(seed=2, **LONG))}
    while not any(item[1] == ids["running"] for item in server.get("/queue")["queue_running"]):
        time.sleep(0.02)
    for which in order[:how_many]:
        if which == "running":
            server.post("/interrupt", {})
            assert status(server, ids["running"]) == "interrupted"
        elif any(item[1] == ids["running"] for item in server.get("/queue")["queue_running"]):
            server.post("/queue", {"delete": [ids["waiting"]]})
        else:  # the other one is gone, so that this one runs
            server.post("/interrupt", {})
    server.post("/queue", {"clear": True})
    while server.get("/queue")["queue_running"]:
        server.post("/interrupt", {})
        time.sleep(0.05)
    assert result(server, boost(seed=3)).shape == (1, 4, 32, 24)
    assert "Traceback" not in server.log.read_text().split("got prompt")[-1]


def test_a_deleted_model_is_named_and_comes_back(server):
    path = server.base / "models" / "fmboost" / "small.safetensors"
    before, kept = result(server, boost(seed=11)), path.read_bytes()
    path.unlink()
    try:
        with pytest.raises((AssertionError, ValueError)) as caught:
            result(server, boost(seed=12))
        assert "small.safetensors" in str(caught.value)
    finally:
        path.write_bytes(kept)
    assert torch.equal(result(server, boost(seed=11)), before)


def test_half_a_model_in_place_of_the_loaded_one_is_named(server):
    path = server.base / "models" / "fmboost" / "small.safetensors"
    before, kept = result(server, boost(seed=21)), path.read_bytes()
    path.write_bytes(kept[: len(kept) // 2])
    try:
        assert "not a whole safetensors file" in server.error_of(boost(seed=22))
    finally:
        path.write_bytes(kept)
    assert torch.equal(result(server, boost(seed=21)), before)


def test_one_file_at_two_precisions_in_one_graph(server):
    alone = {p: result(server, boost(seed=31, precision=p)) for p in ("fp32", "bf16")}
    assert not torch.equal(alone["fp32"], alone["bf16"])
    prompt, other = boost(seed=32, precision="fp32"), boost(seed=32, precision="bf16")
    for name in ("load", "boost", "save"):
        prompt[f"{name}2"] = json.loads(json.dumps(other[name]))
    prompt["boost2"]["inputs"]["model"] = ["load2", 0]
    prompt["save2"]["inputs"]["samples"] = ["boost2", 0]
    for node in ("boost", "boost2"):
        prompt[node]["inputs"]["seed"] = 31
    prompt["save"]["inputs"]["filename_prefix"] = prompt["save2"]["inputs"]["filename_prefix"] = "both"
    entry = server.run(prompt)
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    for node, precision in (("save", "fp32"), ("save2", "bf16")):
        assert torch.equal(read_latent(server.saved_latent(entry, node)).samples, alone[precision])
