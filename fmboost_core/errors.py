"""What can go wrong, in words that say what to do. Every message is one line."""

from __future__ import annotations

LONGEST = 600  # characters of a message


class FMBoostError(Exception):
    """Base of every error that this package raises on purpose.

    Its message is one line of printable characters, whatever a file calls itself and its parts.
    """

    def __init__(self, message: object = "") -> None:
        line = "".join(c if c.isprintable() else " " for c in str(message)[: LONGEST + 1])
        super().__init__(line if len(line) <= LONGEST else f"{line[:LONGEST]}…")


class InputError(FMBoostError, ValueError):
    """The caller's latent, option or file cannot be used as given."""


class CheckpointError(InputError):
    """A file is not a usable FMBoost model; the message names what it is and what to do."""


class OutputError(FMBoostError, OSError):
    """A result cannot be written where it was asked for."""
