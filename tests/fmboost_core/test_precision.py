import pytest
import torch

from fmboost_core.precision import BF16_INSTRUCTIONS, fastest_precision, training_precision


@pytest.mark.parametrize("present", [None, *BF16_INSTRUCTIONS])
def test_a_processor_computes_in_bf16_where_it_has_instructions_for_it(monkeypatch, present):
    for name in BF16_INSTRUCTIONS:
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name == present, raising=False)
    wanted = "fp32" if present is None else "bf16"
    assert (fastest_precision("cpu"), training_precision("cpu")) == (wanted, wanted)
    assert fastest_precision("mps") == "fp16"
    assert training_precision("mps") == "fp32"
