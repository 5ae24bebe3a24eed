"""The paper's velocity network: a U-Net over latents, conditioned on the flow time.

The architecture is the ADM U-Net (Dhariwal & Nichol, "Diffusion Models Beat GANs on Image
Synthesis", 2021) as used by Schusterbauer et al., "FMBoost", ECCV 2024, arXiv 2312.07360. Its
submodules carry ADM's names, so a state dict of CompVis/fm-boosting loads with unchanged keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .embedding import sinusoidal
from .velocity import VelocityNetwork, zeroed

WORKING_TENSORS = 10  # of the first level's width that an evaluation keeps at once

conv3x3 = partial(nn.Conv2d, kernel_size=3, padding=1)


@dataclass(frozen=True)
class UNetConfig:
    """Architecture of a :class:`UNet`.

    Attributes:
        latent_channels: Channels of the latent, and of the velocity.
        concat_context: Whether the context is concatenated to the input.
        model_channels: Channels of the first level, a multiple of 32 (the GroupNorm groups).
        num_res_blocks: Residual blocks per level of the encoder; the decoder has one more.
        channel_mult: Channels per level, in ``model_channels``; levels halve height and width.
        attention_factors: Down-sampling factors, from 1 after pooling, of levels with attention.
        num_heads, head_channels: Attention heads, and the channels of each.
        linear_attention: Whether these levels, unlike the middle, use :func:`linear_attention`.
        scale_shift_norm: Whether the time embedding scales and shifts, not just shifts, features.
        learned_resampling: Whether convolutions resample, not pooling and nearest neighbours.
        pool_factor: If above 1, strided convolutions shrink the input and enlarge the output by it.
        dropout: Dropout probability within residual blocks, in [0, 1).
        time_scale: Factor on t ahead of the sinusoidal embedding, made for 0..1000; reference: 1.
        scrambled_attention: For imported reference checkpoints only, see :class:`SelfAttention`.

    Raises:
        ValueError: If a value has the wrong type or lies outside the ranges above.
    """

    latent_channels: int
    concat_context: bool = True
    model_channels: int = 128
    num_res_blocks: int = 3
    channel_mult: tuple[int, ...] = (1, 2, 4, 8)
    attention_factors: tuple[int, ...] = (8,)
    num_heads: int = 4
    head_channels: int = 64
    linear_attention: bool = False
    scale_shift_norm: bool = True
    learned_resampling: bool = True
    pool_factor: int = -1
    dropout: float = 0.0
    time_scale: float = 1000.0
    scrambled_attention: bool = False

    def __post_init__(self) -> None:
        for name in ("channel_mult", "attention_factors"):
            value = getattr(self, name)
            if not (isinstance(value, Sequence) and all(map(_positive, value))):
                raise ValueError(f"{name} must be a list of positive integers, got {value!r}")
            object.__setattr__(self, name, tuple(value))  # JSON gives lists
        positive = ("latent_channels", "num_res_blocks", "num_heads", "head_channels")
        rules = dict.fromkeys(positive, (_positive, "a positive integer")) | {
            "model_channels": (lambda v: _positive(v) and v % 32 == 0, "a multiple of 32"),
            "channel_mult": (lambda v: len(v) > 0, "non-empty"),
            "pool_factor": (lambda v: type(v) is int, "an integer"),
            "dropout": (lambda v: type(v) in (int, float) and 0 <= v < 1, "in [0, 1)"),
            "time_scale": (lambda v: type(v) in (int, float) and 0 < v < math.inf, "positive"),
        }
        for name, (is_valid, rule) in rules.items():
            if not is_valid(getattr(self, name)):
                raise ValueError(f"{name} must be {rule}, got {getattr(self, name)!r}")

    @property
    def blocks(self) -> int:
        """Encoder blocks, by which a reader sees an absurd claim before building anything."""
        return self.num_res_blocks * len(self.channel_mult)


class UNet(VelocityNetwork):
    """Predicts the flow's velocity; zero everywhere until trained, by ADM's initialisation.

    GroupNorm and attention see the whole input, so its receptive field is None: tiles are not exact.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        base, pool = config.model_channels, max(config.pool_factor, 1)
        latent_channels, learned = config.latent_channels, config.learned_resampling
        self.receptive_field = None
        self.working_channels = WORKING_TENSORS * base
        self.size_multiple = pool * 2 ** (len(config.channel_mult) - 1)
        self.in_channels = in_channels = latent_channels * (2 if config.concat_context else 1)

        first, last = nn.Linear(base, 4 * base), nn.Linear(4 * base, 4 * base)
        self.time_embed = nn.Sequential(first, nn.SiLU(), last)
        self.pool, self.un_pool = nn.Sequential(), nn.Sequential()
        if pool > 1:
            self.pool.down_conv = nn.Conv2d(in_channels, base, pool, pool)
            self.un_pool.up_conv = zeroed(nn.ConvTranspose2d(base, latent_channels, pool, pool))
            in_channels = base

        def stage(inner: int, outer: int, depth: int) -> list[nn.Module]:
            layers: list[nn.Module] = [ResBlock(inner, outer, config)]
            if 2**depth in config.attention_factors:
                layers.append(SelfAttention(outer, config, config.linear_attention))
            return layers

        self.input_blocks = nn.ModuleList([TimedSequential([conv3x3(in_channels, base)])])
        channels, skips = base, [base]
        for depth, mult in enumerate(config.channel_mult):
            if depth:
                down = nn.Sequential()
                down.op = conv3x3(channels, channels, stride=2) if learned else nn.AvgPool2d(2)
                self.input_blocks.append(TimedSequential([down]))
                skips.append(channels)
            for _ in range(config.num_res_blocks):
                self.input_blocks.append(TimedSequential(stage(channels, mult * base, depth)))
                skips.append(channels := mult * base)

        before, after = (ResBlock(channels, channels, config) for _ in range(2))
        self.middle_block = TimedSequential([before, SelfAttention(channels, config, False), after])

        self.output_blocks = nn.ModuleList()
        for depth, mult in reversed(list(enumerate(config.channel_mult))):
            for i in range(config.num_res_blocks + 1):
                layers = stage(channels + skips.pop(), mult * base, depth)
                channels = mult * base
                if depth and i == config.num_res_blocks:
                    up = nn.Sequential(nn.Upsample(scale_factor=2))
                    up.conv = conv3x3(channels, channels) if learned else nn.Identity()
                    layers.append(up)
                self.output_blocks.append(TimedSequential(layers))

        head = conv3x3(channels, base) if pool > 1 else zeroed(conv3x3(channels, latent_channels))
        self.out = nn.Sequential(nn.GroupNorm(32, channels), nn.SiLU(), head)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor | None = None,
        sigma: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Computes the velocity (B, C, H, W) at ``x`` and time ``t``.

        Args:
            x: Point on the flow, (B, C, H, W), in the dtype of the weights.
            t: Flow time in [0, 1], (B,); 0 is the low-resolution end.
            context: Up-sampled low-resolution latent, (B, C, H, W), or None if the network was
                built without ``concat_context``.
            sigma, scale: Ignored; they are here as all networks share one signature.

        Raises:
            ValueError: If channels (for lack of a context, say) or height and width do not fit.
        """
        h = x if context is None else torch.cat([x, context], dim=1)
        if h.shape[1] != self.in_channels or any(size % self.size_multiple for size in h.shape[2:]):
            wanted = f"{self.in_channels} channels in all, sizes divisible by {self.size_multiple}"
            raise ValueError(f"expected {wanted}, got {tuple(h.shape)}")
        embedding = sinusoidal(self.config.time_scale * t, self.config.model_channels)
        embedding = self.time_embed(embedding.to(next(self.parameters()).dtype))
        h, skips = self.pool(h), []
        for block in self.input_blocks:
            h = block(h, embedding)
            skips.append(h)
        h = self.middle_block(h, embedding)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), embedding)
        return self.un_pool(self.out(h))


class TimedSequential(nn.ModuleList):
    """A sequence whose residual blocks also receive the time embedding."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, embedding) if isinstance(layer, ResBlock) else layer(x)
        return x


class ResBlock(nn.Module):
    """Two normalised convolutions, conditioned on the time embedding, around a skip connection."""

    def __init__(self, inner: int, outer: int, config: UNetConfig) -> None:
        super().__init__()
        self.scale_shift_norm = config.scale_shift_norm
        linear = nn.Linear(4 * config.model_channels, outer * (2 if self.scale_shift_norm else 1))
        dropout, last = nn.Dropout(config.dropout), zeroed(conv3x3(outer, outer))
        self.in_layers = nn.Sequential(nn.GroupNorm(32, inner), nn.SiLU(), conv3x3(inner, outer))
        self.emb_layers = nn.Sequential(nn.SiLU(), linear)
        self.out_layers = nn.Sequential(nn.GroupNorm(32, outer), nn.SiLU(), dropout, last)
        self.skip_connection = nn.Identity() if inner == outer else nn.Conv2d(inner, outer, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.in_layers(x)
        embedding = self.emb_layers(embedding)[..., None, None]
        if self.scale_shift_norm:
            scale, shift = embedding.chunk(2, dim=1)
            h = self.out_layers[0](h) * (1 + scale) + shift
            h = self.out_layers[1:](h)
        else:
            h = self.out_layers(h + embedding)
        return self.skip_connection(x) + h


class SelfAttention(nn.Module):
    """Multi-head self-attention over all positions, added to its input.

    The 3*h*d channels of ``qkv`` are all queries, then all keys, then all values; within each, the
    d channels of a head are adjacent.

    With ``scrambled_attention``, as in CompVis/fm-boosting, that channels-first memory is read as
    (B, h, L, 3*d) instead, so that each token is a run of 3*d numbers along the positions.
    """

    def __init__(self, channels: int, config: UNetConfig, linear: bool) -> None:
        super().__init__()
        self.heads, self.head_channels = config.num_heads, config.head_channels
        self.scrambled = config.scrambled_attention
        self.attend = linear_attention if linear else F.scaled_dot_product_attention
        inner = self.heads * self.head_channels
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * inner, 1)
        self.proj_out = zeroed(nn.Conv1d(inner, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x.flatten(2)))
        batch, _, length = qkv.shape
        if self.scrambled:
            qkv = qkv.reshape(batch, self.heads, length, 3, self.head_channels)
            mixed = self.attend(*qkv.unbind(3))
        else:
            qkv = qkv.reshape(batch, 3, self.heads, self.head_channels, length).transpose(-1, -2)
            # Fused attention kernels want the channels of a token adjacent in memory.
            mixed = self.attend(*qkv.contiguous().unbind(1)).transpose(-1, -2)
        return x + self.proj_out(mixed.reshape(batch, -1, length)).reshape(x.shape)


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Efficient attention over (..., L, d) tensors (Shen et al., arXiv 1812.01243), linear in L."""
    q = q.softmax(dim=-1) * q.shape[-1] ** -0.5
    return q @ (k.softmax(dim=-2).transpose(-1, -2) @ v)


def config_from_reference(net_params: Mapping[str, Any], time_scale: float = 1.0) -> UNetConfig:
    """Translates constructor arguments of the reference's ``EfficientUNet``.

    Args:
        net_params: ``net_cfg.params`` of a CompVis/fm-boosting configuration.
        time_scale: See :class:`UNetConfig`.

    Raises:
        ValueError: If an argument is unknown, missing or unusable.
    """
    kept = "model_channels", "num_res_blocks", "channel_mult", "num_heads", "pool_factor", "dropout"
    fields = {name: name for name in kept} | {
        "attention_resolutions": "attention_factors",
        "conv_resample": "learned_resampling",
        "dim_head": "head_channels",
        "use_linear_attn": "linear_attention",
        "use_scale_shift_norm": "scale_shift_norm",
    }
    # Elsewhere the reference's defaults are ours.
    given = {"channel_mult": (1, 2, 3, 4), "use_linear_attn": True, **net_params}
    inputs, outputs = given.pop("in_channels", None), given.pop("out_channels", None)
    if not _positive(outputs) or inputs not in (outputs, 2 * outputs):
        raise ValueError(f"in_channels must be out_channels or twice that: {inputs}, {outputs}")
    for name in sorted(given.keys() - fields.keys()):
        raise ValueError(f"unknown argument of the reference U-Net: {name}")
    for name in ("model_channels", "num_res_blocks", "attention_resolutions"):
        if name not in given:
            raise ValueError(f"missing argument of the reference U-Net: {name}")
    values = {fields[name]: value for name, value in given.items()}
    values |= {"time_scale": time_scale, "scrambled_attention": True}
    return UNetConfig(latent_channels=outputs, concat_context=inputs != outputs, **values)


def _positive(value: object) -> bool:
    return type(value) is int and value > 0
