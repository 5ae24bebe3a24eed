"""The `fmboost` command. Each subcommand is a few lines around the library's own functions."""

from __future__ import annotations

import argparse
import io
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from . import __version__, sizes
from .booster import DEFAULT_DETAIL, DEFAULT_STEPS, Booster, Progress
from .builtin import builtin_for, builtin_models, find_model
from .checkpoint import CheckpointInfo, inspect, load, save
from .convert import PUBLISHED, PUBLISHED_FLOW, PUBLISHED_NETWORK, read_reference
from .errors import FMBoostError, InputError, OutputError
from .families import FAMILIES
from .latent import latent_size
from .latent_file import LatentFile, read_latent, write_latent
from .precision import PRECISIONS, fastest_precision
from .preview import write_preview
from .solvers import SOLVERS

DONE, FAILED, MISUSED = 0, 1, 2
LATENT_SUFFIX = ".latent"


def _numbers(text: str) -> list[int]:
    """`1,2,4` → [1, 2, 4]."""
    return [int(part) for part in text.split(",")]


def _flag(text: str) -> bool:
    """`true` or `false`."""
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


READERS: dict[type, Callable[[str], object]] = {str: str, int: int, bool: _flag, list: _numbers}
REFERENCE_SETTINGS = {
    name: READERS[type(value)] for name, value in (PUBLISHED | PUBLISHED_FLOW | PUBLISHED_NETWORK).items()
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 failed, 2 wrong call or input."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for stream in (sys.stdout, sys.stderr):
        # A console that knows no σ shall print a question mark rather than fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        return _complain(error, MISUSED)
    except (FMBoostError, OSError, RuntimeError) as error:
        return _complain(error, MISUSED if isinstance(error, OutputError) else FAILED)
    except KeyboardInterrupt:
        return _complain("stopped: finished files are kept, the one in work was not written", FAILED)
    return DONE


def entry_point() -> None:
    """The console script."""
    sys.exit(main())


def _complain(error: object, code: int) -> int:
    sys.stderr.write(f"fmboost: {' '.join(str(error).split())}\n")
    return code


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="fmboost", description="Boost small latents to large ones by flow matching."
    )
    top.add_argument("--version", action="version", version=f"fmboost {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_upscale(commands)
    _add_info(commands)
    _add_convert(commands)
    return top


def _command(commands, name: str, run: Callable, summary: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=summary, description=summary)
    command.set_defaults(run=run)
    return command


def _add_upscale(commands) -> None:
    command = _command(
        commands, "upscale", upscale, "Boost latent files as ComfyUI's Save Latent writes them."
    )
    add = command.add_argument
    add("inputs", nargs="+", type=Path, metavar="IN.latent", help="latent files")
    add("-o", "--output", type=Path, required=True, help="a .latent file, or a folder (same names in it)")
    _add_model_choice(command)
    add("--scale", type=float, default=2.0, help="enlargement of each side, 1 to 8 (default 2)")
    add(
        "--detail",
        type=float,
        default=DEFAULT_DETAIL,
        help=f"texture to invent, 0 (faithful) to 1 (default {DEFAULT_DETAIL})",
    )
    add("--steps", type=int, default=DEFAULT_STEPS, help=f"solver steps a stage (default {DEFAULT_STEPS})")
    add("--solver", choices=SOLVERS, default="euler", help="default euler")
    add("--seed", type=int, default=0, help="of the noise (default 0)")
    add("--tile", type=int, default=0, metavar="N", help="side of a tile in output pixels; 0: none (default)")
    add(
        "--dtype",
        choices=PRECISIONS,
        help="precision of the network (default: the fastest that the device runs well)",
    )
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, mps, …")
    add("--preview", type=Path, metavar="P.png", help="also write a quick picture (no VAE needed)")
    add("--force", action="store_true", help="replace existing output files")
    add("--json", action="store_true", help="print what was done as JSON")


def _add_model_choice(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model", help=f"a model file, or built in: {', '.join(builtin_models()) or 'none'}"
    )
    command.add_argument(
        "--family", choices=FAMILIES, help="use the built-in model of this latent family (default sd15)"
    )


def _add_info(commands) -> None:
    command = _command(commands, "info", info, "Say what a model file is.")
    command.add_argument(
        "models", nargs="*", metavar="MODEL", help="files or built-in names (default: all built in)"
    )
    command.add_argument("--json", action="store_true", help="print JSON")


def _add_convert(commands) -> None:
    command = _command(
        commands,
        "convert",
        convert,
        "Turn a Lightning .ckpt of the reference code (CompVis/fm-boosting) into a model.",
    )
    add = command.add_argument
    add("checkpoint", type=Path, help="the .ckpt file; read without running code from it")
    add("-o", "--output", type=Path, required=True, help="the .safetensors file to write")
    add("--online", action="store_true", help="take the online weights instead of their moving average")
    add("--family", choices=FAMILIES, default="sd15", help="latent family it was trained in (default sd15)")
    settings = command.add_argument_group(
        "settings", "by the reference's own names; they go before what the file says of itself"
    )
    for name, kind in REFERENCE_SETTINGS.items():
        settings.add_argument(f"--{name.replace('_', '-')}", dest=f"set_{name}", type=kind)
    add("--dtype", choices=PRECISIONS, default="fp32", help="of the stored weights (default fp32)")
    add("--force", action="store_true", help="replace an existing output file")
    add("--json", action="store_true", help="print what was written as JSON")


def upscale(options: argparse.Namespace) -> None:
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
        _say(options, f"{result['output']}: latent of {'×'.join(map(str, result['shape']))}")
    if options.json:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")


def info(options: argparse.Namespace) -> None:
    """`fmboost info`."""
    found = [inspect(find_model(name)) for name in options.models or builtin_models()]
    if options.json:
        sys.stdout.write(json.dumps([i.to_json() for i in found], indent=2) + "\n")
    else:
        sys.stdout.write("\n\n".join(map(_describe, found)) + "\n")


def convert(options: argparse.Namespace) -> None:
    """`fmboost convert`."""
    given = {name: getattr(options, f"set_{name}") for name in REFERENCE_SETTINGS}
    overrides = {name: value for name, value in given.items() if value is not None}
    booster = read_reference(
        options.checkpoint, family=options.family, online=options.online, overrides=overrides
    )
    save(options.output, booster, dtype=PRECISIONS[options.dtype], overwrite=options.force)
    written = inspect(options.output)
    _say(options, _describe(written))
    if options.json:
        sys.stdout.write(json.dumps(written.to_json(), indent=2) + "\n")


def _describe(info: CheckpointInfo) -> str:
    spec, low, high = info.spec, *info.spec.sigma_range
    field = f"{info.receptive_field} latent pixels" if info.receptive_field else "the whole picture"
    facts = {
        "family": f"{spec.family} ({spec.latent_family.title})",
        "network": f"{info.network}, {info.parameters / 1e6:.2f} M parameters, {str(info.dtype)[6:]}",
        "file": f"{info.bytes / 1e6:.1f} MB, licence {spec.licence}",
        "scale": f"×{spec.scale_range[0]:g} to ×{spec.scale_range[1]:g} a stage, more by cascade",
        "noise": f"σ {low:g} to {high:g}" if high > low else f"σ {low:.4g}, fixed: detail has no effect",
        "upsampling": f"source {spec.source_upsampling}, context {spec.context_upsampling or 'none'}",
        "sees": field,
    }
    facts |= {f"trained: {k}": str(v) for k, v in spec.training.items() if isinstance(v, str | int | float)}
    return "\n".join([str(info.path), *(f"  {name}: {value}" for name, value in facts.items())])


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


def _say(options: argparse.Namespace, text: str) -> None:
    if not options.json:
        sys.stdout.write(text + "\n")


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
