"""`fmboost upscale`: latent files in, larger latent files out."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tqdm import tqdm

from .. import sizes
from ..booster import DEFAULT_DETAIL, DEFAULT_STEPS, Booster, Progress
from ..builtin import builtin_for, builtin_models, find_model
from ..checkpoint import load
from ..errors import InputError, OutputError
from ..families import FAMILIES
from ..latent import latent_size
from ..latent_file import LatentFile, read_latent, write_latent
from ..precision import PRECISIONS, fastest_precision
from ..preview import write_preview
from ..solvers import SOLVERS
from .common import add_command, print_json, say

LATENT_SUFFIX = ".latent"


def add(commands) -> None:
    command = add_command(
        commands, "upscale", run, "Boost latent files as ComfyUI's Save Latent writes them."
    )
    option = command.add_argument
    option("inputs", nargs="+", type=Path, metavar="IN.latent", help="latent files")
    option("-o", "--output", type=Path, required=True, help="a .latent file, or a folder (same names in it)")
    _add_model_choice(command)
    option("--scale", type=float, default=2.0, help="enlargement of each side, 1 to 8 (default 2)")
    option(
        "--detail",
        type=float,
        default=DEFAULT_DETAIL,
        help=f"texture to invent, 0 (faithful) to 1 (default {DEFAULT_DETAIL})",
    )
    option("--steps", type=int, default=DEFAULT_STEPS, help=f"solver steps a stage (default {DEFAULT_STEPS})")
    option("--solver", choices=SOLVERS, default="euler", help="default euler")
    option("--seed", type=int, default=0, help="of the noise (default 0)")
    option(
        "--tile", type=int, default=0, metavar="N", help="side of a tile in output pixels; 0: none (default)"
    )
    option(
        "--dtype",
        choices=PRECISIONS,
        help="precision of the network (default: the fastest that the device runs well)",
    )
    option("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, mps, …")
    option("--preview", type=Path, metavar="P.png", help="also write a quick picture (no VAE needed)")
    option("--force", action="store_true", help="replace existing output files")
    option("--json", action="store_true", help="print what was done as JSON")


def _add_model_choice(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model", help=f"a model file, or built in: {', '.join(builtin_models()) or 'none'}"
    )
    command.add_argument(
        "--family", choices=FAMILIES, help="use the built-in model of this latent family (default sd15)"
    )


def run(options: argparse.Namespace) -> None:
    """`fmboost upscale`."""
    outputs = _output_paths(options)
    booster = _load_booster(options)
    if booster.needs_vae:
        raise InputError(
            "this model upsamples in pixel space (psu) and needs a VAE: use it in ComfyUI,"
            " with the VAE connected"
        )
    tile = booster.family.latent_side(options.tile)
    results = []
    for index, (source, target) in enumerate(zip(options.inputs, outputs, strict=True)):
        latent = read_latent(source)
        size = sizes.by_factor(latent_size({"samples": latent.samples}, booster), options.scale)
        with _ProgressBar(source.name) as bar:
            boosted = booster.boost(
                latent.samples, size, detail=options.detail, steps=options.steps, solver=options.solver,
                seeds=options.seed, tile=tile, watch=bar.watch,
            ).cpu()  # fmt: skip
        write_latent(target, LatentFile(boosted, latent.metadata), overwrite=options.force)
        results.append({"input": str(source), "output": str(target), "shape": list(boosted.shape)})
        if options.preview:
            picture = _numbered(options.preview, index, len(outputs))
            write_preview(picture, boosted, booster.family, overwrite=options.force)
            results[-1]["preview"] = str(picture)
    for result in results:
        say(options, f"{result['output']}: latent of {'×'.join(map(str, result['shape']))}")
    if options.json:
        print_json(results)


def _load_booster(options: argparse.Namespace) -> Booster:
    path = find_model(options.model) if options.model else builtin_for(options.family or "sd15")
    try:
        precision = options.dtype or fastest_precision(options.device)
        booster = load(path, dtype=PRECISIONS[precision], device=options.device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"the device {options.device!r} cannot be used: {str(error).splitlines()[0]}"
        ) from error
    if options.model and options.family and booster.spec.family != options.family:
        raise InputError(f"{path} boosts {booster.spec.family} latents, not {options.family}")
    return booster


def _output_paths(options: argparse.Namespace) -> list[Path]:
    """Where each input's result goes; every clash is found before any work is done."""
    output: Path = options.output
    if len(options.inputs) == 1 and output.suffix == LATENT_SUFFIX and not output.is_dir():
        paths = [output]
    elif output.suffix == LATENT_SUFFIX:
        raise InputError(f"{len(options.inputs)} inputs need a folder as output, not the file {output}")
    else:
        paths = [output / path.name for path in options.inputs]
    previews = [] if not options.preview else [
        _numbered(options.preview, i, len(paths)) for i in range(len(paths))
    ]  # fmt: skip
    if len(set(paths)) < len(paths):
        raise InputError("two inputs have the same file name: boost them into different folders")
    taken = [p for p in (*paths, *previews) if p.exists()]
    if taken and not options.force:
        raise OutputError(f"{taken[0]} exists already: choose another name, or add --force")
    return paths


def _numbered(path: Path, index: int, count: int) -> Path:
    return path if count == 1 else path.with_stem(f"{path.stem}-{index + 1}")


class _ProgressBar:
    """tqdm, driven by the booster's own reports."""

    def __init__(self, name: str) -> None:
        self.bar = tqdm(desc=name, unit="eval", leave=False, disable=None)

    def __enter__(self) -> _ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def watch(self, progress: Progress) -> None:
        self.bar.total = progress.total
        self.bar.update(progress.done - self.bar.n)
