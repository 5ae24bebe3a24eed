import pytest
import torch
from safetensors.torch import load_file, save_file

from fmboost_core import InputError, OutputError
from fmboost_core.latent_file import LatentFile, read_latent, write_latent


def test_a_file_of_save_latent_is_read_as_load_latent_does(tmp_path):
    path = tmp_path / "a.latent"
    samples = torch.randn(1, 4, 8, 8)
    save_file({"latent_tensor": samples, "latent_format_version_0": torch.tensor([])}, path, {"prompt": "{}"})
    latent = read_latent(path)
    assert torch.equal(latent.samples, samples)
    assert latent.metadata == {"prompt": "{}"}


def test_old_files_are_scaled_as_load_latent_does(tmp_path):
    path = tmp_path / "old.latent"
    save_file({"latent_tensor": torch.ones(1, 4, 8, 8)}, path)
    torch.testing.assert_close(read_latent(path).samples, torch.full((1, 4, 8, 8), 1 / 0.18215))


def test_written_files_have_comfyui_s_keys(tmp_path):
    path = tmp_path / "out" / "b.latent"
    write_latent(path, LatentFile(torch.ones(1, 4, 2, 2, dtype=torch.float16), {"prompt": "{}"}))
    tensors = load_file(path)
    assert tensors.keys() == {"latent_tensor", "latent_format_version_0"}
    assert tensors["latent_tensor"].dtype == torch.float32
    assert read_latent(path).metadata == {"prompt": "{}"}


def test_existing_files_are_kept(tmp_path):
    path = tmp_path / "b.latent"
    path.write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        write_latent(path, LatentFile(torch.ones(1, 4, 2, 2)))
    assert path.read_text() == "precious"


def test_other_files_are_named(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(InputError, match="not a latent file"):
        read_latent(path)
    save_file({"latent_tensor": torch.ones(2, dtype=torch.int32)}, path)
    with pytest.raises(InputError, match="floating point"):
        read_latent(path)
