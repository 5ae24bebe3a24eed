"""A few of the kills that `scripts/kill_at_random.py` makes by the hundred."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are killed here as on Unix")
def test_killed_commands_lose_nothing_and_go_on():
    command = [sys.executable, "-m", "scripts.kill_at_random", "--kills", "10", "--only", "encode", "upscale"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr[-3000:]
    found = {name: json.loads(rest) for name, _, rest in (x.partition(" ") for x in done.stdout.splitlines())}
    assert {name: counts["kills"] for name, counts in found.items()} == {"encode": 3, "upscale": 3}
