import json
import os
import subprocess
import sys

import pytest
import torch
from helpers import random_latent, small_booster
from PIL import Image
from reference_checkpoint import write_checkpoint

from fmboost_core import inspect, save
from fmboost_core.cli import main
from fmboost_core.latent_file import LatentFile, read_latent, write_latent


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    save(path, small_booster(), dtype=torch.float32)
    return str(path)


@pytest.fixture
def latent(tmp_path):
    path = tmp_path / "in.latent"
    write_latent(path, LatentFile(random_latent(1, 4, 8, 6), {"prompt": "{}"}))
    return str(path)


def complaint(capsys) -> str:
    """The one line on stderr."""
    error = capsys.readouterr().err
    assert error.startswith("fmboost: ")
    assert error.count("\n") == 1
    return error


def test_upscale_writes_a_latent_and_a_preview(tmp_path, model, latent, capsys):
    out, png = tmp_path / "out.latent", tmp_path / "p.png"
    call = [
        "upscale",
        latent,
        "-o",
        str(out),
        "--model",
        model,
        "--preview",
        str(png),
        "--dtype",
        "fp32",
        "--json",
    ]
    assert main([*call, "--detail", "0.5", "--seed", "7"]) == 0
    written = read_latent(out)
    assert written.metadata == {"prompt": "{}"}
    expected = small_booster().boost(read_latent(latent).samples, (16, 12), detail=0.5, seeds=7)
    torch.testing.assert_close(written.samples, expected, atol=1e-4, rtol=0)
    assert Image.open(png).size == (96, 128)
    report = json.loads(capsys.readouterr().out)
    assert report[0]["shape"] == [1, 4, 16, 12]


def test_many_inputs_go_into_a_folder_under_their_names(tmp_path, model, latent):
    other = tmp_path / "other.latent"
    write_latent(other, LatentFile(random_latent(2, 4, 4, 4)))
    call = ["upscale", latent, str(other), "-o", str(tmp_path / "out"), "--model", model]
    assert main([*call, "--scale", "1.5", "--preview", str(tmp_path / "p.png")]) == 0
    assert read_latent(tmp_path / "out" / "in.latent").samples.shape == (1, 4, 12, 9)
    assert read_latent(tmp_path / "out" / "other.latent").samples.shape == (2, 4, 6, 6)
    assert (tmp_path / "p-1.png").exists() and (tmp_path / "p-2.png").exists()


def test_existing_output_is_kept_unless_forced(tmp_path, model, latent, capsys):
    out = tmp_path / "out.latent"
    out.write_text("precious")
    call = ["upscale", latent, "-o", str(out), "--model", model]
    assert main(call) == 2
    assert "exists already" in complaint(capsys)
    assert out.read_text() == "precious"
    assert main([*call, "--force"]) == 0
    assert read_latent(out).samples.shape == (1, 4, 16, 12)


def test_a_bad_input_among_many_leaves_the_finished_ones(tmp_path, model, latent, capsys):
    broken = tmp_path / "broken.latent"
    broken.write_bytes(b"no latent at all")
    assert main(["upscale", latent, str(broken), "-o", str(tmp_path / "out"), "--model", model]) == 2
    assert "broken.latent is not a whole safetensors file" in capsys.readouterr().err
    assert read_latent(tmp_path / "out" / "in.latent").samples.shape == (1, 4, 16, 12)
    assert not (tmp_path / "out" / "broken.latent").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--scale", "0.5"], "only enlarges"),
        (["--scale", "9"], "more than 8 times"),
        (["--scale", "nan"], "the factor is nan"),
        (["--detail", "2"], "detail is 2"),
        (["--steps", "0"], "steps is 0"),
        (["--tile", "-8"], "tile"),
        (["--model", "absent.safetensors"], "there is no model absent.safetensors"),
        (["--device", "abacus"], "the device 'abacus' cannot be used"),
        (["--family", "sdxl"], "boosts sd15 latents, not sdxl"),
    ],
)
def test_bad_options_are_one_line_and_exit_2(tmp_path, model, latent, capsys, extra, message):
    out = tmp_path / "out.latent"
    options = {"--model": model} | dict([extra])
    call = ["upscale", latent, "-o", str(out), *(w for pair in options.items() for w in pair)]
    assert main(call) == 2
    assert message in complaint(capsys)
    assert not out.exists()


def test_an_input_that_is_not_there(tmp_path, model, capsys):
    assert (
        main(["upscale", str(tmp_path / "x.latent"), "-o", str(tmp_path / "y.latent"), "--model", model]) == 2
    )
    assert "no such file" in complaint(capsys)


@pytest.mark.parametrize("shape", [(), (4,), (8, 8), (4, 8, 8), (1, 16, 8, 8), (1, 4, 0, 8)])
def test_latents_of_odd_shapes_are_named(tmp_path, model, capsys, shape):
    path = tmp_path / "odd.latent"
    write_latent(path, LatentFile(torch.zeros(shape)))
    assert main(["upscale", str(path), "-o", str(tmp_path / "y.latent"), "--model", model]) == 2
    assert "the latent" in complaint(capsys)


def test_pixel_space_models_are_sent_to_comfyui(tmp_path, latent, capsys):
    path = tmp_path / "psu.safetensors"
    save(path, small_booster(source_upsampling="psu", context_upsampling="psu"))
    assert main(["upscale", latent, "-o", str(tmp_path / "y.latent"), "--model", str(path)]) == 2
    assert "needs a VAE: use it in ComfyUI" in complaint(capsys)


def test_consoles_without_greek_letters_do_not_fail(model):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    call = [sys.executable, "-m", "fmboost_core", "info", model]
    done = subprocess.run(call, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert b"noise: ? 0 to 0.5" in done.stdout


def test_many_inputs_need_a_folder(tmp_path, model, latent, capsys):
    assert main(["upscale", latent, latent, "-o", str(tmp_path / "y.latent"), "--model", model]) == 2
    assert "need a folder" in complaint(capsys)
    assert main(["upscale", latent, latent, "-o", str(tmp_path / "y"), "--model", model]) == 2
    assert "same file name" in complaint(capsys)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="a superuser can write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path, model, latent, capsys):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert main(["upscale", latent, "-o", str(folder / "y.latent"), "--model", model]) == 2
    assert "cannot be written" in complaint(capsys)


def test_output_below_a_file_cannot_be_written(tmp_path, model, latent, capsys):
    assert main(["upscale", latent, "-o", str(tmp_path / "in.latent" / "y.latent"), "--model", model]) == 2
    assert "cannot be written" in complaint(capsys)


def test_info_for_people_and_for_programs(model, capsys):
    assert main(["info", model]) == 0
    assert "Stable Diffusion 1.x" in capsys.readouterr().out
    assert main(["info", model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["spec"]["family"] == "sd15"


def test_convert(tmp_path, capsys):
    source, target = write_checkpoint(tmp_path / "ref.ckpt"), tmp_path / "ours.safetensors"
    assert main(["convert", str(source), "-o", str(target)]) == 0
    assert inspect(target).network == "unet"
    assert "moving average" in capsys.readouterr().out
    assert main(["convert", str(source), "-o", str(target)]) == 2
    assert "exists already" in complaint(capsys)


def test_convert_takes_settings_for_a_checkpoint_that_has_none(tmp_path):
    source, target = write_checkpoint(tmp_path / "ref.ckpt", hyper_parameters={}), tmp_path / "o.safetensors"
    network = ["--model-channels", "32", "--num-res-blocks", "1", "--channel-mult", "1,2", "--dim-head", "8"]
    network += ["--attention-resolutions", "2", "--num-heads", "2", "--use-linear-attn", "false"]
    assert main(["convert", str(source), "-o", str(target), *network, "--upsampling-mode", "bilinear"]) == 0
    assert inspect(target).spec.source_upsampling == "bilinear"


def test_the_core_runs_as_a_program_without_comfyui(latent, model, tmp_path):
    code = "import sys, fmboost_core; assert not {'comfy', 'nodes', 'folder_paths'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    call = [
        sys.executable,
        "-m",
        "fmboost_core",
        "upscale",
        latent,
        "-o",
        str(tmp_path / "o.latent"),
        "--model",
        model,
    ]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o.latent").exists()
