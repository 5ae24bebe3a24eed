import json
import struct

import pytest
import torch
from helpers import lively, random_latent, small_booster
from safetensors.torch import save_file

from fmboost_core import Booster, BoosterSpec, CheckpointError, OutputError, inspect, load, save
from fmboost_core.networks.unet import UNet, UNetConfig

UNET = UNetConfig(
    4, model_channels=32, num_res_blocks=1, channel_mult=(1, 2), attention_factors=(2,), head_channels=8
)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    save(path, small_booster(training={"steps": 12, "data": "noise"}), dtype=torch.float32)
    return path


def rewrite(path, change):
    """Change the JSON description within a model file."""
    from fmboost_core.safetensors_file import read_tensors

    tensors, metadata = read_tensors(path)
    description = json.loads(metadata["fmboost"])
    change(description, tensors)
    save_file(tensors, path, {"fmboost": json.dumps(description)})
    return path


@pytest.mark.parametrize(
    "booster", [small_booster(), Booster(lively(UNet(UNET)), BoosterSpec("sdxl"))], ids=["boostnet", "unet"]
)
def test_saved_and_loaded_boosters_agree(tmp_path, booster):
    path = tmp_path / "m.safetensors"
    save(path, booster, dtype=torch.float32)
    again = load(path)
    assert again.spec == booster.spec
    assert again.network.config == booster.network.config
    samples = random_latent(1, 4, 8, 8)
    kwargs = {"detail": 0.5, "steps": 2, "seeds": 3}
    assert torch.equal(again.boost(samples, (16, 16), **kwargs), booster.boost(samples, (16, 16), **kwargs))
    twice = tmp_path / "again.safetensors"
    save(twice, again, dtype=torch.float32)
    assert twice.read_bytes() == path.read_bytes()


def test_info_tells_from_the_header_what_the_file_is(model):
    info = inspect(model)
    assert (info.network, info.spec.family, info.dtype) == ("boostnet", "sd15", torch.float32)
    assert info.parameters == sum(p.numel() for p in small_booster().network.parameters())
    assert info.spec.training == {"steps": 12, "data": "noise"}
    assert json.loads(json.dumps(info.to_json()))["receptive_field"] == 8


def test_stored_precision_and_running_precision_are_separate(tmp_path):
    save(tmp_path / "m.safetensors", small_booster())
    assert inspect(tmp_path / "m.safetensors").dtype == torch.bfloat16
    assert (
        next(load(tmp_path / "m.safetensors", dtype=torch.float32).network.parameters()).dtype
        == torch.float32
    )


def test_an_existing_file_is_kept_unless_told(model):
    before = model.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        save(model, small_booster(), overwrite=False)
    assert model.read_bytes() == before


def test_a_failed_write_leaves_the_old_file_and_nothing_else(model, monkeypatch):
    import fmboost_core.safetensors_file as module

    before = model.read_bytes()

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        save(model, small_booster())
    assert model.read_bytes() == before
    assert [p.name for p in model.parent.iterdir()] == [model.name]


FOREIGN = {
    "LTX": ({"post_upsample_res_blocks.0.conv2.bias": 8}, "LTX"),
    "Hunyuan": ({"blocks.0.block.0.conv.weight": 8}, "Hunyuan"),
    "ESRGAN": ({"model.1.sub.0.RDB1.conv1.0.weight": 8}, "ESRGAN"),
    "checkpoint": ({"model.diffusion_model.input_blocks.0.0.weight": 8}, "Load Checkpoint"),
    "LoRA": ({"lora_unet_x.lora_up.weight": 8}, "LoRA"),
    "VAE": ({"decoder.mid.block_1.conv1.weight": 8}, "Load VAE"),
    "latent": ({"latent_tensor": 8}, "Load Latent"),
    "anything": ({"something.weight": 8}, "no 'fmboost' entry"),
}


@pytest.mark.parametrize(("weights", "hint"), FOREIGN.values(), ids=FOREIGN)
def test_foreign_files_are_named(tmp_path, weights, hint):
    path = tmp_path / "foreign.safetensors"
    save_file({k: torch.zeros(n) for k, n in weights.items()}, path)
    with pytest.raises(CheckpointError, match=hint) as caught:
        load(path)
    assert "foreign.safetensors is not an FMBoost model" in str(caught.value)


def spec_entry(key, value):
    return lambda d, t: d["spec"].__setitem__(key, value)


DAMAGE = {
    "version": (lambda d, t: d.update(format=99), "format version 99.*update FMBoost"),
    "network": (lambda d, t: d.update(network="transformer"), "network 'transformer'.*update FMBoost"),
    "family": (spec_entry("family", "sd9"), "unknown latent family 'sd9'"),
    "other family": (spec_entry("family", "flux"), "4 latent channels, but its family flux has 16"),
    "path": (spec_entry("path", "spiral"), "unknown path"),
    "sigma": (spec_entry("sigma_range", [0.5, 7]), "sigma_range"),
    "mean": (spec_entry("mean", [1.0]), "mean does not hold 4"),
    "std": (spec_entry("std", [1, 1, 0, 1]), "std is not positive"),
    "unknown fact": (spec_entry("colour", "red"), "unknown entry 'colour'"),
    "wrong type": (spec_entry("sigma_range", "wide"), "damaged"),
    "unknown config": (lambda d, t: d["config"].update(heads=4), "unknown entry 'heads'"),
    "giant width": (lambda d, t: d["config"].update(width=64 * 10**9), "claims .* parameters|damaged"),
    "giant depth": (lambda d, t: d["config"].update(depth=10**12), "more than the file can hold"),
    "negative": (lambda d, t: d["config"].update(depth=-1), "positive whole number"),
    "odd width": (lambda d, t: d["config"].update(width=65), "multiple of 64"),
    "missing weight": (lambda d, t: t.pop("stem.bias"), "claims .* parameters"),
    "renamed weight": (lambda d, t: t.update(stem2=t.pop("stem.bias")), "stem.bias is missing"),
    "nan": (lambda d, t: t["stem.bias"].fill_(float("nan")), "stem.bias is not finite"),
    "integers": (lambda d, t: t.update({"stem.bias": t["stem.bias"].int()}), "stored as I32"),
    "no config": (lambda d, t: d.pop("config"), "config or spec is missing"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_descriptions_are_named(model, change, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        load(rewrite(model, change))
    assert "\n" not in str(caught.value)
    assert model.name in str(caught.value)


def test_description_that_is_not_json(model):
    save_file({"a": torch.zeros(1)}, model, {"fmboost": "{" * 50_000})
    with pytest.raises(CheckpointError, match="not JSON"):
        load(model)


def test_endless_description(model):
    save_file({"a": torch.zeros(1)}, model, {"fmboost": "x" * (2 << 20)})
    with pytest.raises(CheckpointError, match="characters long"):
        load(model)


def test_truncated_files_are_named(model):
    whole = model.read_bytes()
    for length in (1, 7, 8, 100, 1000, len(whole) // 2, len(whole) - 1):
        model.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            load(model)


def test_empty_missing_and_absurd_files(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(CheckpointError, match="no such file"):
        load(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="0 bytes"):
        load(path)
    path.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load(path)


@pytest.mark.parametrize("length", [0x280, 0x380, 0x480, 0x580])
def test_a_header_whose_length_looks_like_a_pickle_is_no_pickle(tmp_path, length):
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"k": ""})
    missing = length - struct.unpack("<Q", path.read_bytes()[:8])[0]
    save_file({"a": torch.zeros(1)}, path, {"k": "x" * missing})
    assert path.read_bytes()[:2] == struct.pack("<H", length)
    with pytest.raises(CheckpointError, match="no 'fmboost' entry"):
        load(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt", ".pt"])
def test_pickles_are_never_opened(tmp_path, suffix):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    path = tmp_path / f"bomb{suffix}"
    for zipped in (True, False):
        torch.save({"state_dict": Bomb()}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError, match="pickle"):
            load(path)
    assert not (tmp_path / "exploded").exists()
