import pytest

from fmboost_core import CheckpointError, FMBoostError, InputError, OutputError


@pytest.mark.parametrize("kind", [FMBoostError, InputError, CheckpointError, OutputError])
def test_a_message_is_one_printable_line(kind):
    error = kind("the weight a\nb\x1b[31m\u202e模型 is missing")
    assert str(error) == "the weight a b [31m 模型 is missing"
    assert len(str(kind("x" * 10**6))) < 1000
    assert str(kind("plain")) == "plain"


def test_errors_are_caught_as_what_they_are():
    assert isinstance(InputError("x"), ValueError)
    assert isinstance(OutputError("x"), OSError)
