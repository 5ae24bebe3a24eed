import pytest
import torch

from fmboost_core.noise import NoiseSource

FIRST_OF_SEED_7 = -0.8201345


def test_an_item_s_noise_is_its_seed_s_alone():
    together = NoiseSource([5, 6, 7])
    alone = NoiseSource([6])
    for shape in ((1, 4, 8, 8), (1, 4, 16, 16)):
        assert torch.equal(together.draw(*shape)[1], alone.draw(*shape)[0])


def test_noise_is_pinned_so_that_every_release_and_machine_agrees():
    noise = NoiseSource([7]).draw(4, 2, 2)
    assert noise.dtype == torch.float32 and noise.device.type == "cpu"
    expected = torch.randn(4, 2, 2, generator=torch.Generator("cpu").manual_seed(7))
    assert torch.equal(noise[0], expected)
    assert noise[0, 0, 0, 0].item() == pytest.approx(FIRST_OF_SEED_7, abs=1e-5)


def test_stages_and_seeds_differ():
    source = NoiseSource([0, 1])
    first, second = source.draw(4, 8, 8), source.draw(4, 8, 8)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)


def test_noise_is_standard():
    noise = NoiseSource([3]).draw(4, 128, 128)
    assert noise.mean().abs() < 0.02
    assert noise.std() == pytest.approx(1, abs=0.02)
