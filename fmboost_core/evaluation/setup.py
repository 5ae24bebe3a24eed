"""What to evaluate, and everything loaded for it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import __version__
from ..booster import DEFAULT_DETAIL, DEFAULT_STEPS
from ..errors import InputError
from ..families import LatentFamily
from ..precision import PRECISIONS, fastest_precision
from ..tiny_vae import TinyEncoder
from ..vae import VAE, load_vae
from .example import read_scale
from .methods import Method, baselines, boosts

PROTOCOL = 1  # changes whenever the same pictures would give other numbers
LIBRARIES = ("torch", "torchmetrics", "Pillow", "numpy")


@dataclass(frozen=True)
class Settings:
    """What to evaluate.

    Attributes:
        models: files of boosting models, all of one latent family.
        images: folder of pictures.
        vae: of that family, as `vae.load_vae` takes it.
        features: a tiny VAE in whose encoder's features the Fréchet distance is taken; None: `vae` itself if
            it is a tiny one, else there is no such distance.
        scale: enlargement, such as 2, 1.5 or "4/3".
        details, steps: of the boosts, every combination.
        solver: of the boosts.
        seed: of the boosts' noise, the same for each picture.
        baseline: name of the method that gains are stated against.
        largest_side: pixels; the middle of larger pictures is used.
        dtype: precision of VAE and boosts, a key of `precision.PRECISIONS`; None: the fastest good one.
        device: where to compute.
        lpips: TorchScript file of a network that is called as StyleGAN's `vgg16.pt`; None: no LPIPS.
        inception: likewise as StyleGAN's `inception-2015-12-05.pt`; None: no Inception FID.
    """

    models: Sequence[Path]
    images: Path
    vae: Path
    scale: str | float = 2
    details: Sequence[float] = (DEFAULT_DETAIL,)
    steps: Sequence[int] = (DEFAULT_STEPS,)
    solver: str = "euler"
    seed: int = 0
    baseline: str = "latent-bicubic"
    largest_side: int = 2048
    dtype: str | None = None
    device: str = "cpu"
    features: Path | None = None
    lpips: Path | None = None
    inception: Path | None = None


@dataclass(frozen=True)
class Setup:
    """Everything loaded that an evaluation works with.

    Attributes:
        settings: what to evaluate.
        vae: encodes and decodes.
        methods: in the table's order.
        features: encoder of the Fréchet distance, if there is one.
        networks: `lpips` and `inception`, where files were given.
        context: what two people must share to get the same numbers.
    """

    settings: Settings
    vae: VAE
    methods: list[Method]
    features: TinyEncoder | None
    networks: dict[str, nn.Module]
    context: dict[str, Any]


def prepare(settings: Settings) -> Setup:
    """Load VAE, models and networks, and check that they fit. Raises `InputError`."""
    dtype = settings.dtype or fastest_precision(settings.device)
    vae = load_vae(settings.vae, dtype=PRECISIONS[dtype], device=settings.device)
    read_scale(settings.scale)
    family: LatentFamily | None = None
    boosting: list[Method] = []
    for path in settings.models:
        booster, found = boosts(
            Path(path), settings.details, settings.steps, solver=settings.solver, seed=settings.seed,
            dtype=PRECISIONS[dtype], device=settings.device,
        )  # fmt: skip
        if family is not None and booster.family != family:
            raise InputError(f"{path} boosts {booster.spec.family} latents, the first model {family.name}")
        family = booster.family
        boosting += found
    if family is None:
        raise InputError("no model was given")
    if family.channels != vae.channels:
        raise InputError(
            f"the VAE {vae.name} makes latents of {vae.channels} channels, but {family.name} has"
            f" {family.channels}: give {family.tiny_vae} or another VAE of {family.title}"
        )
    methods = [*baselines(family, vae), *boosting]
    names = [m.name for m in methods]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two models give the same name {name}: rename one of the files")
    rivals = [m.name for m in methods if not m.sees_original]
    if settings.baseline not in rivals:
        raise InputError(f"there is no baseline {settings.baseline!r}: choose one of {', '.join(rivals)}")
    files = {"lpips": settings.lpips, "inception": settings.inception}
    networks = {name: _torchscript(file, settings.device) for name, file in files.items() if file}
    tiny = load_vae(settings.features, device=settings.device) if settings.features else vae
    features = tiny.encoder if isinstance(tiny.encoder, TinyEncoder) else None
    context = {
        "protocol": PROTOCOL,
        "fmboost": __version__,
        **{name.lower(): importlib.metadata.version(name) for name in LIBRARIES},
        "family": family.name,
        "vae": {"name": vae.name, "sha256": vae.sha256},
        "scale": str(read_scale(settings.scale)),
        "largest_side": settings.largest_side,
        "dtype": dtype,
        "device": torch.device(settings.device).type,
    }
    if tiny is not vae:
        context["features"] = tiny.sha256
    return Setup(settings, vae, methods, features, networks, context)


def _torchscript(path: Path, device: str) -> nn.Module:
    if not Path(path).is_file():
        raise InputError(f"there is no file {path}")
    try:
        return torch.jit.load(path, map_location=device).eval()
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path} is not a TorchScript network") from error
