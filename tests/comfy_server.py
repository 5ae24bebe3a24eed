"""A real ComfyUI to test in: where it is, and a running server of it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACK = Path(__file__).parents[1]
HOW_TO_GET_ONE = (
    "no ComfyUI found: set COMFYUI_PATH to one (several: separated as in PATH), install this pack in its"
    " custom_nodes, or put one at ~/comfy/ComfyUI (`pip install comfy-cli && comfy install`)"
)
START_SECONDS = 180


def find_comfyuis() -> list[Path]:
    """The ComfyUI folders to test in."""
    named = [Path(p) for p in os.environ.get("COMFYUI_PATH", "").split(os.pathsep) if p]
    around = [PACK.parents[1]] if PACK.parent.name == "custom_nodes" else []
    for candidates in (named, around, [Path.home() / "comfy" / "ComfyUI"]):
        found = [path for path in candidates if (path / "main.py").is_file()]
        if found:
            return found
    return []


def version(folder: Path) -> str:
    text = (folder / "comfyui_version.py").read_text()
    return text.split('__version__ = "')[1].split('"')[0]


def python_of(folder: Path) -> str:
    """The interpreter that this ComfyUI runs with: its own environment's, else ours."""
    own = [
        folder / name / part for name in (".venv", "venv") for part in ("bin/python", "Scripts/python.exe")
    ]
    return str(next((p for p in own if p.exists()), sys.executable))


class ComfyServer:
    """A ComfyUI with this pack as its only custom node, in a base folder of its own.

    Args:
        folder: the ComfyUI.
        base: an empty folder for its input, output, models and custom nodes.
        pack_name: the folder name under which the pack is installed.
        pack: the folder of the pack.
        options: more of ComfyUI's start options.
    """

    def __init__(
        self, folder: Path, base: Path, pack_name: str = "any name at all", pack: Path = PACK,
        options: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.folder, self.base = folder, base
        for name in ("custom_nodes", "input", "output", "models/vae_approx", "models/fmboost"):
            (base / name).mkdir(parents=True)
        try:
            (base / "custom_nodes" / pack_name).symlink_to(pack, target_is_directory=True)
        except OSError:  # Windows, where links need a privilege
            shutil.copytree(pack, base / "custom_nodes" / pack_name, ignore=shutil.ignore_patterns(".*"))
        for weights in (folder / "models" / "vae_approx").glob("tae*.safetensors"):
            shutil.copy(weights, base / "models" / "vae_approx")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = base / "server.log"
        self.client = uuid.uuid4().hex
        arguments = [
            "--cpu",
            "--listen",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--base-directory",
            str(base),
        ]
        extra = ["--disable-auto-launch", "--disable-api-nodes", "--preview-method", "latent2rgb"]
        self.process = subprocess.Popen(
            [python_of(folder), "main.py", *arguments, *extra, *options],
            cwd=folder, stdout=self.log.open("w"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.3)
        self.stop()
        raise RuntimeError(f"ComfyUI did not start:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return json.loads(answer.read())

    def post(self, path: str, data: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            json.dumps(data).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            body = error.read()
        return json.loads(body) if body else None

    def queue(self, prompt: dict[str, Any]) -> str:
        """Queue an API-format prompt; returns its id."""
        answer = self.post("/prompt", {"prompt": prompt, "client_id": self.client})
        if "prompt_id" not in answer:
            raise ValueError(json.dumps(answer))
        return answer["prompt_id"]

    def wait(self, prompt_id: str, seconds: float = 120) -> dict[str, Any]:
        """The history entry of a finished prompt."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history and history[prompt_id]["status"]["status_str"] in ("success", "error"):
                return history[prompt_id]
            time.sleep(0.05)
        raise TimeoutError(
            f"prompt {prompt_id} is not done after {seconds} s\n{self.log.read_text()[-2000:]}"
        )

    def run(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """Queue, wait, and return the history entry."""
        return self.wait(self.queue(prompt))

    def error_of(self, prompt: dict[str, Any]) -> str:
        """The message that the red node shows."""
        for kind, data in self.run(prompt)["status"]["messages"]:
            if kind == "execution_error":
                return data["exception_message"].strip()
        raise AssertionError("the prompt did not fail")

    def saved_latent(self, entry: dict[str, Any], node: str) -> Path:
        saved = entry["outputs"][node]["latents"][0]
        return self.base / "output" / saved["subfolder"] / saved["filename"]
