"""FMBoost: small latents to large ones by flow matching, as a library.

    import fmboost_core as fmboost
    booster = fmboost.load(fmboost.builtin_for("sd15"))
    large = booster.boost(samples, (128, 128), detail=0.3, steps=2)

Method: Schusterbauer, Gui, Ma et al., "FMBoost: Boosting Latent Diffusion Models with Flow Matching",
ECCV 2024, arXiv 2312.07360.
"""

__version__ = "0.1.0"

from .booster import Booster, Progress
from .builtin import builtin_for, builtin_models, find_model
from .checkpoint import CheckpointInfo, inspect, load, save
from .errors import CheckpointError, FMBoostError, InputError, OutputError
from .families import FAMILIES, LatentFamily
from .latent import boost_latent, latent_size
from .solvers import SOLVERS
from .spec import BoosterSpec

__all__ = [
    "FAMILIES",
    "SOLVERS",
    "Booster",
    "BoosterSpec",
    "CheckpointError",
    "CheckpointInfo",
    "FMBoostError",
    "InputError",
    "LatentFamily",
    "OutputError",
    "Progress",
    "boost_latent",
    "builtin_for",
    "builtin_models",
    "find_model",
    "inspect",
    "latent_size",
    "load",
    "save",
]
