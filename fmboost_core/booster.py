"""The booster: a small latent in, a large latent out.

Each stage upsamples, mixes in noise (`flow.augment`), and integrates the network's velocity from 0
to 1; factors above the network's range are reached by a cascade of stages.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from . import sizes
from .compilation import CompiledNetwork
from .errors import CheckpointError, FMBoostError, InputError
from .families import LatentFamily
from .flow import augment
from .memory_plan import affordable_tile, memory_needed
from .networks.velocity import VelocityNetwork
from .noise import NoiseSource
from .solvers import ADAPTIVE, Evaluation, evaluations, solve
from .spec import BoosterSpec
from .tiling import TiledNetwork
from .upsampling import PIXEL_MODE, VAE_NEEDED, Codec, Size, size_of, upsample

log = logging.getLogger(__name__)

# What nodes and commands start from, by the curves of quality against cost in docs/sd15/benchmark.md.
DEFAULT_DETAIL, DEFAULT_STEPS = 0.3, 1


@dataclass(frozen=True)
class Progress:
    """What a watcher learns after each network evaluation.

    Attributes:
        done: evaluations so far.
        total: evaluations in all, or None with an adaptive solver.
        fraction: how much of the work is done, in (0, 1].
        preview: gives the expected result so far, (items, C, H, W), scaled as the family's VAE is trained
            (what ComfyUI's latent previewers take). Only made when asked for.
    """

    done: int
    total: int | None
    fraction: float
    preview: Callable[[], Tensor]


ProgressWatcher = Callable[[Progress], None]


class Booster:
    """A velocity network and the facts needed to use it.

    Args:
        network: takes (x, t, context, sigma, scale); on the device and in the precision to run at.
        spec: latent family, noise range, upsampling and scale range of the network.
        compiled: use `torch.compile` where the machine can: a slow first boost at each new size, faster ones
            after it.
    """

    def __init__(self, network: VelocityNetwork, spec: BoosterSpec, *, compiled: bool = False) -> None:
        # The layout that convolutions like best, on CPUs as on tensor cores.
        self.network = network.eval()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.spec = spec
        unlike = network.upsamples not in (None, spec.source_upsampling)
        if unlike or (network.straight and not spec.straight):
            raise CheckpointError(
                f"a {type(network).__name__} needs a linear path, and a context upsampled as the source is:"
                " the model's description is damaged"
            )
        self.forward = CompiledNetwork(network) if compiled else network

    @property
    def family(self) -> LatentFamily:
        return self.spec.latent_family

    @property
    def needs_vae(self) -> bool:
        """Whether `boost` needs a codec, because the model upsamples in pixel space."""
        return PIXEL_MODE in (self.spec.source_upsampling, self.spec.context_upsampling)

    def evaluations(self, source: Size, target: Size, *, solver: str = "euler", steps: int = 1) -> int | None:
        """Network evaluations that a boost will make, or None where an adaptive solver decides."""
        per_stage = evaluations(solver, steps)
        return None if per_stage is None else per_stage * len(self._stages(source, target))

    def memory_needed(self, shape: Sequence[int], size: Size, *, tile: int = 0) -> int:
        """Bytes that a boost works in beside the weights, an estimate from above.

        Args:
            shape: of the samples.
            size: height and width of the result in latent pixels.
            tile: as `boost`.
        """
        source = shape[-2], shape[-1]
        before = [source, *self._stages(source, size)[:-1]]
        return memory_needed(self.network, shape, before[-1], size, tile)

    @torch.inference_mode()
    def boost(
        self,
        samples: Tensor,
        size: Size,
        *,
        detail: float = 0.0,
        steps: int = 1,
        solver: str = "euler",
        seeds: int | Sequence[int] = 0,
        tile: int = 0,
        codec: Codec | None = None,
        watch: ProgressWatcher | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Boost latents to a larger size.

        Args:
            samples: unscaled latents as ComfyUI's LATENT holds them, (B, C, H, W) or (B, C, T, H, W);
                the T frames of an item are boosted one by one. Left as they are.
            size: height and width of the result in latent pixels, each 1 to 8 times the input's.
            detail: how much texture to invent, from 0 (faithful: the expected picture) to 1.
            steps: solver steps a stage.
            solver: one of `solvers.SOLVERS`.
            seeds: the noise seed of each item, or that of the first, the others counting up.
            tile: side in latent pixels of the square that is worked on at once; 0: what is affordable.
                Without effect on the result (but with the paper's U-Net, whose tiles are blended).
            codec: the family's VAE, where `needs_vae`.
            watch: called after every network evaluation; what it raises ends the boost.
            device: where to compute, by default where the network is.

        Returns:
            fp32 latents of the given size on that device; at factor 1 `samples` itself.

        Raises:
            InputError: an argument is out of range, or the latent cannot be used (wrong channels,
                wrong dimensions, not finite, empty).
            OutOfMemory: not even small tiles fit.
            FMBoostError: the network overflowed in its precision.
        """
        self._check(samples, detail, tile, codec)
        self._warn_of_lookalike(samples)
        evaluations(solver, steps)
        source = size_of(samples)
        sizes.check_sizes(source, size)
        if source == tuple(size):
            return samples
        weight = next(self.network.parameters())
        # A private copy, so that tensors made under another inference mode are welcome.
        z = samples.detach().to(device or weight.device, torch.float32, copy=True)
        z = self.spec.normalise(z)
        frames = z.movedim(2, 1) if z.ndim == 5 else z[:, None]
        run = _Run(self, size, detail, steps, solver, tile, codec, watch, weight.dtype)
        out = run(frames, _item_seeds(seeds, len(samples)))
        out = out.movedim(1, 2).contiguous() if z.ndim == 5 else out[:, 0]
        if not torch.isfinite(out).all():
            raise FMBoostError(
                f"the boost overflowed in {str(weight.dtype)[6:]}: choose precision fp32 or bf16"
            )
        return self.spec.denormalise(out)

    def _stages(self, source: Size, target: Size) -> list[Size]:
        return sizes.cascade(source, target, self.spec.scale_range[1])

    def _check(self, samples: Tensor, detail: float, tile: int, codec: Codec | None) -> None:
        self.family.check(samples)
        if not 0 <= detail <= 1:
            raise InputError(f"detail is {detail}: it goes from 0 (faithful) to 1 (most texture)")
        if tile < 0:
            raise InputError(f"the tile is {tile} latent pixels: give a positive size, or 0 to choose it")
        if self.needs_vae and codec is None:
            raise InputError(VAE_NEEDED)

    def _warn_of_lookalike(self, samples: Tensor) -> None:
        other = self.family.lookalike(samples)
        if other is not None:
            log.warning(
                "this model boosts %s latents, but these look like %s (%s): if the colours come out"
                " wrong, load a model of that family",
                self.family.name, other.name, other.title,
            )  # fmt: skip


class _CodecInNetworkSpace:
    """A codec of the family's latents, seen from the network's normalised space."""

    def __init__(self, codec: Codec, spec: BoosterSpec) -> None:
        self.codec, self.spec = codec, spec

    def decode(self, z: Tensor) -> Tensor:
        return self.codec.decode(self.spec.denormalise(z))

    def encode(self, pixels: Tensor) -> Tensor:
        return self.spec.normalise(self.codec.encode(pixels))


@dataclass
class _Run:
    """One call of `Booster.boost`, whose options every stage shares."""

    booster: Booster
    size: Size
    detail: float
    steps: int
    solver: str
    tile: int
    codec: Codec | None
    watch: ProgressWatcher | None
    dtype: torch.dtype
    done: int = 0
    fraction: float = 0.0

    def __call__(self, frames: Tensor, seeds: list[int]) -> Tensor:
        """Boost (B, T, C, h, w) in network space to (B, T, C, H, W)."""
        tile = self.tile or affordable_tile(self.booster.network, frames.device)
        network = TiledNetwork(self.booster.network, tile, self.booster.forward)
        stages = self.booster._stages(size_of(frames), self.size)
        # An adaptive solver chooses its steps for a whole batch: items go alone, to be independent.
        items = 1 if self.solver in ADAPTIVE else max(1, len(frames))
        chunks = [slice(i, i + items) for i in range(0, max(1, len(frames)), items)]
        share = 1 / (len(chunks) * len(stages))
        out = []
        for index, chunk in enumerate(chunks):
            noise = NoiseSource(seeds[chunk])
            z = frames[chunk]
            for k, size in enumerate(stages):
                begun = (index * len(stages) + k) * share
                z = self._stage(z, size, noise, network, begun, share)
            out.append(z)
        return torch.cat(out)

    def _stage(
        self,
        frames: Tensor,
        size: Size,
        noise: NoiseSource,
        network: TiledNetwork,
        begun: float,
        share: float,
    ) -> Tensor:
        spec = self.booster.spec
        batch, count = frames.shape[:2]
        z = frames.flatten(0, 1)
        codec = None if self.codec is None else _CodecInNetworkSpace(self.codec, spec)
        u = upsample(z, size, spec.source_upsampling, codec)
        context = self._context(z, u, size, codec)
        sigma = spec.sigma(self.detail)
        # Large tensors get no names here: what has none is freed when it has been used.
        x0 = augment(u, noise.draw(count, z.shape[1], *size).flatten(0, 1).to(u), sigma) if sigma > 0 else u
        scale = math.sqrt(math.prod(size) / math.prod(z.shape[-2:]))
        sigmas, scales = (torch.full((len(z),), value, device=z.device) for value in (sigma, scale))

        def velocity(x: Tensor, t: float) -> Tensor:
            times = torch.full((len(x),), t, device=x.device)
            return network(x.to(self.dtype), times, context, sigmas, scales).float()

        per_stage = evaluations(self.solver, self.steps)
        total = None if per_stage is None else round(per_stage / share)

        def report(evaluation: Evaluation) -> None:
            if self.watch is None:
                return
            self.done += 1
            inner = evaluation.t if per_stage is None else (evaluation.index + 1) / per_stage
            # An adaptive solver goes back when a step was too long; the bar does not.
            self.fraction = max(self.fraction, begun + share * inner)
            preview = partial(_preview, spec, evaluation)
            self.watch(Progress(self.done, total, self.fraction, preview))

        if len(z):
            x0 = solve(velocity, x0, solver=self.solver, steps=self.steps, watch=report)
        return x0.unflatten(0, (batch, count))

    def _context(self, z: Tensor, u: Tensor, size: Size, codec: Codec | None) -> Tensor | None:
        mode = self.booster.spec.context_upsampling
        if mode is None:
            return None
        if self.booster.network.upsamples:
            return z.to(self.dtype)
        same = mode == self.booster.spec.source_upsampling
        return (u if same else upsample(z, size, mode, codec)).to(self.dtype)


def _preview(spec: BoosterSpec, evaluation: Evaluation) -> Tensor:
    return spec.to_family(evaluation.endpoint)


def _item_seeds(seeds: int | Sequence[int], items: int) -> list[int]:
    if isinstance(seeds, int):
        return [seeds + i for i in range(items)]
    if len(seeds) != items:
        raise InputError(f"{len(seeds)} seeds were given for {items} latents: give one for each")
    return list(seeds)
