from pathlib import Path

import pytest

from fmboost_core import builtin_models
from fmboost_core.vae import sha256

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", builtin_models())
def test_the_benchmark_is_of_the_weights_that_ship(name):
    family = name.removeprefix("boostnet-")
    page = (DOCS / family / "benchmark.md").read_text(encoding="utf-8")
    assert sha256(builtin_models()[name]) in page, "run `fmboost evaluate` anew and copy its benchmark.md"
