"""From pictures to a model by the commands alone."""

import json

import pytest
import torch
from helpers import photo, small_booster, write_tiny_vae

from fmboost_core import Booster, BoosterSpec, inspect, save
from fmboost_core.cli import main
from fmboost_core.images import to_image
from fmboost_core.networks.boostnet import BoostNet, BoostNetConfig

RECIPE = """
family = "sd15"
shape = { width = 64, depth = 1 }
steps = 4
batch = 2
window = 16
decoder_stages = 1
"""


@pytest.fixture
def work(tmp_path):
    (tmp_path / "pictures").mkdir()
    for k in range(3):
        to_image(photo(160).roll(k * 20, -1)).save(tmp_path / "pictures" / f"{k}.png")
    write_tiny_vae(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


def encode(work, *more: str) -> int:
    return main([
        "encode", str(work / "pictures"), "-o", str(work / "pairs"), "--vae", str(work / "tiny"),
        "--family", "sd15", "--crop", "16", "--crops", "2", "--per-shard", "2", "--dtype", "fp32", *more,
    ])  # fmt: skip


def train(work, *more: str) -> int:
    return main([
        "train", str(work / "recipe.toml"), "--pairs", str(work / "pairs"), "--out", str(work / "run"),
        "--vae", str(work / "tiny"), "--device", "cpu", *more,
    ])  # fmt: skip


def test_pictures_become_a_model_that_boosts(work, capsys):
    assert encode(work, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(work / "pairs"), "shards": 2, "crops": 6}
    assert train(work, "--json") == 0
    model = work / "run" / "model.safetensors"
    assert json.loads(capsys.readouterr().out)["path"] == str(model)
    training = inspect(model).spec.training
    assert (training["recipe"], training["steps"]) == ("recipe.toml", 4)
    assert training["data"] == "6 crops of 16 latents"
    assert training["config"]["shape"] == {"width": 64, "depth": 1}


def test_training_shows_how_it_goes(work, capsys):
    encode(work)
    (work / "val").mkdir()
    to_image(photo(192)).save(work / "val" / "a.png")
    assert train(work, "--val", str(work / "val"), "--val-every", "2") == 0
    run = work / "run"
    assert sorted(p.name for p in (run / "samples").iterdir()) == ["0000002.png", "0000004.png"]
    assert (run / "validation.csv").read_text().count("\n") == 3
    assert {p.name for p in run.iterdir()} >= {"model.safetensors", "state.pt", "snapshots"}


def test_parts_make_the_whole(work, capsys):
    assert encode(work, "--part", "1/2") == 0
    assert [p.name for p in (work / "pairs").iterdir()] == ["000000.safetensors"]
    assert encode(work, "--part", "2/2") == 0
    assert len(list((work / "pairs").iterdir())) == 2


def test_training_stops_and_goes_on(work, capsys):
    encode(work)
    assert train(work, "--until", "2") == 0
    assert inspect(work / "run" / "model.safetensors").spec.training["steps"] == 2
    assert train(work) == 0
    assert inspect(work / "run" / "model.safetensors").spec.training["steps"] == 4


def test_fine_tuning_names_what_it_started_from(work, capsys):
    encode(work)
    save(work / "start.safetensors", small_booster(training={"steps": 7}), dtype=torch.float32)
    assert train(work, "--init", str(work / "start.safetensors")) == 0
    training = inspect(work / "run" / "model.safetensors").spec.training
    assert training["started_from"] == {"model": "start", "training": {"steps": 7}}
    deeper = Booster(BoostNet(BoostNetConfig(4, width=64, depth=2)), BoosterSpec("sd15"))
    save(work / "deeper.safetensors", deeper)
    assert train(work, "--init", str(work / "deeper.safetensors")) == 2
    assert "of a network of another shape" in capsys.readouterr().err


def test_weights_of_another_family_are_a_start_too(work):
    encode(work)
    other = small_booster("sdxl")
    save(work / "sdxl.safetensors", other, dtype=torch.float32)
    assert train(work, "--until", "1", "--init", str(work / "sdxl.safetensors")) == 0
    state = torch.load(work / "run" / "state.pt", weights_only=True)["network"]
    # One step at a small rate has not taken them far.
    torch.testing.assert_close(state, other.network.state_dict(), atol=0.01, rtol=0)
    assert inspect(work / "run" / "model.safetensors").spec.family == "sd15"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--crop", "30"], "multiple of 4"),
        (["--per-shard", "0"], "at least 1"),
        (["--crop", "64"], "no picture in"),
        (["--family", "flux"], "makes 4 channels, but flux has 16"),
        (["--vae", "absent"], "there is no absent_encoder"),
    ],
)
def test_encode_says_what_is_wrong(work, arguments, complaint, capsys):
    assert encode(work, *arguments) == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]


def test_train_says_what_is_wrong(work, capsys):
    assert train(work) == 2
    assert "holds no shards" in capsys.readouterr().err
    encode(work)
    (work / "recipe.toml").write_text(RECIPE + "stepz = 1\n")
    assert train(work) == 2
    assert "the nearest is 'steps'" in capsys.readouterr().err
