"""Kill the commands at random moments and see that nothing is lost.

    python -m scripts.kill_at_random --kills 200

After each kill every file that is there must be whole and none may have gone; at last the same call must go
on to what a call that nobody killed has made, to the byte. Unix only.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "data")]

from helpers import photo, random_latent, small_booster, write_shards, write_tiny_vae  # noqa: E402
from reference_checkpoint import write_checkpoint  # noqa: E402

from fmboost_core import cli, save  # noqa: E402
from fmboost_core.images import to_image  # noqa: E402
from fmboost_core.latent_file import LatentFile, write_latent  # noqa: E402
from fmboost_core.safetensors_file import read_tensors  # noqa: E402
from fmboost_core.training.trainer import Trainer  # noqa: E402

PICTURES, PICTURE_SIDE, LATENTS = 4, 192, 6
SAVE_EVERY = 0.2  # seconds between saved states of a training, which takes but a few
RECIPE = """
family = "sd15"
shape = { width = 64, depth = 1 }
steps = 60
batch = 2
window = 8
decoder_stages = 2
"""


@dataclass(frozen=True)
class Job:
    """A command to be killed.

    Attributes:
        share: of all kills.
        arguments: for an output folder.
        equal: which of its files have the same bytes whenever they are made.
    """

    share: float
    arguments: Callable[[Path], list[object]]
    equal: str


def make_jobs(folder: Path) -> dict[str, Job]:
    """The jobs, with what they work on made in a folder."""
    pictures, few, latents = (folder / name for name in ("pictures", "few", "latents"))
    for place, count in ((pictures, PICTURES), (few, 1)):
        place.mkdir()
        for k in range(count):
            to_image(photo(PICTURE_SIDE)).rotate(90 * k).save(place / f"{k}.png")
    for k in range(LATENTS):
        write_latent(latents / f"{k}.latent", LatentFile(random_latent(1, 4, 24, 24, seed=k)))
    model, vae = folder / "model.safetensors", write_tiny_vae(folder)
    vae = vae.with_name(f"{vae.name}_encoder.safetensors")
    save(model, small_booster())
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE)
    shards, checkpoint = write_shards(folder / "shards"), write_checkpoint(folder / "reference.ckpt")
    return {
        "encode": Job(0.3, lambda out: [
            pictures, "-o", out, "--vae", vae, "--family", "sd15", "--crop", 24, "--per-shard", 1],
            "*.safetensors"),
        "train": Job(0.2, lambda out: [
            recipe, "--pairs", shards, "--out", out, "--vae", vae, "--val", few, "--val-every", 30],
            "model.safetensors"),
        "convert": Job(0.15, lambda out: [checkpoint, "-o", out / "m.safetensors", "--force"],
            "*.safetensors"),
        "upscale": Job(0.3, lambda out: [
            *sorted(latents.iterdir()), "-o", out, "--model", model, "--force", "--preview", out / "p.png"],
            "*.latent"),
        "evaluate": Job(0.05, lambda out: [
            model, "--images", few, "--vae", vae, "--out", out, "--dtype", "fp32"], "*.safetensors"),
    }  # fmt: skip


def start(name: str, job: Job, out: Path) -> int:
    """Start a job in a process of its own; returns its number."""
    process = os.fork()
    if process:
        return process
    log = os.open(out.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 99
    try:
        code = cli.main([name, *map(str, job.arguments(out))])
    finally:
        os._exit(code)


def finish(name: str, job: Job, out: Path) -> float:
    """Run a job to its end; returns the seconds it took."""
    begun = time.monotonic()
    _, status = os.waitpid(start(name, job, out), 0)
    if status != 0:
        raise AssertionError(f"{name} failed with {status}: {out.with_suffix('.log').read_text()[-2000:]}")
    return time.monotonic() - begun


def check_whole(out: Path) -> set[Path]:
    """Read every file; returns their paths. Raises whatever a reader raises at half a file."""
    # Hidden are the files to be renamed when they are whole, ours and those of the safetensors library.
    files = {p for p in out.rglob("[!.]*") if p.is_file() and "tensorboard" not in p.parts}
    for path in files:
        match path.suffix:
            case ".safetensors" | ".latent":
                read_tensors(path)
            case ".pt":
                torch.load(path, weights_only=True)
            case ".json":
                json.loads(path.read_text())
            case ".csv":
                with open(path, newline="") as file:
                    assert all(None not in row.values() for row in csv.DictReader(file)), path
            case ".png" | ".jpg":
                with Image.open(path) as image:
                    image.load()
            case ".md" | ".svg" | ".html":
                assert path.read_text().rstrip().endswith(("```", "</svg>", "</html>")), path
            case other:
                raise AssertionError(f"nobody has said how to read {other}")
    return files


def check_equal(job: Job, whole: Path, cut: Path) -> None:
    names, found = (sorted(p.relative_to(f) for p in f.rglob(job.equal)) for f in (whole, cut))
    assert names and names == found
    for name in names:
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), f"{name} differs"


def torment(name: str, job: Job, folder: Path, kills: int, rng: random.Random) -> dict[str, int]:
    """Kill a job so many times; returns how often it had work on disk, and how often it came to its end."""
    whole, cut = folder / "whole" / name, folder / "cut" / name
    for path in (whole, cut):
        path.mkdir(parents=True)
    seconds = finish(name, job, whole)
    check_whole(whole)
    killed = ends = on_disk = 0
    there: set[Path] = set()
    while killed < kills:
        process = start(name, job, cut)
        time.sleep(rng.uniform(0, seconds))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        found = check_whole(cut)
        lost = {p for p in there - found if p.parent.name not in ("samples", "snapshots")}  # these are pruned
        assert not lost, f"lost: {lost}"
        there = found
        if os.WIFSIGNALED(status):
            killed += 1
            on_disk += bool(there)
        elif os.WEXITSTATUS(status) == 0:
            ends += 1
            check_equal(job, whole, cut)
            shutil.rmtree(cut)
            cut.mkdir()
            there = set()
        else:
            raise AssertionError(f"{name} failed: {cut.with_suffix('.log').read_text()[-2000:]}")
    finish(name, job, cut)
    check_whole(cut)
    check_equal(job, whole, cut)
    return {"seconds": round(seconds, 1), "kills": killed, "with files": on_disk, "came to an end": ends}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="in all (default 200)")
    parser.add_argument("--only", nargs="+", metavar="COMMAND", help="these commands alone")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # A process that has started threads cannot be forked; and one child has the machine to itself.
    torch.set_num_threads(1)
    assert Trainer.run.__kwdefaults__ is not None
    Trainer.run.__kwdefaults__["save_every"] = SAVE_EVERY
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for command, job in make_jobs(folder).items():
            if options.only and command not in options.only:
                continue
            found = torment(command, job, folder, max(1, round(job.share * options.kills)), rng)
            print(command, json.dumps(found), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
