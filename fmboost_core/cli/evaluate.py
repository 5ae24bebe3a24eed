"""`fmboost evaluate`: is it better?"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import torch

from ..booster import DEFAULT_DETAIL, DEFAULT_STEPS
from ..builtin import builtin_models, find_model
from ..errors import InputError
from ..host_memory import keep_freed_memory
from ..precision import PRECISIONS
from ..processes import launched
from ..solvers import SOLVERS
from .common import add_command, print_json, say

NEEDED = ("torchmetrics", "matplotlib", "jinja2")


def add(commands) -> None:
    command = add_command(
        commands,
        "evaluate",
        run,
        "Measure models against ComfyUI's own ways to enlarge, on a folder of pictures."
        " Interrupted, the same call goes on; other models and settings add to the same folder.",
    )
    option = command.add_argument
    have = ", ".join(builtin_models()) or "none"
    option("models", nargs="+", metavar="MODEL", help=f"model files, or built in: {have}")
    option("--images", type=Path, required=True, metavar="DIR", help="folder of pictures")
    option(
        "--vae", type=Path, required=True, metavar="FILE",
        help="of the models' family: a tiny VAE's NAME_encoder.safetensors (NAME_decoder beside it), or a"
        " folder in diffusers' layout",
    )  # fmt: skip
    option("--features", type=Path, metavar="FILE", help="tiny VAE for the Fréchet distance (default: --vae)")
    option("--scale", default="2", help="enlargement of each side, such as 2, 1.5 or 4/3 (default 2)")
    option(
        "--detail", type=float, nargs="+", default=[DEFAULT_DETAIL], metavar="D",
        help=f"one or several, 0 (faithful) to 1 (default {DEFAULT_DETAIL})",
    )  # fmt: skip
    option(
        "--steps", type=int, nargs="+", default=[DEFAULT_STEPS], metavar="N",
        help=f"one or several; each is combined with each detail (default {DEFAULT_STEPS})",
    )  # fmt: skip
    option("--solver", choices=SOLVERS, default="euler", help="default euler")
    option("--seed", type=int, default=0, help="of the noise (default 0)")
    option("--baseline", default="latent-bicubic", help="that gains are stated against (%(default)s)")
    option("--largest-side", type=int, default=2048, metavar="PX", help="larger pictures are cropped (2048)")
    option("--dtype", choices=PRECISIONS, help="precision (default: the fastest that the device runs well)")
    option("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, mps, …")
    option("--lpips", type=Path, metavar="FILE", help="a local TorchScript VGG as StyleGAN's vgg16.pt")
    option(
        "--inception", type=Path, metavar="FILE",
        help="a local TorchScript Inception as StyleGAN's inception-2015-12-05.pt",
    )  # fmt: skip
    option("--out", type=Path, default=Path("evaluation"), help="folder of results (default: evaluation)")
    option("--json", action="store_true", help="print the results as JSON")


def run(options: argparse.Namespace) -> None:
    """`fmboost evaluate`."""
    require_evaluation("evaluate")
    from ..evaluation.evaluate import Evaluator
    from ..evaluation.panels import make_panels
    from ..evaluation.report import write_report
    from ..evaluation.setup import Settings, prepare
    from ..evaluation.table import as_text

    keep_freed_memory()
    processes = launched(options.device)
    settings = Settings(
        [find_model(name) for name in options.models], options.images, options.vae, scale=options.scale,
        details=options.detail, steps=options.steps, solver=options.solver, seed=options.seed,
        baseline=options.baseline, largest_side=options.largest_side, dtype=options.dtype,
        device=str(processes.device), features=options.features, lpips=options.lpips,
        inception=options.inception,
    )  # fmt: skip
    evaluator = Evaluator(prepare(settings), options.out, processes)
    evaluation = evaluator.run()
    if not processes.first:
        return
    written = write_report(evaluation, make_panels(evaluator, evaluation), options.out)
    if options.json:
        print_json(evaluation.to_json())
    say(options, as_text(evaluation))
    say(options, f"\n{written['report']}")


def require_evaluation(what: str) -> None:
    """Raise `InputError` if a library of the extra `eval` is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{what} needs {', '.join(missing)}: pip install 'fmboost[eval]'")
