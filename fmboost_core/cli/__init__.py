"""The `fmboost` command. Each subcommand is a few lines around the library's own functions."""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import FMBoostError, InputError, OutputError
from . import bench, convert, encode, evaluate, info, train, upscale

DONE, FAILED, MISUSED = 0, 1, 2


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
    for command in (upscale, info, convert, encode, train, evaluate, bench):
        command.add(commands)
    return top
