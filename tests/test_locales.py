"""The nodes and their help pages in other languages: complete, and the same in structure as in English."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LOCALES, HELP = ROOT / "locales", ROOT / "web" / "docs"
LANGUAGES = ["de", "es", "fr", "ja", "ko", "pt-BR", "ru", "zh", "zh-TW"]
FILES = ["main.json", "nodeDefs.json"]
PAGES = sorted(path.stem for path in HELP.glob("*.md"))
every_language = pytest.mark.parametrize("language", LANGUAGES)
every_page = pytest.mark.parametrize("node", PAGES)


def texts(language: str, name: str) -> dict[str, str]:
    """All texts of a file, by the path of their keys."""
    return dict(_leaves(json.loads((LOCALES / language / name).read_text(encoding="utf-8"))))


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if not isinstance(tree, dict):
        yield path, tree
        return
    for key, branch in tree.items():
        yield from _leaves(branch, f"{path}/{key}")


def page(node: str, language: str | None = None) -> str:
    path = HELP / f"{node}.md" if language is None else HELP / node / f"{language}.md"
    return path.read_text(encoding="utf-8")


def bullets(text: str) -> list[str]:
    """The list items of a page, each on one line."""
    parts = re.split(r"\n(?=- |\n)", text)
    return [" ".join(part.split()) for part in parts if part.startswith("- ")]


def named_inputs(text: str) -> list[list[str]]:
    """The inputs that each list item is about, which are bold."""
    return [re.findall(r"\*\*(\w+)\*\*", bullet) for bullet in bullets(text)]


def schemas() -> dict[str, dict[str, Any]]:
    """What the nodes' source says of each node: its display name and description."""
    calls = [
        call
        for path in (ROOT / "nodes").glob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and any(k.arg == "node_id" for k in call.keywords)
    ]
    fields = [{k.arg: k.value for k in call.keywords if k.arg} for call in calls]
    return {
        ast.literal_eval(f["node_id"]): {k: ast.literal_eval(f[k]) for k in ("display_name", "description")}
        for f in fields
    }


def test_the_languages_are_those_that_are_tested():
    assert {path.name for path in LOCALES.iterdir()} == {"en", *LANGUAGES}


def test_english_has_the_nodes_of_the_pack():
    english = json.loads((LOCALES / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    described = {
        node: {k: d[k] for k in ("display_name", "description") if k in d} for node, d in english.items()
    }
    assert described == schemas()


@every_language
@pytest.mark.parametrize("name", FILES)
def test_every_text_is_in_every_language(language, name):
    assert texts(language, name).keys() == texts("en", name).keys()


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
@pytest.mark.parametrize("name", FILES)
def test_every_text_can_be_shown(language, name):
    for path, text in texts(language, name).items():
        assert text and text == text.strip(), path
        # vue-i18n would take these for links, parameters and plurals.
        assert not set(text) & set("@{}|"), path


@every_language
def test_sentences_are_not_left_in_english(language):
    english = texts("en", "nodeDefs.json")
    same = {path for path, text in texts(language, "nodeDefs.json").items() if text == english[path]}
    assert not [path for path in same if path.rsplit("/", 1)[1] != "name"]


@every_language
def test_what_users_type_and_choose_stays(language):
    """File names, folders and the options of menus are the same in all languages."""
    kept = re.compile(r"\w+(?:/\w+)+|\bsd15\b|\bauto\b|\b(?:euler|midpoint|heun|rk4|dopri5)\b|torch\.compile")
    translated = texts(language, "nodeDefs.json")
    for path, text in texts("en", "nodeDefs.json").items():
        missing = [word for word in kept.findall(text) if word not in translated[path]]
        assert not missing, path


def test_every_node_has_a_help_page():
    assert set(PAGES) == set(schemas())
    assert all(page(node).startswith(f"# {schemas()[node]['display_name']}\n") for node in PAGES)


@every_language
@every_page
def test_help_is_about_the_same_inputs_in_every_language(node, language):
    assert bullets(page(node))
    assert named_inputs(page(node, language)) == named_inputs(page(node))


@every_language
@every_page
def test_help_calls_the_node_and_its_inputs_as_the_canvas_does(node, language):
    labels, text = texts(language, "nodeDefs.json"), page(node, language)
    assert text.startswith(f"# {labels[f'/{node}/display_name']}\n")
    for bullet in bullets(text):
        heading = re.split("[:：]", bullet)[0]  # further on, names may be inflected
        for name in re.findall(r"\*\*(\w+)\*\*", heading):
            assert labels[f"/{node}/inputs/{name}/name"].lower() in heading.lower(), name


@every_language
@every_page
def test_help_shows_the_same_pictures_and_names_the_same_files(node, language):
    english, text = page(node), page(node, language)
    pictures = re.compile(r"!\[[^]]+\]\(([^)]+)\)")
    assert pictures.findall(text) == pictures.findall(english)
    # The frontend takes addresses as relative to the folder of the English pages.
    assert all((HELP / name).is_file() for name in pictures.findall(text))
    code = re.compile(r"`([^`]+)`")
    assert set(code.findall(english)) <= set(code.findall(text))


@every_language
@every_page
def test_help_is_not_left_in_english(node, language):
    english = {" ".join(part.split()) for part in page(node).split("\n\n")} | set(bullets(page(node)))
    text = page(node, language)
    parts = {" ".join(part.split()) for part in text.split("\n\n")} | set(bullets(text))
    assert not english & parts
