import pytest
import torch
from reference_checkpoint import NET, settings, weights, write_checkpoint

from fmboost_core import CheckpointError, InputError, load, save
from fmboost_core.convert import read_reference
from fmboost_core.flow import cosine_sigma
from fmboost_core.networks.unet import config_from_reference

NET_OVERRIDES = {
    k: NET[k]
    for k in (
        "model_channels",
        "num_res_blocks",
        "channel_mult",
        "attention_resolutions",
        "dim_head",
        "num_heads",
    )
}


def test_moving_average_is_the_default_and_online_on_request(tmp_path):
    path = write_checkpoint(tmp_path / "ref.ckpt")
    average, online = (read_reference(path, online=o).network.state_dict() for o in (False, True))
    for key, value in weights(1.0).items():
        assert torch.equal(online[key], value)
        assert torch.equal(average[key], 0.5 * value)


def test_settings_become_the_spec(tmp_path):
    booster = read_reference(write_checkpoint(tmp_path / "ref.ckpt"))
    spec, config = booster.spec, booster.network.config
    assert spec.sigma_range == pytest.approx([cosine_sigma(400 / 999)] * 2)
    assert (spec.source_upsampling, spec.context_upsampling) == ("bilinear", "nearest")
    assert config.scrambled_attention
    assert config.time_scale == 1.0


def test_pure_noise_models_start_at_sigma_one(tmp_path):
    hyper = settings(start_from_noise=True, noising_step=-1)
    spec = read_reference(write_checkpoint(tmp_path / "ref.ckpt", hyper_parameters=hyper)).spec
    assert spec.sigma_range == (1.0, 1.0)


def test_converted_model_round_trips(tmp_path):
    booster = read_reference(write_checkpoint(tmp_path / "ref.ckpt"))
    save(tmp_path / "ours.safetensors", booster, dtype=torch.float32)
    again = load(tmp_path / "ours.safetensors")
    assert again.spec == booster.spec
    weights, kept = booster.network.state_dict(), again.network.state_dict()
    assert weights.keys() == kept.keys()
    assert all(torch.equal(weights[name], kept[name]) for name in weights)
    samples = torch.randn(1, 4, 8, 8)
    # Not bit by bit: kernels may round otherwise where the weights lie otherwise in memory.
    torch.testing.assert_close(again.boost(samples, (16, 16)), booster.boost(samples, (16, 16)))


def test_a_checkpoint_without_settings_takes_the_published_ones_and_yours(tmp_path, caplog):
    path = write_checkpoint(tmp_path / "ref.ckpt", hyper_parameters={})
    with pytest.raises(CheckpointError, match="does not fit the settings' network"):
        read_reference(path)
    booster = read_reference(path, overrides={**NET_OVERRIDES, "noising_step": -1})
    assert booster.network.config == config_from_reference(NET)
    assert booster.spec.source_upsampling == "psu"
    assert booster.spec.sigma_range == (0.0, 0.0)
    assert "carries no settings" in caplog.text


def test_given_settings_go_before_stored_ones(tmp_path):
    path = write_checkpoint(tmp_path / "ref.ckpt")
    assert read_reference(path, overrides={"upsampling_mode": "nearest"}).spec.source_upsampling == "nearest"
    with pytest.raises(InputError, match="no setting 'colour'"):
        read_reference(path, overrides={"colour": 1})


def test_omegaconf_settings_are_read_without_omegaconf(tmp_path):
    """The reference's train.py passes OmegaConf containers, and Lightning pickles them as they are."""
    omegaconf = pytest.importorskip("omegaconf", reason="pip install omegaconf to write such a checkpoint")
    hyper = {k: omegaconf.OmegaConf.create(v) if isinstance(v, dict) else v for k, v in settings().items()}
    path = write_checkpoint(tmp_path / "ref.ckpt", hyper_parameters=hyper)
    assert read_reference(path).network.config == config_from_reference(NET)
    assert read_reference(path).spec.sigma_range == pytest.approx([cosine_sigma(400 / 999)] * 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state_dict": None}, "no state_dict"),
        ({"state_dict": {}}, "has no weights ema_model"),
        ({"hyper_parameters": settings(ca_context=True)}, "cross-attention"),
        ({"hyper_parameters": settings(upsampling_mode="noise_upsampling")}, "unknown upsampling"),
        ({"hyper_parameters": settings(concat_context=False)}, "does not fit its settings"),
        ({"hyper_parameters": {"lr": 1}}, "no fm_cfg"),
    ],
)
def test_what_cannot_be_imported_is_named(tmp_path, changes, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        read_reference(write_checkpoint(tmp_path / "ref.ckpt", **changes))
    assert "\n" not in str(caught.value)


def test_wrong_family_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="does not fit its settings and the family flux"):
        read_reference(write_checkpoint(tmp_path / "ref.ckpt"), family="flux")


def test_weights_that_do_not_fit_are_named(tmp_path):
    path = write_checkpoint(tmp_path / "ref.ckpt")
    content = torch.load(path)
    content["state_dict"]["ema_model.ema_model.net.out.2.bias"] = torch.zeros(7)
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"out\.2\.bias does not fit"):
        read_reference(path)


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    path = write_checkpoint(tmp_path / "ref.ckpt", hyper_parameters=Bomb())
    with pytest.raises(CheckpointError, match=r"wants to run .*open"):
        read_reference(path)
    assert not (tmp_path / "exploded").exists()


def test_files_of_another_kind_are_named(tmp_path):
    path = tmp_path / "x.ckpt"
    with pytest.raises(CheckpointError, match="no such file"):
        read_reference(path)
    for content in (b"", b"hello", b"PK\x03\x04broken"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="not a torch checkpoint"):
            read_reference(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="not a Lightning checkpoint"):
        read_reference(path)
    whole = write_checkpoint(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError):
        read_reference(path)
