import psutil

from fmboost_core.free_memory import free_memory


def test_the_processor_tells():
    assert 0 < free_memory("cpu") < psutil.virtual_memory().total


def test_an_unknown_device_does_not():
    assert free_memory("meta") is None
