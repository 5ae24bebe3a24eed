"""The long commands as two processes on the CPU."""

import json

import torch
from helpers import in_two_processes, photo, small_booster, write_tiny_vae

from fmboost_core import save
from fmboost_core.cli import main
from fmboost_core.images import to_image
from fmboost_core.safetensors_file import read_tensors


def test_two_processes_encode_what_one_does(tmp_path):
    (tmp_path / "pictures").mkdir()
    for k in range(3):
        to_image(photo(160).roll(k * 20, -1)).save(tmp_path / "pictures" / f"{k}.png")
    call = [
        "encode", str(tmp_path / "pictures"), "--vae", str(write_tiny_vae(tmp_path)), "--family", "sd15",
        "--crop", "16", "--crops", "1", "--per-shard", "1", "--dtype", "fp32", "-o",
    ]  # fmt: skip
    in_two_processes("--module", "fmboost_core", *call, str(tmp_path / "both"))
    assert main([*call, str(tmp_path / "alone")]) == 0
    names = sorted(p.name for p in (tmp_path / "alone").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "both").iterdir())
    assert len(names) == 3
    for name in names:
        both, alone = (read_tensors(tmp_path / folder / name)[0] for folder in ("both", "alone"))
        assert both.keys() == alone.keys()
        for key in both:
            torch.testing.assert_close(both[key], alone[key], atol=1e-2, rtol=0)


def test_two_processes_evaluate_together(tmp_path):
    (tmp_path / "images").mkdir()
    for k in range(2):
        to_image(photo(192).roll(k * 64, -1)).save(tmp_path / "images" / f"{k}.png")
    (tmp_path / "images" / "broken.png").write_bytes(b"no picture")
    save(tmp_path / "small.safetensors", small_booster(), dtype=torch.float32)
    in_two_processes(
        "--module", "fmboost_core", "evaluate", str(tmp_path / "small.safetensors"), "--images",
        str(tmp_path / "images"), "--vae", str(write_tiny_vae(tmp_path)), "--out", str(tmp_path / "out"),
        "--dtype", "fp32", "--device", "cpu", "--detail", "0", "--steps", "1",
    )  # fmt: skip
    data = json.loads((tmp_path / "out" / "results.json").read_text())
    assert data["pictures"] == 2
    assert list(data["left_out"]) == ["broken.png"]
