"""What ComfyUI imports of this pack runs no code from files, starts no program and opens no connection."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACK = Path(__file__).parents[1]
FORBIDDEN_MODULES = {
    "aiohttp", "asyncio", "cloudpickle", "code", "dill", "ftplib", "http", "httpx", "huggingface_hub",
    "joblib",
    "marshal", "multiprocessing", "pickle", "pty", "requests", "runpy", "shelve", "smtplib", "socket", "ssl",
    "subprocess", "telnetlib", "urllib", "webbrowser",
}  # fmt: skip
FORBIDDEN_NAMES = {"__import__", "compile", "eval", "exec"}
FORBIDDEN_ATTRIBUTES = {
    "os.execv", "os.fork", "os.popen", "os.spawnv", "os.system", "torch.hub.load", "torch.jit.load",
    "numpy.load", "np.load", "importlib.import_module", "ctypes.CDLL",
}  # fmt: skip


class _AtRunTime(ast.NodeTransformer):
    """Takes away what is imported for type checkers alone."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        return node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


def parse(path: Path) -> ast.Module:
    return _AtRunTime().visit(ast.parse(path.read_text(encoding="utf-8")))


def imported(path: Path, tree: ast.AST) -> set[Path]:
    """The pack's own files that a file imports, at its top or later, and the packages around them."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1]
            base = folder.joinpath(*(node.module or "").split(".")) if node.module else folder
            for name in [base, *(base / alias.name for alias in node.names)]:
                found |= {p for p in (name.with_suffix(".py"), name / "__init__.py") if p.is_file()}
    around = {
        folder / "__init__.py" for p in found for folder in p.parents if PACK in (folder, *folder.parents)
    }
    return found | {p for p in around if p.is_file()}


def what_comfyui_imports() -> dict[Path, ast.Module]:
    """The import closure of the pack's entry point."""
    trees, waiting = {}, {PACK / "__init__.py"}
    while waiting:
        path = waiting.pop()
        trees[path] = parse(path)
        waiting |= imported(path, trees[path]) - trees.keys()
    return trees


def faults(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [node.module or ""] if (node.module or "").split(".")[0] in FORBIDDEN_MODULES else []
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN_NAMES:
            # A parameter may be called `compile`, the word that users know; the builtin may not be called.
            found += [node.id] if isinstance(node.ctx, ast.Load) and node.id != "compile" else []
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in FORBIDDEN_ATTRIBUTES:
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called == "torch.load" and keywords.get("weights_only") != "True":
                found.append("torch.load without weights_only=True")
            if called == "compile" or keywords.get("trust_remote_code") == "True":
                found.append(called)
    return found


TREES = what_comfyui_imports()


def test_the_closure_is_the_pack():
    names = {path.relative_to(PACK).as_posix() for path in TREES}
    assert {"nodes/upscale.py", "fmboost_core/booster.py", "fmboost_core/training/trainer.py"} <= names
    assert not any(name.startswith(("fmboost_core/cli", "fmboost_core/evaluation")) for name in names)


@pytest.mark.parametrize("path", sorted(TREES), ids=lambda p: p.relative_to(PACK).as_posix())
def test_nothing_dangerous_is_imported_or_called(path):
    assert not faults(TREES[path])


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from urllib import request", "import http.client", "eval('1')", "exec('1')",
        "import os; os.system('x')", "torch.load(p)", "torch.load(p, weights_only=False)",
        "torch.jit.load(p)", "compile('1', '', 'eval')", "__import__('os')",
        "f(p, trust_remote_code=True)", "from subprocess import run",
    ],
)  # fmt: skip
def test_the_check_finds_what_it_looks_for(code):
    assert faults(ast.parse(code))
