"""The models that come with the package."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError
from .families import FAMILIES

FOLDER = Path(__file__).parent / "weights"
SUFFIX = ".safetensors"


def builtin_models() -> dict[str, Path]:
    """Name → file of every built-in model, in the order of `FAMILIES`.

    A family's model is `weights/boostnet-FAMILY.safetensors`; putting another file there replaces it.
    """
    paths = ((f"boostnet-{family}", FOLDER / f"boostnet-{family}{SUFFIX}") for family in FAMILIES)
    return {name: path for name, path in paths if path.is_file()}


def builtin_for(family: str) -> Path:
    """The built-in model of a family. Raises `InputError` naming the families that have one."""
    if family not in FAMILIES:
        raise InputError(f"there is no latent family {family!r}: choose one of {', '.join(FAMILIES)}")
    models = builtin_models()
    try:
        return models[f"boostnet-{family}"]
    except KeyError:
        have = ", ".join(name.removeprefix("boostnet-") for name in models) or "none yet"
        raise InputError(f"no built-in model for {family} (built in: {have}): give a model file") from None


def find_model(name: str | Path) -> Path:
    """A model by built-in name or by path. Raises `InputError` if it is neither."""
    models = builtin_models()
    if str(name) in models:
        return models[str(name)]
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"there is no model {name}: give a file, or one of {', '.join(models) or 'none built in'}"
        )
    return path
