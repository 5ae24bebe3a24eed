"""`torch.compile` where the machine can, the plain network where it cannot."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from .networks.velocity import VelocityNetwork
from .tiling import is_out_of_memory

log = logging.getLogger(__name__)


class CompiledNetwork:
    """A network's forward, compiled at its first call; called like the network.

    Compiling needs a C++ compiler on the CPU and Triton on a GPU. Where anything of that fails the plain
    network answers, then and from there on. On CUDA the kernels are recorded into a graph, too.

    Args:
        network: evaluated under `torch.inference_mode`.
    """

    def __init__(self, network: VelocityNetwork) -> None:
        self.network = network
        graphs = torch.cuda.is_available()
        self._call = torch.compile(network, mode="reduce-overhead" if graphs else "default")

    @property
    def fell_back(self) -> bool:
        """Whether the plain network answers."""
        return self._call is self.network

    def __call__(self, x: Tensor, t: Tensor, context: Tensor | None, sigma: Tensor, scale: Tensor) -> Tensor:
        """See `VelocityNetwork.forward`."""
        try:
            # A graph's output is overwritten by its next replay.
            return self._call(x, t, context, sigma, scale).clone()
        except Exception as error:
            if self.fell_back or is_out_of_memory(error):
                raise
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            log.info("not compiled, going on without: %s", reason)
            self._call = self.network
            return self.network(x, t, context, sigma, scale)
