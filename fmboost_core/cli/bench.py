"""`fmboost bench`: how fast is it, and beside what?"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ..builtin import find_model
from ..host_memory import keep_freed_memory
from ..precision import PRECISIONS, fastest_precision
from .common import add_command, print_json, say

LARGEST = 8192


def add(commands) -> None:
    command = add_command(
        commands, "bench", run,
        "Time a boost beside the decoders, the paper's network and the machine's own limits.",
    )  # fmt: skip
    option = command.add_argument
    option("--model", default="boostnet-sd15", help="a model file or a built-in model (%(default)s)")
    option("--size", type=int, default=512, metavar="PX", help="side of the small picture (%(default)s)")
    option("--largest", type=int, default=LARGEST, metavar="PX", help="end of the curve (%(default)s)")
    option("--seconds", type=float, default=2.0, help="to repeat each thing for (%(default)s)")
    option("--quick", action="store_true", help="without the full VAE and the paper's network")
    option("--no-compile", action="store_true", help="without torch.compile")
    option("--dtype", choices=PRECISIONS, help="precision (default: the fastest that the device runs well)")
    option("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, mps, …")
    option("--plot", type=Path, metavar="P.png", help="also draw time and memory against size")
    option("--json", action="store_true", help="print the results as JSON")


def run(options: argparse.Namespace) -> None:
    """`fmboost bench`."""
    from ..bench.measure import measure
    from ..bench.show import as_markdown, plot, require_plotting

    if options.plot:
        require_plotting()
    keep_freed_memory()
    bench = measure(
        find_model(options.model), torch.device(options.device),
        options.dtype or fastest_precision(options.device), source=options.size, seconds=options.seconds,
        largest=options.largest, quick=options.quick, compiled=not options.no_compile,
    )  # fmt: skip
    if options.plot:
        plot(bench, options.plot)
    say(options, as_markdown(bench))
    if options.json:
        print_json(bench.to_json())
