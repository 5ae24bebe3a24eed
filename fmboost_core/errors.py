"""What can go wrong, in words that say what to do. Every message is one line."""

from __future__ import annotations


class FMBoostError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(FMBoostError, ValueError):
    """The caller's latent, option or file cannot be used as given."""


class CheckpointError(InputError):
    """A file is not a usable FMBoost model; the message names what it is and what to do."""


class OutputError(FMBoostError, OSError):
    """A result cannot be written where it was asked for."""
