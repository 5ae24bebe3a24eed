"""Search words for nodes, where the ComfyUI at hand knows them."""

from __future__ import annotations

from comfy_api.latest import io


def with_aliases(schema: io.Schema, *aliases: str) -> io.Schema:
    """The schema, found under these words too. ComfyUI before 0.9 has no such field."""
    if hasattr(schema, "search_aliases"):
        schema.search_aliases = list(aliases)
    return schema
