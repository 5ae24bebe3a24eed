import json

import pytest
import torch
from helpers import photo, small_booster, write_tiny_vae

from fmboost_core import save
from fmboost_core.cli import evaluate as command
from fmboost_core.cli import main
from fmboost_core.images import to_image


@pytest.fixture
def call(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    to_image(photo(192)).save(images / "a.png")
    (images / "broken.png").write_bytes(b"no picture")
    save(tmp_path / "small.safetensors", small_booster(), dtype=torch.float32)
    vae = write_tiny_vae(tmp_path)
    return [
        "evaluate", str(tmp_path / "small.safetensors"), "--images", str(images), "--vae", str(vae),
        "--out", str(tmp_path / "out"), "--dtype", "fp32", "--detail", "0", "--steps", "1",
    ]  # fmt: skip


def test_a_table_for_people_and_json_for_programs(call, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fmboost_core.evaluation.cost.REPEATS", 1)
    assert main(call) == 0
    text = capsys.readouterr().out
    assert "small:0:1" in text
    assert "1 pictures" in text
    assert "left out: broken.png" in text
    report = tmp_path / "out" / "report.html"
    assert str(report) in text
    written = report.stat().st_mtime_ns
    assert main([*call, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["pictures"] == 1
    assert report.stat().st_mtime_ns > written


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (["--images", "absent"], "absent is not a folder"),
        (["--vae", "absent"], "there is no absent_encoder.safetensors"),
        (["--scale", "0.5"], "the scale is 0.5"),
        (["--baseline", "magic"], "there is no baseline 'magic'"),
    ],
)
def test_bad_options_are_one_line_and_code_2(call, change, complaint, capsys):
    assert main([*call, *change]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_without_the_extra_it_says_how_to_get_it(call, monkeypatch, capsys):
    monkeypatch.setattr(command, "NEEDED", ("torchmetrics", "no_such_library"))
    assert main(call) == 2
    assert "evaluate needs no_such_library: pip install 'fmboost[eval]'" in capsys.readouterr().err
