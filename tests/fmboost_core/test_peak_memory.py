import torch

from fmboost_core.peak_memory import PeakMemory

MEGA = 1 << 20


def test_tensors_count_while_they_live_and_views_do_not():
    with torch.inference_mode(), PeakMemory() as memory:
        a = torch.zeros(MEGA // 4)
        b = a + 1
        del a
        view = b[:10].reshape(2, 5)
        b += 1
        assert memory.current == MEGA
        c = torch.cat([b, b])
        del b, view
        assert memory.current == 2 * MEGA
        del c
    assert (memory.current, memory.peak) == (0, 3 * MEGA)


def test_tensors_from_outside_count_nothing():
    x = torch.zeros(MEGA // 4)
    with PeakMemory() as memory:
        y = x.view(-1, 2)
        x += 1
    assert memory.peak == 0
    assert y.numel() == x.numel()
