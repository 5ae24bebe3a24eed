import json

import pytest
import torch
from helpers import small_booster
from PIL import Image

from fmboost_core import InputError, save
from fmboost_core.bench import measure as module
from fmboost_core.bench import rivals
from fmboost_core.bench.measure import BICUBIC, FULL, PAPER, STEPS, TINY, measure
from fmboost_core.bench.show import as_markdown, plot

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """All of it but the full VAE, with a small network in the paper's place, on tiny pictures."""
    path = tmp_path_factory.mktemp("bench") / "small.safetensors"
    save(path, small_booster())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SIDES", (128, 256))
        patch.setattr(
            rivals, "PAPER_SHAPE", {"model_channels": 32, "channel_mult": (1, 2), "num_res_blocks": 1}
        )
        patch.setattr(rivals, "full_decode", rivals.tiny_decode)
        return measure(path, CPU, "fp32", source=64, seconds=0.0, compiled=False)


def test_everything_is_compared_in_one_run(bench):
    assert {(row.name, row.steps) for row in bench.rows} == {
        *(("boost", steps) for steps in STEPS), (TINY, None), (FULL, None), (PAPER, None), (BICUBIC, None)
    }  # fmt: skip
    assert all(0 < row.timing.fastest <= row.timing.median <= row.timing.slowest for row in bench.rows)
    assert not bench.left_out


def test_ratios_are_those_of_the_medians(bench):
    boost, tiny, paper = (bench.find(*key).timing.median for key in (("boost", 1), (TINY,), (PAPER,)))
    assert bench.ratios["one_step_boost_vs_tiny_decode"] == boost / tiny
    assert bench.ratios["one_step_unet_vs_boost"] == paper / boost
    assert bench.ratios["boost_vs_vae_decode"] > 0


def test_speed_is_told_against_the_machine_s_own(bench):
    assert 0 < bench.peak_fraction == bench.speeds["network"] / bench.speeds["convolution"]


def test_memory_is_that_of_each_size(bench):
    small, large = (bench.memory[side] for side in ("128", "256"))
    assert 3 * small < large < 5 * small


def test_json_holds_it_all(bench):
    data = json.loads(json.dumps(bench.to_json()))
    assert {"ratios", "peak_fraction", "memory", "machine", "rows", "sizes"} <= data.keys()
    assert {"boost_vs_tiny_decode", "boost_vs_vae_decode", "unet_vs_boost"} <= data["ratios"].keys()


def test_the_table_names_every_row(bench):
    text = as_markdown(bench)
    for name in ("boost, 1 step ", "boost, 4 steps ", TINY, PAPER, "256²", "boost vs tiny decode"):
        assert f"| {name}" in text


def test_curves_are_drawn(bench, tmp_path):
    plot(bench, tmp_path / "curves.png")
    picture = Image.open(tmp_path / "curves.png").convert("L")
    assert picture.width > picture.height > 200 and picture.getextrema()[0] < 50


def test_a_missing_library_leaves_its_row_out(tmp_path, monkeypatch):
    def missing(*_):
        raise InputError("the full VAE needs diffusers")

    monkeypatch.setattr(module, "SIDES", ())
    monkeypatch.setattr(
        rivals, "PAPER_SHAPE", {"model_channels": 32, "channel_mult": (1,), "num_res_blocks": 1}
    )
    monkeypatch.setattr(rivals, "full_decode", missing)
    save(tmp_path / "small.safetensors", small_booster())
    bench = measure(tmp_path / "small.safetensors", CPU, "fp32", source=64, seconds=0.0, compiled=False)
    assert bench.left_out == [f"{FULL}: the full VAE needs diffusers"]
    assert "boost_vs_vae_decode" not in bench.ratios
    assert "diffusers" in as_markdown(bench)


@pytest.mark.parametrize("size", [0, 100, -64])
def test_a_size_that_is_no_latent_s(tmp_path, size):
    save(tmp_path / "small.safetensors", small_booster())
    with pytest.raises(InputError, match="multiple of 8 pixels"):
        measure(tmp_path / "small.safetensors", CPU, "fp32", source=size)
