"""A VAE from a file: pictures to model-space latents and back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .errors import InputError
from .tiny_vae import TinyDecoder, TinyEncoder

HALVES = ("encoder", "decoder")


DIFFUSERS_CLASSES = ("AutoencoderKL", "AutoencoderTiny")


@dataclass(frozen=True)
class VAE:
    """A VAE's two halves, in one precision on one device.

    Attributes:
        name: of its files, without the half, or of its folder.
        sha256: of its files.
        channels: of the latents.
        encoder, decoder: networks from pixels in [0, 1] to model-space latents and back.
        dtype: what they compute in.
    """

    name: str
    sha256: str
    channels: int
    encoder: nn.Module
    decoder: nn.Module
    dtype: torch.dtype

    @property
    def tiny(self) -> bool:
        """Whether it is of the TAESD type, whose features losses and distances are taken in."""
        return isinstance(self.encoder, TinyEncoder)

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
    """Read a VAE.

    Args:
        path: of a TAESD-type VAE, either of the files `NAME_encoder.safetensors` and
            `NAME_decoder.safetensors`, or `NAME` with its folder, or a folder with one such pair; of any
            other, its folder as diffusers writes it (`config.json` and weights), which needs diffusers.
        dtype: precision to run at.
        device: where to put it.

    Raises:
        InputError: files are missing, or are of something else.
    """
    path = Path(path)
    if (path / "config.json").is_file():
        name, files = path.name, sorted(path.glob("*.safetensors"))
        channels, encoder, decoder = _read_diffusers(path)
    else:
        name, files = _find_halves(path)
        encoder, decoder = TinyEncoder.load(files[0]), TinyDecoder.load(files[1])
        channels = encoder.latent_channels
    for half in (encoder, decoder):
        half.to(device=device, dtype=dtype)
        half.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return VAE(name, sha256(*files), channels, encoder, decoder, dtype)


class _DiffusersEncoder(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.facts = model, _normalisation(model)

    def forward(self, pixels: Tensor) -> Tensor:
        scale, shift = self.facts
        out = self.model.encode(2 * pixels - 1)
        # The mode rather than a sample: the same picture gives the same latent.
        latents = out.latents if hasattr(out, "latents") else out.latent_dist.mode()
        return (latents - shift) * scale


class _DiffusersDecoder(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.facts = model, _normalisation(model)

    def forward(self, z: Tensor) -> Tensor:
        scale, shift = self.facts
        return self.model.decode(z / scale + shift).sample / 2 + 0.5


def _normalisation(model: Any) -> tuple[float, float]:
    return model.config.get("scaling_factor") or 1.0, model.config.get("shift_factor") or 0.0


def _read_diffusers(path: Path) -> tuple[int, nn.Module, nn.Module]:
    try:
        kind = json.loads((path / "config.json").read_text(encoding="utf-8")).get("_class_name")
    except (ValueError, AttributeError, OSError) as error:
        raise InputError(f"{path / 'config.json'} cannot be read: {error}") from error
    if kind not in DIFFUSERS_CLASSES:
        raise InputError(f"{path} holds a {kind}, not a VAE of pictures ({', '.join(DIFFUSERS_CLASSES)})")
    try:
        import diffusers
    except ImportError as error:
        raise InputError(f"{path} is in diffusers' layout: pip install diffusers to read it") from error
    try:
        model = getattr(diffusers, kind).from_pretrained(path, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} is not a whole VAE: {str(error).splitlines()[0]}") from error
    model.eval().requires_grad_(False)
    return model.config["latent_channels"], _DiffusersEncoder(model), _DiffusersDecoder(model)


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
