"""What a canvas is made of: nodes in columns, and links and values by the names of inputs."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from typing import Any

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Output:
    """A node's output, to be given as another node's input."""

    node: Node
    name: str


@dataclass(eq=False)
class Node:
    """A node: links and widget values by input name, and how it looks."""

    kind: str
    inputs: dict[str, Any]
    tall: int = 0  # pixels, at least
    title: str | None = None
    models: list[dict[str, str]] = field(default_factory=list)

    def __getitem__(self, output: str) -> Output:
        return Output(self, output)


@dataclass(frozen=True)
class Beside:
    """In a column: what follows starts no higher than this node of an earlier column."""

    node: Node


Columns = list[tuple[int, list[Node | Beside]]]  # each: its width, and its nodes from top to bottom


def node(kind: str, *, tall: int = 0, title: str | None = None, **inputs: Any) -> Node:
    return Node(kind, inputs, tall, title)


def note(tall: int, text: str) -> Node:
    """A note of Markdown, whose lines are joined to paragraphs and items."""
    joined = re.sub(r"(?<!\n)\n *(?![ \n-])", " ", inspect.cleandoc(text))
    return node("MarkdownNote", tall=tall, title="About", text=joined)


def loader(kind: str, widget: str, address: str, folder: str, **inputs: Any) -> Node:
    """A loader of a file that the frontend offers to download."""
    file = address.rsplit("/", 1)[-1]
    models = [{"name": file, "url": f"{HUB}/{address}", "directory": folder}]
    return Node(kind, {widget: file, **inputs}, models=models)
