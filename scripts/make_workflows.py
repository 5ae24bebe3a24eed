"""Makes `example_workflows/` and `subgraphs/` in a real ComfyUI's own frontend.

    python -m scripts.make_workflows [NAME ...] [--comfyui FOLDER] [--picture PICTURE]

What is on the canvases stands in `scripts/workflows.py`; the frontend builds them, so that the files are what
it would save. Take the oldest ComfyUI that the pack supports: its files load in newer ones, too. PICTURE, of
about 512 pixels a side, is for the preview of boost_a_picture; the other previews show the graph.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from fmboost_core import builtin_models

from .canvas import Beside, Columns, Node, Output
from .workflows import WORKFLOWS, boost_and_decode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from comfy_frontend import Frontend, open_frontend  # noqa: E402
from comfy_server import HOW_TO_GET_ONE, ComfyServer, find_comfyuis  # noqa: E402

EXAMPLES, BLUEPRINTS = ROOT / "example_workflows", ROOT / "subgraphs"
BLUEPRINT = "Boost and decode"
CHECKPOINT_FREE = "boost_a_picture"
SCALE, QUALITY = 0.75, 80  # of the previews
FRAME = (70, 120, 20, 60)  # pixels that the frontend's own bars take: left, top, right, bottom
MARGIN, PANEL = 20, 480  # pixels around a graph; side of a crop
# What a blueprint's node shows of the nodes in it.
PROMOTED = ("size.factor", "detail", "steps", "seed")

BUILD = """columns => {
    const GAP = 40, TITLE = 30, graph = app.graph, made = new Map()
    app.clean()  // forgets the pictures of the graph before
    graph.clear()
    let left = 0
    for (const [width, nodes] of columns) {
        let top = TITLE
        for (const spec of nodes) {
            if ("beside" in spec) {
                top = Math.max(top, made.get(spec.beside).pos[1])
                continue
            }
            const node = LiteGraph.createNode(spec.kind)
            if (!node) throw new Error(`there is no node ${spec.kind}`)
            graph.add(node)
            for (const [name, value] of Object.entries(spec.widgets)) {
                const widget = node.widgets.find(w => w.name === name)
                if (!widget) throw new Error(`${spec.kind} has no widget ${name}`)
                widget.value = value
                widget.callback?.(value)
            }
            if (spec.title) node.title = spec.title
            if (spec.kind === "MarkdownNote") [node.color, node.bgcolor] = ["#432", "#653"]
            Object.assign(node.properties, spec.properties)
            node.pos = [left, top]
            node.setSize([width, Math.max(node.computeSize()[1], spec.tall)])
            top += node.size[1] + TITLE + GAP
            made.set(spec.id, node)
        }
        left += width + GAP
    }
    for (const spec of columns.flatMap(([, nodes]) => nodes))
        for (const [input, [id, output]] of Object.entries(spec.links ?? {})) {
            const from = made.get(id), node = made.get(spec.id)
            const slots = [from.findOutputSlot(output), node.findInputSlot(input)]
            if (slots.includes(-1)) throw new Error(`no link ${from.type}.${output} to ${node.type}.${input}`)
            from.connect(slots[0], node, slots[1])
        }
    return Math.max(...graph.nodes.map(n => n.pos[1] + n.size[1]))
}"""
SERIALIZE = """() => {
    const saved = app.graph.serialize()
    // Newer frontends save the names as well: with them the file says itself what each value is for.
    for (const data of saved.nodes) {
        const widgets = app.graph.getNodeById(data.id).widgets?.filter(w => w.serialize !== false) ?? []
        const named = Object.fromEntries(widgets.map(w => [w.name, w.value]))
        if (widgets.length) data.widgets_values_named = named
    }
    return JSON.stringify(saved)  // leaves out what is undefined
}"""
SHOW = """async ([scale, offset]) => {
    app.canvas.deselectAll?.()
    app.canvas.ds.scale = scale
    app.canvas.ds.offset = offset
    app.canvas.setDirty(true, true)
    await new Promise(done => setTimeout(done, 1500))  // pictures and notes come late
}"""
WRAP = """async ([title, inside, promoted]) => {
    const chosen = app.graph.nodes.filter(n => inside.includes(n.type))
    const {subgraph, node} = app.graph.convertToSubgraph(new Set(chosen))
    for (const other of [...app.graph.nodes]) if (other !== node) app.graph.remove(other)
    subgraph.name = node.title = title
    const boost = subgraph.nodes.find(n => n.type === inside[0])
    node.properties.proxyWidgets = promoted.map(name => [String(boost.id), name])
    node.pos = [0, 0]
    return JSON.stringify(app.graph.serialize())
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="workflows to make (all)")
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI folder (the oldest one found)")
    parser.add_argument("--picture", type=Path, help="for the preview of boost_a_picture")
    options = parser.parse_args()
    comfyui = options.comfyui or next(iter(find_comfyuis()), None)
    if comfyui is None:
        parser.error(HOW_TO_GET_ONE)
    with tempfile.TemporaryDirectory() as folder:
        server = ComfyServer(comfyui.expanduser(), Path(folder) / "base")
        try:
            picture = options.picture or comfyui.expanduser() / "input" / "example.png"
            Image.open(picture).convert("RGB").save(server.base / "input" / "example.png")
            with open_frontend(server) as frontend:
                prompts = make_all(frontend, options.names)
            # Run when the browser is closed: a page that is open shows the pictures on the next graph, too.
            crops = compared_crops(server, prompts[CHECKPOINT_FREE]) if CHECKPOINT_FREE in prompts else None
            if crops:
                write_preview(CHECKPOINT_FREE, crops)
        finally:
            server.stop()


def make_all(frontend: Frontend, names: list[str]) -> dict[str, dict[str, Any]]:
    """Write the files, and return the workflows as API prompts."""
    prompts: dict[str, dict[str, Any]] = {}
    EXAMPLES.mkdir(exist_ok=True)
    BLUEPRINTS.mkdir(exist_ok=True)
    for workflow in WORKFLOWS:
        name = workflow.__name__
        columns = workflow()
        if names and name not in names:
            continue
        lacking = needed_models(columns) - builtin_models().keys()
        if lacking:
            sys.stdout.write(f"{name}: left out, there is no {', '.join(lacking)} in fmboost_core/weights\n")
            continue
        bottom = frontend.call(BUILD, for_the_frontend(columns))
        write(EXAMPLES / f"{name}.json", json.loads(frontend.call(SERIALIZE)))
        write_preview(name, screenshot(frontend, columns, bottom))
        prompts[name] = frontend.prompt()
        sys.stdout.write(f"{name}: done\n")
    if not names or BLUEPRINT in names:
        columns, inside = boost_and_decode()
        frontend.call(BUILD, for_the_frontend(columns))
        saved = json.loads(frontend.call(WRAP, [BLUEPRINT, [node.kind for node in inside], PROMOTED]))
        (definition,) = saved["definitions"]["subgraphs"]
        for slot in saved["nodes"][0]["inputs"]:
            slot.pop("shape", None)  # that the VAE is optional holds for the boost alone
        definition["category"] = "Image Tools/Upscale"
        definition["description"] = "Enlarges a latent with FMBoost and decodes it."
        write(BLUEPRINTS / f"{BLUEPRINT}.json", saved)
        sys.stdout.write(f"{BLUEPRINT}: done\n")
    return prompts


def needed_models(columns: Columns) -> set[str]:
    nodes = [node for _, column in columns for node in column if isinstance(node, Node)]
    return {node.inputs["model_name"] for node in nodes if node.kind == "FMBoostModelLoader"}


def for_the_frontend(columns: Columns) -> list[Any]:
    """The columns as JSON; a node is known by its number."""
    ids = {id(node): n for n, node in enumerate(node for _, column in columns for node in column)}

    def described(node: Node | Beside) -> dict[str, Any]:
        if isinstance(node, Beside):
            return {"beside": ids[id(node.node)]}
        links = {k: [ids[id(v.node)], v.name] for k, v in node.inputs.items() if isinstance(v, Output)}
        widgets = {k: v for k, v in node.inputs.items() if not isinstance(v, Output)}
        properties: dict[str, Any] = {"models": node.models} if node.models else {}
        if node.kind.startswith("FMBoost"):
            properties["cnr_id"] = "fmboost"  # by which Manager finds the pack for those who lack it
        return {
            "id": ids[id(node)], "kind": node.kind, "title": node.title, "tall": node.tall, "links": links,
            "widgets": widgets, "properties": properties,
        }  # fmt: skip

    return [[width, [described(node) for node in column]] for width, column in columns]


def write(path: Path, workflow: dict[str, Any]) -> None:
    """Save it so that making it again gives the same file."""
    workflow["extra"] = {"ds": {"scale": SCALE, "offset": [120, 180]}}  # the view that it opens with
    text = json.dumps(workflow, indent=2, ensure_ascii=False)
    for n, found in enumerate(
        dict.fromkeys(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", text))
    ):
        text = text.replace(found, str(uuid.uuid5(uuid.NAMESPACE_URL, f"fmboost/{path.stem}/{n}")))
    # Positions, sizes and links each on a line.
    text = re.sub(r"\[\s+((?:-?[\d.]+|\"[A-Z_]+\")(?:,\s+(?:-?[\d.]+|\"[A-Z_]+\"))*)\s+\]", on_one_line, text)
    path.write_text(text + "\n", encoding="utf-8")


def on_one_line(match: re.Match[str]) -> str:
    return "[" + re.sub(r",\s+", ", ", match[1]) + "]"


def write_preview(name: str, picture: Image.Image) -> None:
    picture.save(EXAMPLES / f"{name}.jpg", quality=QUALITY, optimize=True)


def screenshot(frontend: Frontend, columns: Columns, bottom: float) -> Image.Image:
    """The graph alone: the page is made larger than it by what the frontend's bars take."""
    right = sum(width for width, _ in columns) + 40 * (len(columns) - 1)
    width, height = (round(SCALE * side + 2 * MARGIN) for side in (right, bottom))
    left, top, more_right, more_bottom = FRAME
    size = {"width": left + width + more_right, "height": top + height + more_bottom}
    frontend.page.set_viewport_size(size)
    frontend.call(SHOW, [SCALE, [(left + MARGIN) / SCALE, (top + MARGIN) / SCALE]])
    clip = {"x": left, "y": top, "width": width, "height": height}
    return Image.open(io.BytesIO(frontend.page.screenshot(clip=clip))).convert("RGB")


def compared_crops(server: ComfyServer, prompt: dict[str, Any]) -> Image.Image | None:
    """Core's and our result side by side, as the workflow makes them; None without the tiny VAE."""
    if not (server.base / "models" / "vae_approx" / "taesd_decoder.safetensors").is_file():
        return None
    (compare,) = (node for node in prompt.values() if node["class_type"] == "FMBoostCompare")
    compare["inputs"]["split"] = 1.0  # all of core's
    outputs = server.run(prompt)["outputs"]
    sheet = Image.new("RGB", (2 * PANEL, PANEL))
    for i, (kind, label) in enumerate(
        [("FMBoostCompare", "core: bicubic latent upscale"), ("SaveImage", "FMBoost")]
    ):
        (saved,) = (outputs[key]["images"][0] for key in outputs if prompt[key]["class_type"] == kind)
        folder = server.base / ("temp" if saved["type"] == "temp" else "output")
        picture = Image.open(folder / saved["subfolder"] / saved["filename"]).convert("RGB")
        left, top = (side // 4 - PANEL // 4 for side in picture.size)
        panel = picture.crop((left, top, left + PANEL, top + PANEL))
        draw, font, corner = ImageDraw.Draw(panel), ImageFont.load_default(size=20), (10, PANEL - 34)
        box = draw.textbbox(corner, label, font=font)
        draw.rectangle((box[0] - 6, box[1] - 5, box[2] + 6, box[3] + 5), fill=(0, 0, 0))
        draw.text(corner, label, font=font, fill=(255, 255, 255))
        sheet.paste(panel, (i * PANEL, 0))
    return sheet


if __name__ == "__main__":
    main()
