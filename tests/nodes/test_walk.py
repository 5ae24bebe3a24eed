"""A new user's way: the packed archive in a clean ComfyUI, a template, Run, another detail, Run."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from comfy_frontend import Frontend, NoBrowser, open_frontend
from comfy_server import PACK, ComfyServer
from PIL import Image

RUN_SECONDS = 120
PHOTO = Path(__file__).parents[1] / "data" / "photo.png"
SHOTS = os.environ.get("FMBOOST_SHOTS")  # a folder, for people who want to see the walk
SET_DETAIL = """value => {
    const node = app.graph.nodes.find(node => node.type === "FMBoostUpscale")
    node.widgets.find(widget => widget.name === "detail").value = value
}"""


def packed(archive: Path) -> None:
    """What `comfy node pack` packs: the files that git knows, but for those of .comfyignore."""

    def listed(*options: str) -> set[str]:
        out = subprocess.run(["git", "ls-files", "-z", *options], cwd=PACK, capture_output=True, text=True)
        if out.returncode:
            pytest.skip("this is no git checkout: what would be packed cannot be told")
        return set(filter(None, out.stdout.split("\0")))

    with zipfile.ZipFile(archive, "w") as file:
        for name in sorted(listed() - listed("-i", "-c", "--exclude-from=.comfyignore")):
            if (PACK / name).is_file():
                file.write(PACK / name, name)


@pytest.fixture
def clean(server, tmp_path):
    """A ComfyUI of the same version with nothing but the archive, its tiny VAEs and one picture."""
    packed(tmp_path / "node.zip")
    with zipfile.ZipFile(tmp_path / "node.zip") as file:
        file.extractall(tmp_path / "unpacked")
    running = ComfyServer(server.folder, tmp_path / "base", "fmboost", pack=tmp_path / "unpacked")
    shutil.copy(PHOTO, running.base / "input" / "example.png")
    if not list((running.base / "models" / "vae_approx").glob("taesd_*")):
        running.stop()
        pytest.skip(
            "this ComfyUI has no tiny VAE: put taesd_encoder and taesd_decoder into models/vae_approx"
        )
    yield running
    running.stop()


def run(clean: ComfyServer, frontend: Frontend, name: str) -> np.ndarray:
    """Press Run, wait, and return the largest picture that came out."""
    before = set(clean.get("/history"))
    frontend.page.get_by_test_id("queue-button").click()
    end = time.monotonic() + RUN_SECONDS
    while not (new := set(clean.get("/history")) - before) and time.monotonic() < end:
        frontend.page.wait_for_timeout(200)
    (prompt,) = new
    entry = clean.wait(prompt)
    assert entry["status"]["status_str"] == "success"
    pictures = [
        np.asarray(
            Image.open(clean.base / shown["type"] / shown["subfolder"] / shown["filename"]).convert("RGB")
        )
        for output in entry["outputs"].values()
        for shown in output.get("images", [])
        if shown["type"] == "output"
    ]
    look(frontend, name)
    return max(pictures, key=lambda picture: picture.size)


def look(frontend: Frontend, name: str) -> None:
    if SHOTS:
        frontend.page.wait_for_timeout(1500)
        frontend.page.screenshot(path=Path(SHOTS) / f"{name}.png")


def test_from_the_archive_to_the_picture(clean):
    try:
        with open_frontend(clean) as frontend:
            frontend.call("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
            frontend.page.get_by_text("fmboost", exact=True).click()
            template = frontend.page.get_by_test_id("template-workflow-boost_a_picture")
            template.wait_for()
            look(frontend, "1-templates")
            template.click()
            frontend.page.wait_for_function("() => app.graph.nodes.some(n => n.type === 'FMBoostUpscale')")
            look(frontend, "2-workflow")
            assert not frontend.missing_nodes()
            faithful = run(clean, frontend, "3-first-run")
            frontend.call(SET_DETAIL, 1.0)
            textured = run(clean, frontend, "4-more-detail")
            assert not frontend.errors
    except NoBrowser as reason:
        pytest.skip(str(reason))
    width, height = Image.open(PHOTO).size
    assert faithful.shape == textured.shape == (2 * height, 2 * width, 3)
    original = np.asarray(Image.open(PHOTO).convert("RGB").resize((2 * width, 2 * height)), float)
    assert abs(faithful - original).mean() < 25
    assert 0.5 < abs(textured.astype(float) - faithful).mean() < 25
