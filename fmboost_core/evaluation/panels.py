"""Crops side by side, chosen by the numbers: where the boost gains most, and where it gains least."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..images import to_image
from .evaluate import Evaluator
from .methods import Method
from .results import Evaluation

CHOSEN = 3  # pictures at either end
SIDE = 192  # pixels of a crop
STRIDE = 32
ROUTE = "vae-bicubic"
MOST_BOOSTS = 4


@dataclass(frozen=True)
class Panel:
    """One picture's crop by several methods.

    Attributes:
        picture: its name.
        gain: PSNR of the first boost minus that of the baseline, over the whole picture.
        best: whether it is one of the largest gains, else one of the smallest.
        left, top: of the crop, in pixels.
        crops: title → crop, the original first.
    """

    picture: str
    gain: float
    best: bool
    left: int
    top: int
    crops: dict[str, Image.Image]


def make_panels(evaluator: Evaluator, evaluation: Evaluation) -> list[Panel]:
    """Panels of the pictures with the largest and the smallest gains.

    Within a picture, the crop is the one where the first boost gains most (or least) in squared error.
    """
    names = list(evaluation.gains)
    count = min(CHOSEN, len(names) // 2) or len(names)
    best, worst = names[:count], [n for n in names[-count:] if n not in names[:count]]
    return [_panel(evaluator, evaluation, name, best=name in best) for name in [*best, *worst]]


def _panel(evaluator: Evaluator, evaluation: Evaluation, name: str, *, best: bool) -> Panel:
    example = evaluator.example(name)
    methods = _shown(evaluator.setup.methods, evaluation.baseline)
    with torch.inference_mode():
        pictures = {m.title: m.picture(example, evaluator.setup.vae)[0] for m in methods}
    baseline = next(m.title for m in methods if m.name == evaluation.baseline)
    first = next(m.title for m in methods if m.model)
    error = {title: (pictures[title] - example.original).square() for title in (baseline, first)}
    left, top = _extreme_window(error[baseline] - error[first], best=best)
    shown = {"original": example.original} | pictures
    crops = {title: to_image(_cut(p, left, top)) for title, p in shown.items()}
    return Panel(name, evaluation.gains[name], best, left, top, crops)


def _shown(methods: list[Method], baseline: str) -> list[Method]:
    """The baseline, the VAE route, and the first model: its first setting, and one for each other detail."""
    plain = [m for m in methods if m.name == baseline or m.name == ROUTE]
    boosts = [m for m in methods if m.model]
    ours: dict[float | None, Method] = {}
    for method in boosts:
        if method.model == boosts[0].model:
            ours.setdefault(method.detail, method)
    return list(dict.fromkeys([*plain, *list(ours.values())[:MOST_BOOSTS]]))


def _extreme_window(gain: Tensor, *, best: bool) -> tuple[int, int]:
    """Left and top of the window with the largest (or smallest) mean of `gain` (1, 3, H, W)."""
    means = F.avg_pool2d(gain.mean(1, keepdim=True), SIDE, stride=STRIDE)[0, 0]
    index = int(means.argmax() if best else means.argmin())
    return index % means.shape[1] * STRIDE, index // means.shape[1] * STRIDE


def _cut(pixels: Tensor, left: int, top: int) -> Tensor:
    return pixels[..., top : top + SIDE, left : left + SIDE]
