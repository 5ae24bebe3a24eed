"""From images to a trained model in a real ComfyUI."""

from __future__ import annotations

import shutil
import time

import pytest
import torch
from comfy_server import ComfyServer
from helpers import DATA, lively

from fmboost_core import Booster, BoosterSpec, inspect, load, save
from fmboost_core.networks.bridgenet import BridgeNet, BridgeNetConfig
from fmboost_core.precision import fastest_precision


def graph(**changes) -> dict:
    """Load Image → scale to 512 → Make Pairs → Train → Save Model and Plot Loss Graph."""
    pairs = {
        "images": ["large", 0],
        "vae": ["vae", 0],
        "family": "sd15",
        "name": "mine",
        "crops": 1,
        "seed": 0,
    }
    train = {
        "pairs": ["pairs", 0], "name": "run", "steps": 10, "batch": 1, "learning_rate": 1e-3, "texture": 0.5,
        "decoder_loss": False, "seed": 0, "sample_every": 5, "width": 64, "depth": 1,
    }  # fmt: skip
    nodes = {
        "image": ("LoadImage", {"image": "photo.png"}),
        "large": (
            "ImageScale",
            {"image": ["image", 0], "upscale_method": "bicubic", "width": 512, "height": 520}
            | {"crop": "disabled"},
        ),
        "vae": ("VAELoader", {"vae_name": "taesd"}),
        "pairs": ("FMBoostMakePairs", pairs | changes.get("pairs", {})),
        "train": ("FMBoostTrain", train | changes.get("train", {})),
        "save": ("FMBoostSaveModel", {"model": ["train", 0], "name": "mine"} | changes.get("save", {})),
        "loss": ("LossGraphNode", {"loss": ["train", 1], "filename_prefix": "loss"}),
    } | changes.get("nodes", {})
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}


@pytest.fixture(autouse=True)
def image(server):
    if not list((server.base / "models" / "vae_approx").glob("taesd_encoder*")):
        pytest.skip("needs ComfyUI's taesd in models/vae_approx")
    shutil.copy(DATA / "photo.png", server.base / "input" / "photo.png")
    yield
    shutil.rmtree(server.base / "output" / "fmboost" / "runs", ignore_errors=True)


def test_images_become_a_model_and_a_loss_graph(server):
    entry = server.run(graph(train={"decoder_loss": True}))
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    work, models = server.base / "output" / "fmboost", server.base / "models" / "fmboost"
    assert len(list((work / "pairs" / "mine").glob("*.safetensors"))) == 1
    info = inspect(models / "mine.safetensors")
    assert (info.spec.family, info.spec.training["steps"]) == ("sd15", 10)
    assert info.config == {"latent_channels": 4, "width": 64, "depth": 1, "resolutions": 3}
    assert entry["outputs"]["loss"]["images"]
    # Again, with another seed of the training alone: pairs stay, and the file gets a number.
    entry = server.run(graph(train={"seed": 1, "name": "other", "sample_every": 10}))
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    assert len(list((work / "pairs" / "mine").glob("*.safetensors"))) == 1
    assert (models / "mine-2.safetensors").exists()
    for path in models.glob("mine*"):
        path.unlink()


def test_without_bf16_all_of_it_trains_in_fp32(server, tmp_path):
    """There autocast makes no copies, so that whatever ComfyUI's inference mode touched would show."""
    if fastest_precision("cpu") == "fp32":
        pytest.skip("this machine has no bf16: the other tests train in fp32 as it is")
    running = ComfyServer(server.folder, tmp_path / "base", options=["--force-fp32"])
    try:
        shutil.copy(DATA / "photo.png", running.base / "input" / "photo.png")
        entry = running.run(graph(train={"decoder_loss": True}))
        assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
        assert (running.base / "models" / "fmboost" / "mine.safetensors").exists()
        run = running.base / "output" / "fmboost" / "runs" / "run"
        state = torch.load(run / "state.pt", weights_only=True)
        assert (state["step"], state["config"]["precision"]) == (10, "fp32")
    finally:
        running.stop()


def fine_tuned(server, name: str) -> tuple[Booster, Booster]:
    """A model of the server's, and what ten steps at a tiny rate make of it."""
    loader = ("FMBoostModelLoader", {"model_name": f"{name}.safetensors", "precision": "fp32"})
    changes = {"nodes": {"load": loader}, "train": {"model": ["load", 0], "learning_rate": 1e-6}}
    entry = server.run(graph(**changes, save={"name": "tuned"}))
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    models = server.base / "models" / "fmboost"
    start, tuned = (load(models / f"{n}.safetensors", dtype=torch.float32) for n in (name, "tuned"))
    (models / "tuned.safetensors").unlink()
    return start, tuned


def test_fine_tuning_goes_on_from_a_model(server):
    start, tuned = fine_tuned(server, "small")
    for a, b in zip(start.network.parameters(), tuned.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-2, rtol=2e-2)


def test_a_model_of_another_family_gives_a_start(server):
    start, tuned = fine_tuned(server, "flux")
    assert tuned.spec.family == "sd15" and tuned.network.config.latent_channels == 4
    trained, given = (b.network.blocks[0].conv1.weight for b in (tuned, start))
    torch.testing.assert_close(trained, given, atol=0.02, rtol=0)


def test_fine_tuning_keeps_the_shape(server):
    bridge = lively(BridgeNet(BridgeNetConfig(4, width=64, depth=1, resolutions=4)))
    path = server.base / "models" / "fmboost" / "four.safetensors"
    save(path, Booster(bridge, BoosterSpec("sd15")))
    start, tuned = fine_tuned(server, "four")
    path.unlink()
    assert tuned.network.config == start.network.config


def test_cancel_keeps_what_was_learned_and_the_run_goes_on(server):
    run = server.base / "output" / "fmboost" / "runs" / "long"
    long = graph(train={"steps": 30, "name": "long", "sample_every": 30})
    identity = server.queue(long)
    deadline = time.monotonic() + 60
    while not (run / "loss.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    server.post("/interrupt", {})
    assert server.wait(identity)["status"]["status_str"] == "error"
    reached = inspect(run / "model.safetensors").spec.training["steps"]
    assert 0 < reached < 30
    entry = server.run(long)
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    assert inspect(run / "model.safetensors").spec.training["steps"] == 30
    for path in (server.base / "models" / "fmboost").glob("mine*"):
        path.unlink()


def test_pairs_that_were_taken_away_are_noticed(server):
    server.run(graph())
    shutil.rmtree(server.base / "output" / "fmboost" / "pairs")
    assert "were taken away: change the seed" in server.error_of(graph(train={"seed": 5}))
    assert server.run(graph(pairs={"seed": 1}))["status"]["status_str"] == "success"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": {"images": ["image", 0]}}, "no image is large enough: 512 pixels a side are needed"),
        ({"pairs": {"family": "flux"}}, "4 channels"),
        ({"pairs": {"name": "../../etc"}}, "the name '../../etc' cannot be used"),
        ({"train": {"name": ""}}, "the name '' cannot be used"),
    ],
)
def test_errors_on_the_red_node_say_what_to_do(server, changes, message):
    error = server.error_of(graph(**changes))
    assert message in error
    assert "\n" not in error
