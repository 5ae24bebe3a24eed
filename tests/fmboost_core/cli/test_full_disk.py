"""A disk that is full: one line, and what was there before is intact.

Files are held to a few kilobytes, which fails as a full disk does, within a write.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import photo, random_latent, small_booster, write_shards, write_tiny_vae
from reference_checkpoint import write_checkpoint

from fmboost_core import cli, save
from fmboost_core.images import to_image
from fmboost_core.latent_file import LatentFile, write_latent

pytest.importorskip("resource", reason="the size of files can be limited on Unix only")
LIMITED = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
    "from fmboost_core.cli import main; sys.exit(main(sys.argv[1:]))"
)
RECIPE = """
family = "sd15"
shape = { width = 64, depth = 1 }
steps = 4
batch = 2
window = 8
decoder_weight = 0.0
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def calls(tmp_path_factory) -> dict[str, list[object]]:
    """Each command, and in its `out` what an earlier call has left."""
    root = tmp_path_factory.mktemp("full")
    pictures, out = root / "pictures", {name: root / name for name in ("up", "con", "enc", "run", "ev")}
    for folder in (pictures, *out.values()):
        folder.mkdir()
    to_image(photo(192)).save(pictures / "0.png")
    write_latent(root / "in.latent", LatentFile(random_latent(1, 4, 24, 24)))
    model, vae = root / "model.safetensors", write_tiny_vae(root).with_name("tiny_encoder.safetensors")
    save(model, small_booster())
    recipe = root / "recipe.toml"
    recipe.write_text(RECIPE)
    calls: dict[str, list[object]] = {
        "upscale": [root / "in.latent", "-o", out["up"] / "x.latent", "--model", model, "--force"],
        "convert": [write_checkpoint(root / "c.ckpt"), "-o", out["con"] / "x.safetensors", "--force"],
        "encode": [
            pictures,
            "-o",
            out["enc"],
            "--vae",
            vae,
            "--family",
            "sd15",
            "--crop",
            24,
            "--per-shard",
            1,
        ],
        "train": [recipe, "--pairs", write_shards(root / "pairs"), "--out", out["run"]],
        "evaluate": [model, "--images", pictures, "--vae", vae, "--out", out["ev"], "--dtype", "fp32"],
    }
    for name in ("upscale", "convert"):
        assert cli.main([name, *map(str, calls[name])]) == 0
    assert cli.main(["train", *map(str, calls["train"]), "--until", "2"]) == 0
    return calls


def outs(call: list[object]) -> Iterator[Path]:
    for option in ("-o", "--out"):
        if option in call:
            path = Path(str(call[call.index(option) + 1]))
            yield path if path.is_dir() else path.parent


@pytest.mark.parametrize("name", ["upscale", "convert", "encode", "train", "evaluate"])
def test_a_full_disk_costs_nothing_that_was_there(calls, name):
    (folder,) = outs(calls[name])
    before = contents(folder)
    command = [sys.executable, "-c", LIMITED, name, *map(str, calls[name])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("fmboost: ")]
    assert len(lines) == 1 and "cannot be written" in lines[0]
    assert "Traceback" not in done.stderr
    after = contents(folder)
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after if name.endswith(".part")]
    if name != "evaluate":  # which takes long, and is interrupted in its own tests
        assert cli.main([name, *map(str, calls[name])]) == 0  # with room again, it goes on
