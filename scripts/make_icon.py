"""The pack's icon and banner: a small coarse picture that flows along straight paths into a large fine one.

    python -m scripts.make_icon [FOLDER]

writes `icon.png` (256×256) and `banner.png` (1260×540) into FOLDER, `docs` by default.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

OVERSAMPLING = 4  # everything is drawn this many times larger, then shrunk
NIGHT, INK, MUTED = (15, 17, 32), (244, 241, 234), (160, 164, 190)
Point = tuple[float, float]
Colour = tuple[int, int, int]


def scene(cells: int, side: int = 576) -> np.ndarray:
    """A sun over hills, averaged to cells × cells colours (cells divides side)."""
    y, x = np.mgrid[0:side, 0:side] / side
    stops = np.array([(62, 52, 132), (138, 66, 150), (236, 104, 110), (255, 182, 104)], dtype=float)
    position = np.clip(y / 0.72, 0, 1) * (len(stops) - 1)
    k = np.minimum(position.astype(int), len(stops) - 2)
    share = (position - k)[..., None]
    colours = stops[k] * (1 - share) + stops[k + 1] * share
    distance = np.hypot(x - 0.64, y - 0.44)
    glow = np.exp(-((distance / 0.26) ** 2))[..., None] * 0.55
    colours = colours * (1 - glow) + np.array((255, 226, 150)) * glow
    colours[distance < 0.145] = (255, 240, 200)
    hills = [
        (0.66 + 0.06 * np.sin(5.2 * x + 0.4) - 0.20 * np.exp(-(((x - 0.22) / 0.16) ** 2)), (150, 78, 150)),
        (0.77 + 0.05 * np.sin(7.5 * x + 2.6) - 0.09 * np.exp(-(((x - 0.80) / 0.14) ** 2)), (98, 64, 150)),
        (0.88 + 0.035 * np.sin(9.0 * x + 5.0), (58, 54, 132)),
    ]
    for height, colour in hills:
        colours[y > height] = colour
    block = side // cells
    return colours.reshape(cells, block, cells, block, 3).mean((1, 3))


class Canvas:
    """Drawing in final pixels, at a multiple of them."""

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        self.image = Image.new("RGBA", (width * OVERSAMPLING, height * OVERSAMPLING))

    def _scaled(self, *numbers: float) -> list[float]:
        return [n * OVERSAMPLING for n in numbers]

    def background(self, radius: float) -> None:
        width, height = self.image.size
        ramp = np.linspace(0, 1, height)[:, None, None]
        rows = np.array(NIGHT) * (1 - ramp) + np.array((32, 30, 62)) * ramp
        colours = np.broadcast_to(rows, (height, width, 3)).astype(np.uint8)
        mask = Image.new("L", self.image.size)
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, width, height), radius * OVERSAMPLING, fill=255)
        self.image.paste(Image.fromarray(colours), mask=mask)

    def grid(self, left: float, top: float, side: float, cells: int, gap: float) -> None:
        """The scene as separate square cells."""
        draw = ImageDraw.Draw(self.image)
        pitch = (side + gap) / cells
        for i, row in enumerate(scene(cells)):
            for j, colour in enumerate(row):
                x, y = left + j * pitch, top + i * pitch
                box = self._scaled(x, y, x + pitch - gap, y + pitch - gap)
                radius = (pitch - gap) * 0.16 * OVERSAMPLING
                draw.rounded_rectangle(box, radius, fill=tuple(int(c) for c in colour))

    def path(self, start: Point, end: Point, colour: Colour, width: float, head: float) -> None:
        """A straight arrow that fades in."""
        layer = Image.new("RGBA", self.image.size)
        draw = ImageDraw.Draw(layer)
        a, b = np.array(self._scaled(*start)), np.array(self._scaled(*end))
        along = (b - a) / np.hypot(*(b - a))
        across = np.array((-along[1], along[0]))
        neck = b - along * head * OVERSAMPLING
        half = across * width * OVERSAMPLING / 2
        pieces = 48
        for k in range(pieces):
            p, q = (a + (neck - a) * t / pieces for t in (k, k + 1))
            corners = [tuple(c) for c in (p - half, q - half, q + half, p + half)]
            draw.polygon(corners, fill=(*colour, int(40 + 215 * (k + 1) / pieces)))
        wing = across * head * 0.5 * OVERSAMPLING
        draw.polygon([tuple(c) for c in (neck - wing, b, neck + wing)], fill=(*colour, 255))
        self.image.alpha_composite(layer)

    def text(self, left: float, baseline: float, words: str, size: float, colour: Colour) -> None:
        font = ImageFont.load_default(size * OVERSAMPLING)
        place = (left * OVERSAMPLING, baseline * OVERSAMPLING)
        ImageDraw.Draw(self.image).text(place, words, font=font, fill=colour, anchor="ls")

    def finished(self) -> Image.Image:
        return self.image.resize(self.size, Image.Resampling.LANCZOS)


def paths_between(
    canvas: Canvas, small: tuple[float, float, float], large: tuple[float, float, float],
    rows: int, width: float, head: float, air: float,
) -> None:  # fmt: skip
    """An arrow from each row of the small picture to the same rows of the large one beside it."""
    (x, y, side), (to_x, to_y, to_side) = small, large
    colours = scene(rows).mean(1)
    for k, colour in enumerate(colours):
        share = (k + 0.5) / rows
        bright = tuple(int(c * 0.6 + 255 * 0.4) for c in colour)
        start, end = (x + side + air, y + share * side), (to_x - air, to_y + share * to_side)
        canvas.path(start, end, bright, width, head)


def make_icon() -> Image.Image:
    canvas = Canvas(256, 256)
    canvas.background(radius=52)
    small, large = (20, 104, 48), (106, 61, 134)
    paths_between(canvas, small, large, rows=4, width=2.6, head=9, air=5)
    canvas.grid(*small, cells=4, gap=2.4)
    canvas.grid(*large, cells=16, gap=1.1)
    return canvas.finished()


def make_banner() -> Image.Image:
    canvas = Canvas(1260, 540)
    canvas.background(radius=0)
    small, large = (588, 222, 96), (782, 66, 408)
    paths_between(canvas, small, large, rows=6, width=2.6, head=12, air=10)
    canvas.grid(*small, cells=6, gap=2.6)
    canvas.grid(*large, cells=36, gap=1.5)
    canvas.text(64, 262, "FMBoost", 104, INK)
    canvas.text(69, 316, "Small latents to large ones,", 30, MUTED)
    canvas.text(69, 356, "by flow matching", 30, MUTED)
    return canvas.finished().convert("RGB")


def main(folder: str = "docs") -> None:
    make_icon().save(Path(folder) / "icon.png", optimize=True)
    make_banner().save(Path(folder) / "banner.png", optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
