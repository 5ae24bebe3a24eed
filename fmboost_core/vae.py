"""A VAE from a file: pictures to model-space latents and back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .errors import InputError
from .tiny_vae import TinyDecoder, TinyEncoder

HALVES = ("encoder", "decoder")


@dataclass(frozen=True)
class VAE:
    """A tiny VAE's two halves, in one precision on one device.

    Attributes:
        name: of its files, without the half.
        sha256: of both files.
        encoder, decoder: the networks.
        dtype: what they compute in.
    """

    name: str
    sha256: str
    encoder: TinyEncoder
    decoder: TinyDecoder
    dtype: torch.dtype

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return self.encoder[-1].out_channels  # type: ignore[return-value]

    @property
    def device(self) -> torch.device:
        return next(self.encoder.parameters()).device

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, 8H, 8W) in [0, 1] → model-space latents (B, C, H, W), fp32."""
        return self.encoder(self._prepare(pixels)).float()

    def decode(self, z: Tensor) -> Tensor:
        """Model-space latents (B, C, H, W) → pixels (B, 3, 8H, 8W) in [0, 1], fp32."""
        return self.decoder(self._prepare(z)).float().clamp(0, 1)

    def _prepare(self, x: Tensor) -> Tensor:
        return x.to(self.device, self.dtype, memory_format=torch.channels_last)


def load_vae(
    path: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> VAE:
    """Read a TAESD-type VAE.

    Args:
        path: either of the files `NAME_encoder.safetensors` and `NAME_decoder.safetensors`, or `NAME`
            with its folder, or a folder with one such pair.
        dtype: precision to run at.
        device: where to put it.

    Raises:
        InputError: a half is missing, or is not a TAESD file.
    """
    name, files = _find_halves(Path(path))
    halves = TinyEncoder.load(files[0]), TinyDecoder.load(files[1])
    for half in halves:
        half.to(device=device, dtype=dtype)
        half.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return VAE(name, sha256(*files), *halves, dtype)


def _find_halves(path: Path) -> tuple[str, list[Path]]:
    if path.is_dir():
        found = sorted(path.glob(f"*_{HALVES[0]}.safetensors"))
        if len(found) != 1:
            names = ", ".join(p.stem.removesuffix(f"_{HALVES[0]}") for p in found) or "none"
            raise InputError(f"{path} must hold one tiny VAE, but holds {names}: name one of its files")
        path = found[0]
    name = path.name.removesuffix(".safetensors")
    for half in HALVES:
        name = name.removesuffix(f"_{half}")
    files = [path.with_name(f"{name}_{half}.safetensors") for half in HALVES]
    for file in files:
        if not file.is_file():
            raise InputError(
                f"there is no {file}: a tiny VAE is two files, NAME_encoder.safetensors and"
                " NAME_decoder.safetensors"
            )
    return name, files


def sha256(*paths: str | Path) -> str:
    """Hash of the contents of files, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
