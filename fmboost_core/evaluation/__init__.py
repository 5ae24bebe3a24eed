"""One reproducible, offline answer to "is it better?"; needs the extra `eval`."""

from .evaluate import evaluate
from .results import Comparison, Evaluation, MethodResult
from .setup import Settings

__all__ = ["Comparison", "Evaluation", "MethodResult", "Settings", "evaluate"]
