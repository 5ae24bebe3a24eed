"""`fmboost info`: what a model file is."""

from __future__ import annotations

import argparse
import sys

from ..builtin import builtin_models, find_model
from ..checkpoint import CheckpointInfo, inspect
from .common import add_command, print_json


def add(commands) -> None:
    command = add_command(commands, "info", run, "Say what a model file is.")
    command.add_argument(
        "models", nargs="*", metavar="MODEL", help="files or built-in names (default: all built in)"
    )
    command.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    """`fmboost info`."""
    found = [inspect(find_model(name)) for name in options.models or builtin_models()]
    if options.json:
        print_json([i.to_json() for i in found])
    else:
        sys.stdout.write("\n\n".join(map(describe, found)) + "\n")


def describe(info: CheckpointInfo) -> str:
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
