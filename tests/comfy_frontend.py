"""ComfyUI's own frontend in Chromium: a page of a running server, for tests and for making workflows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from comfy_server import ComfyServer

try:
    from playwright.sync_api import Page, Playwright, TimeoutError, sync_playwright
except ImportError:
    sync_playwright = None

NO_PLAYWRIGHT = "no playwright: `python -m pip install playwright && python -m playwright install chromium`"
NO_BROWSER = "no Chromium: `python -m playwright install chromium`, or install one"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
START_MS = 120_000
SETTINGS = {
    "Comfy.TutorialCompleted": True,  # else the first visit opens a dialog
    "Comfy.Workflow.Persist": False,  # each load starts from nothing
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.Minimap.Visible": False,
    "Comfy.NodeBadge.NodeSourceBadgeMode": "None",
    "Comfy.Graph.CanvasInfo": False,
}
READY = """() => window.app?.vueAppReady && app.graph && LiteGraph.registered_node_types.KSampler
    && LiteGraph.registered_node_types.FMBoostUpscale"""
# Not the pack's doing: files that a new user does not have, and looking up models without a network.
# The last is the frontend's word on `READY`, which asks early.
EXPECTED = (
    "graph accessed before initialization",
    "Failed to load resource",
    "Content Security Policy",
    "Fetch API cannot load",
    "net::ERR_",
)


class NoBrowser(Exception):
    """There is nothing to open the frontend in; says how to get it."""


class Frontend:
    """One page of the frontend.

    Attributes:
        errors: console errors and uncaught exceptions since the page was opened, without the expected ones.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.on("console", lambda message: self._hear(message.type, message.text))

    def _hear(self, kind: str, text: str) -> None:
        if kind == "error" and not any(known in text for known in EXPECTED):
            self.errors.append(text)

    def call(self, function: str, argument: Any = None) -> Any:
        """What a JavaScript function returns for a JSON argument."""
        return self.page.evaluate(function, argument)

    def load(self, workflow: dict[str, Any], name: str) -> None:
        """Open a workflow as if its file was dropped on the canvas."""
        self.call("([data, name]) => app.loadGraphData(data, true, true, name)", [workflow, name])

    def add_by_search(self, name: str) -> None:
        """Add a node as a user does: double-click on an empty place, type its name, press Enter."""
        before = self.call("() => app.graph.nodes.length")
        place = self.call("() => app.canvas.canvas.height - 150")
        for patience in (5_000, 5_000, 30_000):  # the list may still be filling when Enter comes
            self.page.mouse.dblclick(800, place)
            self.page.locator("input[type=text]:focus, input:focus").wait_for()
            self.page.keyboard.type(name)
            self.page.get_by_text(name).last.wait_for()
            self.page.keyboard.press("Enter")
            with suppress(TimeoutError):
                self.page.wait_for_function(
                    "before => app.graph.nodes.length > before", arg=before, timeout=patience
                )
                return
            self.page.keyboard.press("Escape")
        raise AssertionError(f"{name} was not added by search")

    def missing_nodes(self) -> list[str]:
        """Types on the canvas that this ComfyUI does not have."""
        return self.call(
            "() => app.graph.nodes.filter(n => !(n.type in LiteGraph.registered_node_types)).map(n => n.type)"
        )

    def prompt(self) -> dict[str, Any]:
        """The canvas as the API prompt that Run would send."""
        return self.call("async () => (await app.graphToPrompt()).output")


def _executable(playwright: Playwright) -> str | None:
    own = playwright.chromium.executable_path
    return own if Path(own).is_file() else next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def open_frontend(server: ComfyServer) -> Iterator[Frontend]:
    """A server's frontend, ready for work. Raises `NoBrowser`, which says how to get one."""
    if sync_playwright is None:
        raise NoBrowser(NO_PLAYWRIGHT)
    with sync_playwright() as playwright:
        executable = _executable(playwright)
        if executable is None:
            raise NoBrowser(NO_BROWSER)
        for name, value in SETTINGS.items():
            server.post(f"/settings/{name}", value)
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        try:
            frontend = Frontend(browser.new_page(viewport={"width": 1600, "height": 900}))
            frontend.page.goto(f"http://127.0.0.1:{server.port}/", wait_until="domcontentloaded")
            frontend.page.wait_for_function(READY, timeout=START_MS)
            yield frontend
        finally:
            browser.close()
