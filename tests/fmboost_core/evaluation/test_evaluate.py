"""The whole evaluation on small pictures, with a real model and a tiny VAE of random weights."""

import dataclasses
import json
import shutil

import pytest
import torch
from helpers import lively, photo, small_booster, write_tiny_vae
from PIL import Image

from fmboost_core import InputError, save
from fmboost_core.evaluation import Settings, evaluate, table
from fmboost_core.evaluation.evaluate import Evaluator
from fmboost_core.evaluation.panels import SIDE, make_panels
from fmboost_core.evaluation.report import write_report
from fmboost_core.evaluation.setup import prepare
from fmboost_core.images import to_image
from fmboost_core.interpolation import LATENT_METHODS

BASELINES = [
    *(f"latent-{m}" for m in LATENT_METHODS),
    "vae-bicubic",
    "vae-lanczos",
    "pixel-bicubic",
    "ceiling",
]


@pytest.fixture(scope="module", autouse=True)
def timed_once():
    """Times are not looked at here, but for being there."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fmboost_core.evaluation.cost.REPEATS", 1)
        yield


def make_settings(folder) -> Settings:
    images = folder / "images"
    images.mkdir()
    to_image(photo(192)).save(images / "a.png")
    to_image(1 - photo(224)[..., :192]).save(images / "b.png")
    save(folder / "small.safetensors", small_booster(), dtype=torch.float32)
    model, vae = folder / "small.safetensors", write_tiny_vae(folder)
    return Settings([model], images, vae, details=(0.0, 1.0), dtype="fp32")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Settings, their evaluation and its folder: not to be written into."""
    folder = tmp_path_factory.mktemp("finished")
    settings = make_settings(folder)
    return settings, evaluate(settings, folder / "out"), folder / "out"


@pytest.fixture
def settings(tmp_path):
    return make_settings(tmp_path)


@pytest.fixture
def copied(finished, tmp_path):
    """The finished evaluation's settings, and a copy of its folder to go on with."""
    settings, _, out = finished
    return settings, shutil.copytree(out, tmp_path / "copied")


def quality(evaluation) -> dict:
    """All numbers but the times."""
    return {row.name: row.metrics for row in evaluation.methods}


def test_every_method_is_measured(finished):
    _, found, _ = finished
    assert [row.name for row in found.methods] == [*BASELINES, "small:0:1", "small:1:1"]
    assert (found.pictures, found.crops, found.left_out) == (2, 8, {})
    boost, ceiling = found.method("small:0:1"), found.method("ceiling")
    assert ceiling.metrics["latent_mse"].value == 0
    assert "latent_mse" not in found.method("pixel-bicubic").metrics
    assert {"psnr", "ssim", "ms_ssim", "haarpsi", "colour_shift", "frechet", "energy_0"} <= set(boost.metrics)
    assert (boost.cost.evaluations, ceiling.cost.evaluations) == (1, 0)
    assert boost.cost.milliseconds > 0
    assert boost.cost.peak_bytes > 4 * 4 * 32 * 32
    rivals = {c.baseline for c in found.comparisons if c.method == "small:0:1"}
    assert rivals == {*BASELINES, "small:1:1"} - {"ceiling"}
    # Two pictures are not enough for much, but a difference and its verdict must agree.
    for c in found.comparisons:
        ours, theirs = (found.method(n).metrics[c.metric].value for n in (c.method, c.baseline))
        if c.metric == "psnr":
            assert c.difference.value == pytest.approx(ours - theirs)
        assert (c.verdict == "undecided") == (not c.difference.excludes_zero)
    json.dumps(found.to_json(), allow_nan=False)


def test_an_interrupted_evaluation_goes_on_and_ends_the_same(finished, tmp_path, monkeypatch):
    settings, whole, _ = finished
    with monkeypatch.context() as patched:
        measure = Evaluator._measure_method

        def interrupted(self, record, method, example):
            measure(self, record, method, example)
            if record.facts["height"] == 224:
                raise KeyboardInterrupt

        patched.setattr(Evaluator, "_measure_method", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(settings, tmp_path / "cut")
    first = tmp_path / "cut" / "measurements" / "a.png.safetensors"
    written = first.stat().st_mtime_ns
    assert [p.name for p in first.parent.iterdir()] == [first.name]
    assert quality(evaluate(settings, tmp_path / "cut")) == quality(whole)
    assert first.stat().st_mtime_ns == written


def test_more_settings_are_added_to_what_is_there(copied, monkeypatch):
    settings, out = copied
    measured = []
    measure = Evaluator._measure_method
    monkeypatch.setattr(Evaluator, "_measure_method", lambda *a: (measured.append(a[2].name), measure(*a)))
    more = dataclasses.replace(settings, details=(0.0, 0.5))
    found = evaluate(more, out)
    assert measured == ["small:0.5:1"] * 2
    assert [row.name for row in found.methods][-2:] == ["small:0:1", "small:0.5:1"]


def test_other_weights_under_the_same_name_are_measured_anew(finished, copied, tmp_path):
    settings, out = copied
    before = finished[1]
    model = small_booster()
    lively(model.network, seed=5)
    save(tmp_path / "small.safetensors", model, dtype=torch.float32)
    after = evaluate(dataclasses.replace(settings, models=[tmp_path / "small.safetensors"]), out)
    assert before.method("ceiling") == after.method("ceiling")
    assert before.method("small:0:1").metrics != after.method("small:0:1").metrics


def test_another_vae_or_scale_needs_another_folder(copied, tmp_path):
    settings, out = copied
    with pytest.raises(InputError, match="another scale: choose another --out"):
        evaluate(dataclasses.replace(settings, scale="1.5"), out)
    with pytest.raises(InputError, match="another vae: choose another --out"):
        evaluate(dataclasses.replace(settings, vae=write_tiny_vae(tmp_path, seed=1)), out)


def test_odd_pictures_are_used_or_named_and_the_rest_goes_on(settings, tmp_path, caplog):
    images = settings.images
    for path in images.iterdir():
        path.unlink()
    to_image(photo(192)).convert("L").save(images / "grey.png")
    clear = to_image(photo(192)).convert("RGBA")
    clear.putpixel((0, 0), (0, 0, 0, 0))
    clear.save(images / "clear.png")
    to_image(photo(128)).save(images / "small.png")
    (images / "broken.png").write_bytes(b"not a picture")
    (images / "drawing.svg").write_text("<svg/>")
    settings = dataclasses.replace(settings, details=(0.0,))
    found = evaluate(settings, tmp_path / "out")
    assert found.pictures == 2
    assert set(found.left_out) == {"small.png", "broken.png", "drawing.svg"}
    assert "128×128" in found.left_out["small.png"]
    assert found.remarks == {"grey.png": "grey", "clear.png": "transparency laid on white"}
    assert sum("left out: " in r.getMessage() for r in caplog.records) == 3
    assert evaluate(settings, tmp_path / "out").remarks == found.remarks


def test_what_cannot_be_evaluated_is_said_before_any_work(settings, tmp_path):
    def complaint(**changes) -> str:
        with pytest.raises(InputError) as caught:
            evaluate(dataclasses.replace(settings, **changes), tmp_path / "out")
        assert not (tmp_path / "out" / "measurements").exists()
        return str(caught.value)

    (tmp_path / "empty").mkdir()
    save(tmp_path / "flux.safetensors", small_booster("flux"), dtype=torch.float32)
    (tmp_path / "sub").mkdir()
    save(tmp_path / "sub" / "small.safetensors", small_booster(), dtype=torch.float32)
    assert "holds no pictures" in complaint(images=tmp_path / "empty")
    assert "no model was given" in complaint(models=[])
    assert "16" in complaint(models=[tmp_path / "flux.safetensors"])
    assert "detail is 2" in complaint(details=(2,))
    assert "steps" in complaint(steps=(0,))
    assert "choose one of latent-nearest-exact" in complaint(baseline="nothing")
    assert "rename one" in complaint(models=[*settings.models, tmp_path / "sub" / "small.safetensors"])
    assert "is not a TorchScript network" in complaint(lpips=settings.models[0])
    for path in settings.images.iterdir():
        path.write_bytes(b"")
    assert "none of the 2 pictures" in complaint()


def test_a_vae_without_tiny_features_has_no_such_distance(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("fmboost_core.evaluation.setup.TinyEncoder", type(None))
    (settings.images / "b.png").unlink()
    found = evaluate(settings, tmp_path / "out")
    assert found.crops == 0
    assert "frechet" not in found.method("small:0:1").metrics
    assert "psnr" in found.method("small:0:1").metrics
    table.as_text(found)


class Stand(torch.nn.Module):
    """Called as StyleGAN's networks are; LPIPS becomes the squared error of levels, features their means."""

    def forward(
        self,
        x: torch.Tensor,
        resize_images: bool = True,
        return_lpips: bool = False,
        return_features: bool = False,
    ):
        if return_lpips:
            return x.flatten(1)
        assert x.dtype == torch.uint8
        return x.float().mean((2, 3))


def test_networks_of_the_users_own_files(finished, copied, tmp_path):
    settings, out = copied
    torch.jit.script(Stand()).save(tmp_path / "net.pt")
    assert "lpips" not in finished[1].method("small:0:1").metrics
    net = tmp_path / "net.pt"
    found = evaluate(dataclasses.replace(settings, lpips=net, inception=net, details=(0.0,)), out)
    ceiling = found.method("ceiling").metrics
    assert ceiling["lpips"].value > 0
    assert ceiling["inception_fid"].value > 0
    assert ceiling["inception_fid"].low is None
    assert found.method("small:0:1").metrics["lpips"].low is not None


def test_the_report_shows_what_was_found(copied):
    settings, out = copied
    evaluator = Evaluator(prepare(settings), out)
    found = evaluator.run()
    panels = make_panels(evaluator, found)
    assert [p.picture for p in panels] == list(found.gains)
    assert [p.best for p in panels] == [True, False]
    for panel in panels:
        assert next(iter(panel.crops)) == "original"
        assert len(panel.crops) == 5  # original, baseline, VAE route, two details
        assert all(crop.size == (SIDE, SIDE) for crop in panel.crops.values())
        original = Image.open(settings.images / panel.picture)
        box = (panel.left, panel.top, panel.left + SIDE, panel.top + SIDE)
        assert panel.crops["original"].tobytes() == original.crop(box).tobytes()
    written = write_report(found, panels, out)
    page = written["report"].read_text(encoding="utf-8")
    for attribute in ("src", "href"):  # opens from disk, and asks no server
        assert f'{attribute}="http' not in page
    assert page.count("data:image/png;base64,") == 10
    assert page.count("<svg") == 2  # against cost, and against detail
    value = found.method("small:0:1").metrics["psnr"].value
    benchmark = written["benchmark"].read_text(encoding="utf-8")
    assert f"| **small, detail 0, 1 step** | {value:.2f} |" in benchmark
    assert found.context["models"]["small"] in benchmark
    data = json.loads(written["results"].read_text(encoding="utf-8"))
    assert data["methods"][-2]["metrics"]["psnr"]["value"] == value
