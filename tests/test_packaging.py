"""What Comfy's registry, ComfyUI-Manager and GitHub read of the pack."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from comfy_server import PACK, find_comfyuis
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import fmboost_core

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NEVER_TOUCHED = {"torch", "torchvision", "torchaudio", "comfyui-frontend-package"}
# What every ComfyUI from 0.8.0 to 0.33 installs, of that which a pack like this may want.
WITH_COMFYUI = {
    "einops", "numpy", "pillow", "psutil", "pyyaml", "safetensors", "scipy", "torch", "torchvision", "tqdm",
}  # fmt: skip
PAPER_AUTHORS = ["Schusterbauer", "Gui", "Ma", "Stracke", "Baumann", "Hu", "Ommer"]

PYPROJECT = tomllib.loads((PACK / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, COMFY = PYPROJECT["project"], PYPROJECT["tool"]["comfy"]
OPTIONAL = PROJECT["optional-dependencies"]


def requirements(file: Path) -> list[Requirement]:
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def names(required: list[Requirement]) -> set[str]:
    return {r.name.lower().replace("_", "-") for r in required}


# pyproject.toml: docs.comfy.org/registry/specifications


def test_the_id_is_one_that_the_registry_takes():
    name = PROJECT["name"]
    assert re.fullmatch(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*", name) and len(name) < 100
    assert "comfy" not in name


def test_the_version_is_the_packages_own():
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])
    assert PROJECT["version"] == fmboost_core.__version__


def test_publisher_and_repository_are_named():
    assert COMFY["PublisherId"] == "fmboost" and COMFY["DisplayName"] == "FMBoost"
    assert PROJECT["urls"]["Repository"].startswith("https://github.com/")
    assert PROJECT["urls"]["Issues"] == PROJECT["urls"]["Repository"] + "/issues"
    assert PROJECT["description"] and (PACK / PROJECT["license-files"][0]).is_file()


@pytest.mark.parametrize("key, ratio, widest", [("Icon", 1, 400), ("Banner", 21 / 9, 2000)])
def test_icon_and_banner_are_pictures_of_this_repository(key, ratio, widest):
    raw = PROJECT["urls"]["Repository"].replace("github.com", "raw.githubusercontent.com") + "/main/"
    assert COMFY[key].startswith(raw)
    data = (PACK / COMFY[key].removeprefix(raw)).read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert width / height == pytest.approx(ratio) and width <= widest


def test_versions_of_python_and_comfyui_are_bounded_below():
    assert "3.10" in SpecifierSet(PROJECT["requires-python"])
    assert "3.9" not in SpecifierSet(PROJECT["requires-python"])
    # The registry's own pattern: an operator, then three numbers.
    assert re.fullmatch(r">=\d+\.\d+\.\d+", COMFY["requires-comfyui"])
    assert "0.8.0" in SpecifierSet(COMFY["requires-comfyui"])
    assert "0.7.9" not in SpecifierSet(COMFY["requires-comfyui"])


def test_the_classifiers_are_those_that_the_registry_reads():
    systems = [c for c in PROJECT["classifiers"] if c.startswith("Operating System ::")]
    assert systems == ["Operating System :: OS Independent"]
    accelerators = {c.split(" :: ", 1)[1] for c in PROJECT["classifiers"] if c.startswith("Environment ::")}
    # One that the registry does not know makes it forget all of them.
    known = {"NVIDIA CUDA", "AMD ROCm", "Intel Arc", "Apple Metal"}
    assert accelerators and accelerators <= {f"GPU :: {name}" for name in known} | {"NPU :: Huawei Ascend"}


@pytest.mark.parametrize("line", [*PROJECT["dependencies"], *OPTIONAL["train"], *OPTIONAL["eval"]])
def test_what_users_install_is_pinned_by_range(line):
    requirement = Requirement(line)
    kinds = {specifier.operator for specifier in requirement.specifier}
    # Pillow counts its releases by the year, without breaking with the last.
    assert kinds == ({">="} if requirement.name == "Pillow" else {">=", "<"})


# requirements.txt: ComfyUI-Manager installs it


def test_the_managers_requirements_are_ours_without_torch():
    ours = names([Requirement(line) for line in PROJECT["dependencies"]])
    assert names(requirements(PACK / "requirements.txt")) == ours - NEVER_TOUCHED


def test_the_managers_requirements_replace_nothing():
    required = requirements(PACK / "requirements.txt")
    assert names(required) <= WITH_COMFYUI - NEVER_TOUCHED
    assert [str(r) for r in required if r.specifier or r.url or r.extras or r.marker] == []


@pytest.mark.parametrize("comfyui", find_comfyuis(), ids=lambda path: path.name)
def test_comfyui_installs_all_that_is_required(comfyui):
    theirs = names(requirements(comfyui / "requirements.txt"))
    assert names(requirements(PACK / "requirements.txt")) <= theirs
    assert theirs >= WITH_COMFYUI


# .comfyignore: what the registry's archive leaves out


def left_out(paths: list[str], folder: Path) -> set[str]:
    """Those of the paths that .comfyignore names, by git's own reading of it."""

    def git(*arguments: str, given: str = "") -> str:
        command = ["git", "-c", "core.quotePath=false", *arguments]
        return subprocess.run(
            command, input=given.encode(), stdout=subprocess.PIPE, cwd=folder, check=True
        ).stdout.decode()

    git("init", "-q")
    empty = git("hash-object", "-w", "--stdin").strip()
    git("update-index", "--index-info", given="".join(f"100644 {empty}\t{path}\n" for path in paths))
    assert set(git("ls-files").splitlines()) == set(paths)
    ignored = git("ls-files", "-i", "-c", f"--exclude-from={PACK / '.comfyignore'}")
    return set(ignored.splitlines())


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def tracked_files() -> list[str]:
    """What the archive is made of, before .comfyignore."""
    command = ["git", "-c", "core.quotePath=false", "ls-files"]
    listed = subprocess.run(command, capture_output=True, cwd=PACK)
    if listed.returncode or not (PACK / ".git").exists():
        pytest.skip("this is not a git checkout")
    return listed.stdout.decode().splitlines()


@needs_git
def test_the_archive_holds_what_runs_and_nothing_else(tmp_path):
    here = tracked_files()
    shipped = set(here) - left_out(here, tmp_path)
    optional = {"locales", "subgraphs"}
    assert {path.split("/")[0] for path in shipped} - optional == {
        "CHANGELOG.md", "LICENSE", "README.md", "__init__.py", "pyproject.toml", "requirements.txt",
        "example_workflows", "examples", "fmboost_core", "nodes", "recipes", "web",
    }  # fmt: skip
    for folder in ("example_workflows", "fmboost_core", "nodes", "recipes", "web", *optional):
        assert {path for path in here if path.startswith(f"{folder}/")} <= shipped
    assert "fmboost_core/weights/boostnet-sd15.safetensors" in shipped


@needs_git
@pytest.mark.parametrize(
    "path, out",
    [
        ("fmboost_core/weights/boostnet-any.safetensors", False),
        ("fmboost_core/tests.py", False),
        ("web/docs/FMBoostUpscale/de.md", False),
        ("locales/zh-TW/nodeDefs.json", False),
        ("subgraphs/Boost and decode.json", False),
        ("example_workflows/cascade.jpg", False),
        ("tests/nodes/test_any.py", True),
        ("docs/any.png", True),
        ("scripts/any.py", True),
        (".github/workflows/any.yml", True),
        (".ci/run", True),
    ],
)
def test_comfyignore_keeps_what_runs(tmp_path, path, out):
    assert (left_out([path], tmp_path) == {path}) is out


# CITATION.cff: GitHub and Zenodo read it


def test_the_citation_credits_the_papers_authors():
    citation: dict[str, Any] = yaml.safe_load((PACK / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["cff-version"] == "1.2.0" and citation["license"] == PROJECT["license"]
    assert str(citation["version"]) == PROJECT["version"]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]
    paper = citation["preferred-citation"]
    assert paper["title"] == "FMBoost: Boosting Latent Diffusion Models with Flow Matching"
    assert [author["family-names"] for author in paper["authors"]] == PAPER_AUTHORS
    assert paper["year"] == 2024 and "ECCV" in paper["conference"]["name"]
    assert paper["url"].endswith("/2312.07360")


# .github and pre-commit


@pytest.mark.parametrize(
    "file",
    [".pre-commit-config.yaml", *(p.relative_to(PACK).as_posix() for p in PACK.glob(".github/**/*.yml"))],
)
def test_what_github_reads_can_be_read(file):
    assert isinstance(yaml.safe_load((PACK / file).read_text(encoding="utf-8")), dict)


def test_ci_covers_every_system_and_python_that_we_name():
    ci = yaml.safe_load((PACK / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    matrix = ci["jobs"]["tests"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert all(version in SpecifierSet(PROJECT["requires-python"]) for version in matrix["python"])
    assert PROJECT["requires-python"] == f">={matrix['python'][0]}"
    assert "python -m pip install" in json.dumps(ci["jobs"]["tests"]["steps"])


def test_a_new_version_is_published_with_the_registrys_token():
    text = (PACK / ".github/workflows/publish.yml").read_text(encoding="utf-8")
    publish = yaml.safe_load(text)
    assert publish[True]["push"] == {"branches": ["main"], "paths": ["pyproject.toml"]}  # `on` is YAML's true
    (step,) = (s for s in publish["jobs"]["publish"]["steps"] if "publish-node-action" in s["uses"])
    assert step["with"]["personal_access_token"] == "${{ secrets.REGISTRY_ACCESS_TOKEN }}"
    # The workflow finds the version by this line.
    assert f'version = "{PROJECT["version"]}"' in (PACK / "pyproject.toml").read_text("utf-8").splitlines()
