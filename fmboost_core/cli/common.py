"""What the subcommands share."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable


def add_command(commands, name: str, run: Callable, summary: str) -> argparse.ArgumentParser:
    """A subcommand that calls `run` with its options; `summary` is its help."""
    command = commands.add_parser(name, help=summary, description=summary)
    command.set_defaults(run=run)
    return command


def say(options: argparse.Namespace, text: str) -> None:
    """A line for people, left out where `--json` asked for data."""
    if not options.json:
        sys.stdout.write(text + "\n")


def print_json(data: object) -> None:
    sys.stdout.write(json.dumps(data, indent=2) + "\n")
