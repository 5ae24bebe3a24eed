import pytest
import torch
from helpers import lively

from fmboost_core.tiny_vae import TinyDecoder
from fmboost_core.training.loss import DecoderLoss

ALL = torch.tensor([True, True])


def noise(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def z() -> torch.Tensor:
    return noise(0)


@pytest.fixture(scope="module", params=[1, 2, 3, 4])
def loss(request, z) -> DecoderLoss:
    return DecoderLoss(lively(TinyDecoder(4)), request.param, z)


def test_equal_latents_lose_nothing_and_distance_costs(loss, z):
    for value in loss(z, z, ALL):
        assert value.tolist() == [0, 0]
    near, far = (loss(z + s * noise(1), z, ALL)[0] for s in (0.1, 0.5))
    assert (near > 0).all()
    assert (far > near).all()


def test_texture_asks_how_much_and_not_what(loss, z):
    other = noise(2)  # as lively, but elsewhere
    smooth = torch.nn.functional.avg_pool2d(z, 3, 1, 1)
    fidelity_other, texture_other = loss(other, z, ALL)
    _, texture_smooth = loss(smooth, z, ALL)
    assert (fidelity_other > 1).all()  # as wrong as no picture at all
    assert (texture_other < 0.3 * texture_smooth).all()


def test_items_stand_for_themselves(loss, z):
    predicted = z + 0.3 * noise(3)
    whole = loss(predicted, z, ALL)
    for k in range(2):
        alone = loss(predicted[k : k + 1], z[k : k + 1], ALL[:1])
        for a, b in zip(alone, whole, strict=True):
            torch.testing.assert_close(a[0], b[k])
    fidelity, texture = loss(predicted, z, torch.tensor([False, True]))
    torch.testing.assert_close(fidelity, whole[0])
    assert texture[0] == 0
    torch.testing.assert_close(texture[1], whole[1][1])


def test_gradients_reach_the_prediction_alone(loss, z):
    predicted = (z + 0.1).requires_grad_()
    target = z.clone().requires_grad_()
    sum(value.sum() for value in loss(predicted, target, ALL)).backward()
    assert predicted.grad.abs().max() > 0
    assert target.grad is None


def test_the_fine_stages_compare_a_part():
    decoder, z = lively(TinyDecoder(4)), noise(0)
    predicted = z.clone()
    predicted[..., :4, :] += 1  # wrong in the upper rows, far from the part that is compared
    close = (slice(12, 16), slice(0, 16))
    for stages in (2, 4):
        loss = DecoderLoss(decoder, stages, z)
        whole, part = (loss(predicted, z, ALL, c)[0] * stages for c in (None, close))
        if stages == 2:  # the coarse stages are compared on everything
            torch.testing.assert_close(part, whole)
            coarse = whole
        else:
            assert (part - coarse < 0.3 * (whole - coarse)).all()
