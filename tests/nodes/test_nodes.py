"""The nodes in a real ComfyUI, through its own API."""

from __future__ import annotations

import shutil
import time

import comfy_server
import pytest
import torch
from fmboost_prompts import boost, result
from helpers import DATA, lively, small_booster
from PIL import Image
from safetensors.torch import load_file

from fmboost_core import builtin_models, save
from fmboost_core.latent_file import LatentFile, read_latent, write_latent

COMFYUIS = comfy_server.find_comfyuis()
pytestmark = pytest.mark.skipif(not COMFYUIS, reason=comfy_server.HOW_TO_GET_ONE)


def test_pack_loads_and_describes_itself(server):
    info = server.get("/object_info")
    for node in ("FMBoostModelLoader", "FMBoostUpscale"):
        inputs = info[node]["input"]
        described = [*inputs["required"].values(), *inputs.get("optional", {}).values()]
        assert all(options[1].get("tooltip") for options in described), node
    names = info["FMBoostModelLoader"]["input"]["required"]["model_name"]
    options = names[0] if isinstance(names[0], list) else names[1]["options"]
    assert options[: len(builtin_models())] == list(builtin_models())
    assert "small.safetensors" in options
    if "search_aliases" in info["KSampler"]:
        assert "hires fix" in info["FMBoostUpscale"]["search_aliases"]
    assert "Traceback" not in server.log.read_text().partition("got prompt")[0]


def test_node_gives_the_core_s_numbers(server):
    samples = read_latent(server.base / "input" / "one.latent").samples
    expected = small_booster().boost(samples, (32, 24), detail=0.5, steps=2, seeds=7)
    torch.testing.assert_close(result(server, boost()), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ({"size": "by factor", "factor": 1.5}, (24, 18)),
        ({"size": "by factor", "factor": 4.0}, (64, 48)),
        ({"size": "to width × height", "width": 168, "height": 200}, (25, 21)),
        ({"size": "to megapixels", "megapixels": 0.1}, (47, 35)),
        ({"size": "by factor", "factor": 1.0}, (16, 12)),
    ],
)
def test_sizes(server, size, shape):
    assert result(server, boost(size=size)).shape == (1, 4, *shape)


@pytest.mark.parametrize("solver", ["midpoint", "dopri5"])
def test_other_solvers_and_tiles_run(server, solver):
    assert result(server, boost(solver=solver, tile_size=128, precision="auto")).shape == (1, 4, 32, 24)


def test_paper_model_runs(server):
    assert result(server, boost(model="paper.safetensors", steps=3)).shape == (1, 4, 32, 24)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "lora.safetensors"}, "lora.safetensors is not an FMBoost model: it is a LoRA"),
        (
            {"model": "flux.safetensors"},
            "boosts flux latents .* 4 channels, as sd15 .* load a model of that family",
        ),
        ({"model": "psu.safetensors"}, "connect the VAE of its family"),
        ({"size": {"size": "to width × height", "width": 64, "height": 64}}, "a boost only enlarges"),
    ],
)
def test_errors_on_the_red_node_say_what_to_do(server, changes, message):
    import re

    error = server.error_of(boost(**changes))
    assert re.search(message, error)
    assert "\n" not in error


def test_mask_batch_and_batch_index_pass_through(server):
    prompt = boost(latent=["masked", 0])
    prompt |= {
        "empty": {"class_type": "EmptyLatentImage", "inputs": {"width": 96, "height": 128, "batch_size": 3}},
        "mask": {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 96, "height": 128}},
        "masked": {
            "class_type": "SetLatentNoiseMask",
            "inputs": {"samples": ["empty", 0], "mask": ["mask", 0]},
        },
        "one": {
            "class_type": "LatentFromBatch",
            "inputs": {"samples": ["masked", 0], "batch_index": 2, "length": 1},
        },
        "alone": {
            "class_type": "FMBoostUpscale",
            "inputs": {**prompt["boost"]["inputs"], "latent": ["one", 0]},
        },
        "save2": {"class_type": "SaveLatent", "inputs": {"samples": ["alone", 0], "filename_prefix": "out"}},
    }
    entry = server.run(prompt)
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    batch, alone = (read_latent(server.saved_latent(entry, node)).samples for node in ("save", "save2"))
    assert batch.shape == (3, 4, 32, 24)
    torch.testing.assert_close(batch[2:], alone, atol=1e-4, rtol=0)


def test_video_latents_keep_their_frames(server):
    prompt = boost(model="flux.safetensors", latent=["empty", 0])
    size = {"width": 64, "height": 48, "length": 9, "batch_size": 2}
    prompt["empty"] = {"class_type": "EmptyHunyuanLatentVideo", "inputs": size}
    assert result(server, prompt).shape == (2, 16, 3, 12, 16)


def test_cancel_stops_at_once_and_the_next_prompt_works(server):
    size = {"size": "by factor", "factor": 8.0}
    prompt_id = server.queue(boost(size=size, steps=100, solver="rk4"))
    time.sleep(1.5)
    server.post("/interrupt", {})
    cancelled = time.monotonic()
    messages = dict(server.wait(prompt_id)["status"]["messages"])
    assert time.monotonic() - cancelled < 5
    assert "execution_interrupted" in messages
    assert result(server, boost()).shape == (1, 4, 32, 24)


def test_a_replaced_model_file_is_loaded_again(server):
    path = server.base / "models" / "fmboost" / "small.safetensors"
    before = result(server, boost())
    kept = path.read_bytes()
    time.sleep(0.02)
    changed = small_booster()
    lively(changed.network, seed=5)
    save(path, changed, dtype=torch.float32)
    try:
        assert not torch.allclose(result(server, boost(seed=7)), before)
    finally:
        path.write_bytes(kept)


def test_an_unchanged_graph_costs_nothing(server):
    prompt = boost(seed=123)
    server.run(prompt)
    messages = dict(server.run(prompt)["status"]["messages"])
    assert {"load", "latent", "boost"} <= set(messages["execution_cached"]["nodes"])


def test_a_compiled_model_gives_the_same(server):
    plain, prompt = result(server, boost(seed=31)), boost(seed=31)
    prompt["load"]["inputs"]["compile"] = True
    torch.testing.assert_close(result(server, prompt), plain, atol=1e-3, rtol=0)


def test_a_latent_of_the_other_family_is_warned_of(server):
    sdxl = load_file(DATA / "family_latents.safetensors")["sdxl"][:1].float()
    write_latent(server.base / "input" / "sdxl.latent", LatentFile(sdxl))
    prompt = boost()
    prompt["latent"]["inputs"]["latent"] = "sdxl.latent"
    assert result(server, prompt).shape == (1, 4, 48, 48)
    assert "boosts sd15 latents, but these look like sdxl" in server.log.read_text()


def require_taesd(server) -> None:
    if not (server.base / "models" / "vae_approx" / "taesd_decoder.safetensors").exists():
        pytest.skip("put taesd_encoder and taesd_decoder.safetensors into ComfyUI's models/vae_approx")


def test_a_pixel_space_model_uses_the_connected_vae(server):
    require_taesd(server)
    prompt = boost(model="psu.safetensors", vae=["vae", 0])
    prompt["vae"] = {"class_type": "VAELoader", "inputs": {"vae_name": "taesd"}}
    assert result(server, prompt).shape == (1, 4, 32, 24)


def test_picture_to_larger_picture(server):
    require_taesd(server)
    picture = DATA / "photo.png"
    shutil.copy(picture, server.base / "input" / "photo.png")
    prompt = boost(model="boostnet-sd15", latent=["encode", 0], detail=0.0, steps=1)
    prompt |= {
        "image": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "vae": {"class_type": "VAELoader", "inputs": {"vae_name": "taesd"}},
        "encode": {"class_type": "VAEEncode", "inputs": {"pixels": ["image", 0], "vae": ["vae", 0]}},
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["boost", 0], "vae": ["vae", 0]}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["decode", 0], "filename_prefix": "large"}},
    }
    entry = server.run(prompt)
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    saved = entry["outputs"]["save"]["images"][0]
    large = Image.open(server.base / "output" / saved["subfolder"] / saved["filename"])
    small = Image.open(picture)
    assert large.size == (2 * small.width, 2 * small.height)
