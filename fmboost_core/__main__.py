"""`python -m fmboost_core` is the `fmboost` command."""

from .cli import entry_point

entry_point()
