"""`fmboost convert`: a checkpoint of the reference code becomes a model."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ..checkpoint import inspect, save
from ..convert import PUBLISHED, PUBLISHED_FLOW, PUBLISHED_NETWORK, read_reference
from ..families import FAMILIES
from ..precision import PRECISIONS
from .common import add_command, print_json, say
from .info import describe


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


def add(commands) -> None:
    command = add_command(
        commands,
        "convert",
        run,
        "Turn a Lightning .ckpt of the reference code (CompVis/fm-boosting) into a model.",
    )
    option = command.add_argument
    option("checkpoint", type=Path, help="the .ckpt file; read without running code from it")
    option("-o", "--output", type=Path, required=True, help="the .safetensors file to write")
    option("--online", action="store_true", help="take the online weights instead of their moving average")
    option(
        "--family", choices=FAMILIES, default="sd15", help="latent family it was trained in (default sd15)"
    )
    settings = command.add_argument_group(
        "settings", "by the reference's own names; they go before what the file says of itself"
    )
    for name, kind in REFERENCE_SETTINGS.items():
        settings.add_argument(f"--{name.replace('_', '-')}", dest=f"set_{name}", type=kind)
    option("--dtype", choices=PRECISIONS, default="fp32", help="of the stored weights (default fp32)")
    option("--force", action="store_true", help="replace an existing output file")
    option("--json", action="store_true", help="print what was written as JSON")


def run(options: argparse.Namespace) -> None:
    """`fmboost convert`."""
    given = {name: getattr(options, f"set_{name}") for name in REFERENCE_SETTINGS}
    overrides = {name: value for name, value in given.items() if value is not None}
    booster = read_reference(
        options.checkpoint, family=options.family, online=options.online, overrides=overrides
    )
    save(options.output, booster, dtype=PRECISIONS[options.dtype], overwrite=options.force)
    written = inspect(options.output)
    say(options, describe(written))
    if options.json:
        print_json(written.to_json())
