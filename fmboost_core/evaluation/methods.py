"""What is compared: ways to get from the small latent to the large picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..booster import Booster
from ..checkpoint import load
from ..errors import InputError
from ..families import LatentFamily
from ..interpolation import LATENT_METHODS, PIXEL_METHODS, enlarge_latent, enlarge_pixels, vae_route
from ..solvers import evaluations
from ..tiny_vae import PIXELS_PER_LATENT
from ..upsampling import size_of
from ..vae import VAE, sha256
from .example import Example

CEILING = "ceiling"


@dataclass(frozen=True)
class Method:
    """A way to enlarge.

    Attributes:
        name: in results and on the command line; says all that the result depends on, but the weights.
        title: for people.
        key: `name`, with the hash of the weights where there are any.
        enlarge: the example's small latent → the large model-space latent, or pixels.
        gives_pixels: whether `enlarge` returns pixels.
        model: name of the boosting model, None for a baseline.
        evaluations: of a network on an example, in all stages; None where the solver decides.
        detail, steps: of a boost.
    """

    name: str
    title: str
    key: str
    enlarge: Callable[[Example], Tensor]
    gives_pixels: bool = False
    model: str | None = None
    evaluations: Callable[[Example], int | None] = lambda example: 0
    detail: float | None = None
    steps: int | None = None

    @property
    def sees_original(self) -> bool:
        return self.name == CEILING

    def picture(self, example: Example, vae: VAE) -> tuple[Tensor, Tensor | None]:
        """Pixels (1, 3, H, W) in [0, 1], and the model-space latent they were decoded from, if any."""
        out = self.enlarge(example)
        return (out, None) if self.gives_pixels else (vae.decode(out), out)


def baselines(family: LatentFamily, vae: VAE) -> list[Method]:
    """What ComfyUI offers without us, and the ceiling: the original through the VAE."""

    def latent(mode: str) -> Method:
        def enlarge(example: Example) -> Tensor:
            samples = enlarge_latent(family.from_model(example.low), example.size, mode)
            return family.to_model(samples)

        return _plain(f"latent-{mode}", f"Latent Upscale, {mode}", enlarge)

    def route(mode: str) -> Method:
        def enlarge(example: Example) -> Tensor:
            return vae_route(example.low, example.size, vae.decode, vae.encode, mode)

        return _plain(f"vae-{mode}", f"VAE route: decode, {mode}, encode", enlarge)

    def pixels(example: Example) -> Tensor:
        height, width = (side * PIXELS_PER_LATENT for side in example.size)
        return enlarge_pixels(vae.decode(example.low), (height, width), "bicubic")

    return [
        *map(latent, LATENT_METHODS),
        *map(route, PIXEL_METHODS),
        _plain("pixel-bicubic", "decode, then bicubic in pixels", pixels, gives_pixels=True),
        _plain(CEILING, "ceiling: the original through the VAE", lambda example: example.high),
    ]


def _plain(name: str, title: str, enlarge: Callable[[Example], Tensor], **facts) -> Method:
    return Method(name, title, name, enlarge, **facts)


def boosts(
    path: Path, details: Sequence[float], steps: Sequence[int], *, solver: str, seed: int,
    dtype: torch.dtype, device: torch.device | str,
) -> tuple[Booster, list[Method]]:  # fmt: skip
    """A model at every combination of details and steps. Raises `InputError` for bad ones."""
    booster = load(path, dtype=dtype, device=device)
    if booster.needs_vae:
        raise InputError(f"{path} upsamples in pixel space (psu), which evaluate does not do yet")
    family, digest = booster.family, sha256(path)
    for detail in details:
        if not 0 <= detail <= 1:
            raise InputError(f"detail is {detail}: it goes from 0 (faithful) to 1 (most texture)")
    for count in steps:
        evaluations(solver, count)  # raises where there is no such solver, or no such number of steps

    def method(detail: float, count: int) -> Method:
        def enlarge(example: Example) -> Tensor:
            samples = family.from_model(example.low)
            out = booster.boost(samples, example.size, detail=detail, steps=count, solver=solver, seeds=seed)
            return family.to_model(out)

        def count_evaluations(example: Example) -> int | None:
            return booster.evaluations(size_of(example.low), example.size, solver=solver, steps=count)

        name = f"{path.stem}:{detail:g}:{count}" + ("" if solver == "euler" else f":{solver}")
        plural = "" if count == 1 else "s"
        return Method(
            name, f"{path.stem}, detail {detail:g}, {count} step{plural}", f"{name}:{seed}:{digest}", enlarge,
            model=path.stem, evaluations=count_evaluations, detail=detail, steps=count,
        )  # fmt: skip

    return booster, [method(detail, count) for detail in details for count in steps]
