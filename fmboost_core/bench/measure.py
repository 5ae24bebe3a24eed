"""The benchmark: a boost beside all that it saves, timed in one run on one machine."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from .. import __version__
from ..booster import DEFAULT_DETAIL, DEFAULT_STEPS, Booster
from ..checkpoint import load
from ..compilation import CompiledNetwork
from ..errors import InputError
from ..families import LatentFamily
from ..peak_memory import PeakMemory
from ..precision import PRECISIONS
from . import rivals
from .timing import Timing, time_call

STEPS = (1, 2, 4)
SIDES = (512, 1024, 2048, 4096, 8192)  # of the curve's pictures, in pixels
TINY, FULL, PAPER, BICUBIC = "tiny VAE decode", "full VAE decode", "paper's U-Net, Euler 40", "core bicubic"


@dataclass(frozen=True)
class Row:
    """One thing timed.

    Attributes:
        name: what.
        precision: it ran in, a key of `PRECISIONS`.
        timing: of the whole thing.
        steps: of a boost.
        compiled: whether a boost was compiled.
        memory: bytes of tensors that it made at most, where measured.
    """

    name: str
    precision: str
    timing: Timing
    steps: int | None = None
    compiled: bool = False
    memory: int | None = None


@dataclass(frozen=True)
class SizePoint:
    """A default boost ×2 to a picture of `side`² pixels, one step: milliseconds, bytes."""

    side: int
    timing: Timing
    memory: int


@dataclass
class Bench:
    """All that was measured; `to_json` is what `fmboost bench --json` prints."""

    machine: dict[str, Any]
    model: str
    source: int
    default_precision: str
    rows: list[Row] = field(default_factory=list)
    sizes: list[SizePoint] = field(default_factory=list)
    speeds: dict[str, float] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def find(self, name: str, steps: int | None = None) -> Row | None:
        """The eager row of that name at the default precision."""
        wanted = name, steps, self.default_precision, False
        found = (row for row in self.rows if (row.name, row.steps, row.precision, row.compiled) == wanted)
        return next(found, None)

    @property
    def ratios(self) -> dict[str, float]:
        """Medians against medians: a boost at the default setting, and in one step, against the rivals."""
        found = {}
        for prefix, steps in (("", DEFAULT_STEPS), ("one_step_", 1), ("two_step_", 2)):
            boost = self.find("boost", steps)
            for name, rival in (("tiny_decode", TINY), ("vae_decode", FULL), ("bicubic", BICUBIC)):
                other = self.find(rival)
                if boost and other:
                    found[f"{prefix}boost_vs_{name}"] = boost.timing.median / other.timing.median
            paper = self.find(PAPER)
            if boost and paper:
                found[f"{prefix}unet_vs_boost"] = paper.timing.median / boost.timing.median
        return found

    @property
    def peak_fraction(self) -> float:
        """Operations a second of the network's evaluation, of those of the large convolution."""
        return self.speeds["network"] / self.speeds["convolution"]

    @property
    def memory(self) -> dict[str, Any]:
        """Bytes of tensors at most, by the side of the picture."""
        return {str(point.side): point.memory for point in self.sizes}

    def to_json(self) -> dict[str, Any]:
        return {
            "machine": self.machine, "model": self.model, "from": self.source, "to": 2 * self.source,
            "default_precision": self.default_precision, "default_steps": DEFAULT_STEPS,
            "rows": [vars(row) | {"timing": vars(row.timing)} for row in self.rows],
            "ratios": self.ratios, "operations_per_second": self.speeds, "peak_fraction": self.peak_fraction,
            "sizes": [vars(point) | {"timing": vars(point.timing)} for point in self.sizes],
            "memory": self.memory, "left_out": self.left_out,
        }  # fmt: skip


@torch.inference_mode()
def measure(
    model: Path, device: torch.device, precision: str, *, source: int = 512, seconds: float = 2.0,
    largest: int = SIDES[-1], quick: bool = False, compiled: bool = True,
) -> Bench:  # fmt: skip
    """Run the benchmark.

    Args:
        model: a model file.
        device: where.
        precision: the default of this machine, a key of `PRECISIONS`; the others are timed, too, where the
            hardware has them.
        source: side in pixels of the small picture; the boost is ×2.
        seconds: to spend on each thing that can be repeated.
        largest: side in pixels of the largest picture on the curve.
        quick: leave out the full VAE and the paper's network.
        compiled: time compiled boosts, too.

    Raises:
        InputError: `source` is no size of a latent of the model.
    """
    booster = load(model, dtype=PRECISIONS[precision], device=device)
    per_latent = booster.family.pixels_per_latent
    if source < per_latent or source % per_latent:
        raise InputError(f"the size is {source}: give a multiple of {per_latent} pixels")
    bench = Bench(_machine(device), model.stem, source, precision)
    z = _latent(booster.family, source // per_latent, device)
    jobs = [
        *_boosts(bench, model, z, device, seconds, compiled),
        *_rivals(bench, z, precision, seconds, quick),
        partial(_speeds, bench, booster, z, seconds),
        *(partial(_size_point, bench, booster, s, seconds) for s in SIDES if s <= largest),
    ]
    for job in tqdm(jobs, desc="bench", unit="job", leave=False, disable=None):
        job()
    return bench


def _latent(family: LatentFamily, side: int, device: torch.device) -> Tensor:
    """Noise with the means and deviations of a latent of the family, unscaled."""
    mean, log_deviation = torch.tensor(family.typical).chunk(2)
    noise = torch.randn(1, family.channels, side, side, generator=torch.Generator().manual_seed(0))
    z = mean.reshape(1, -1, 1, 1) + log_deviation.exp().reshape(1, -1, 1, 1) * noise
    return family.from_model(z).to(device)


def _machine(device: torch.device) -> dict[str, Any]:
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    elif Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    clock = psutil.cpu_freq()
    return {
        "device": str(device), "name": name, "threads": torch.get_num_threads(),
        "clock_mhz": round(clock.current) if clock else None,
        "vector": torch.backends.cpu.get_cpu_capability(), "system": platform.system(),
        "torch": torch.__version__, "fmboost": __version__,
    }  # fmt: skip


def _in_hardware(device: torch.device, default: str) -> list[str]:
    """The precisions worth timing: half ones are emulated on most CPUs, and hopeless there."""
    if device.type == "cpu":
        return list(dict.fromkeys(["fp32", default]))
    return list(dict.fromkeys([default, "fp32", "fp16"]))


def _boosts(
    bench: Bench, model: Path, z: Tensor, device: torch.device, seconds: float, compiled: bool
) -> Iterator[partial]:
    target = 2 * z.shape[-2], 2 * z.shape[-1]

    def job(name: str, compile_it: bool) -> None:
        booster = load(model, dtype=PRECISIONS[name], device=device, compiled=compile_it)
        for steps in STEPS:
            call = partial(booster.boost, z, target, detail=DEFAULT_DETAIL, steps=steps)
            call()  # compiles, which is not to be timed
            timing = time_call(call, device, seconds)
            if isinstance(booster.forward, CompiledNetwork) and booster.forward.fell_back:
                bench.left_out.append(f"compiled, {name}: this machine cannot")
                return
            with PeakMemory() as memory:
                call()
            bench.rows.append(Row("boost", name, timing, steps, compile_it, memory.peak))

    for name in _in_hardware(device, bench.default_precision):
        yield partial(job, name, False)
    if compiled:
        yield partial(job, bench.default_precision, True)


def _rivals(bench: Bench, z: Tensor, precision: str, seconds: float, quick: bool) -> Iterator[partial]:
    dtype = PRECISIONS[precision]
    target = 2 * z.shape[-2], 2 * z.shape[-1]
    large = torch.randn(1, z.shape[1], *target, device=z.device)

    def job(name: str, make: Any, calls: int, *arguments: Any) -> None:
        try:
            call = make(*arguments)
        except InputError as error:
            bench.left_out.append(f"{name}: {error}")
            return
        timing = time_call(call, z.device, seconds)
        bench.rows.append(Row(name, precision, timing.times(calls)))

    yield partial(job, TINY, rivals.tiny_decode, 1, large, dtype)
    yield partial(job, BICUBIC, rivals.bicubic, 1, z, target)
    if quick:
        bench.left_out.append(f"{FULL}, {PAPER}: --quick")
        return
    yield partial(job, FULL, rivals.full_decode, 1, large, dtype)
    # One evaluation is timed; the paper's sampler makes 40 of equal cost.
    yield partial(job, PAPER, rivals.paper_evaluation, rivals.PAPER_STEPS, large, dtype)


def _speeds(bench: Bench, booster: Booster, z: Tensor, seconds: float) -> None:
    """Operations a second of the network, and of what the machine does best."""
    dtype = PRECISIONS[bench.default_precision]
    x = torch.randn(1, z.shape[1], 2 * z.shape[-2], 2 * z.shape[-1], device=z.device).to(dtype)
    ones = torch.ones(1, device=z.device)
    context = z.to(dtype) if booster.network.upsamples else x
    call = partial(booster.network, x, ones, context, ones, 2 * ones)
    with FlopCounterMode(display=False) as counter:
        call()
    work: dict[str, tuple[rivals.Call, float]] = {
        "network": (call, counter.get_total_flops()),
        "convolution": rivals.peak_convolution(z.device, dtype),
        "matrix product": rivals.peak_product(z.device, dtype),
    }
    for name, (run, operations) in work.items():
        timing = time_call(run, z.device, seconds)
        # A limit is what was reached at best; the network is judged by what it does as a rule.
        reached = timing.median if name == "network" else timing.fastest
        bench.speeds[name] = 1000 * operations / reached


def _size_point(bench: Bench, booster: Booster, side: int, seconds: float) -> None:
    latents = side // (2 * booster.family.pixels_per_latent)
    device = next(booster.network.parameters()).device
    z = _latent(booster.family, latents, device)
    call = partial(booster.boost, z, (2 * latents, 2 * latents), detail=DEFAULT_DETAIL)
    timing = time_call(call, device, seconds)
    with PeakMemory() as memory:
        call()
    bench.sizes.append(SizePoint(side, timing, memory.peak))
