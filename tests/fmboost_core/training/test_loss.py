import pytest
import torch
from helpers import lively

from fmboost_core.tiny_vae import TinyDecoder
from fmboost_core.training.loss import (
    MARGIN,
    OCTAVES,
    DecoderLoss,
    _divergence,
    _energies,
    _unlikeness,
    evening,
)

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


def test_the_best_guess_of_an_energy_is_the_mean():
    """The texture loss's gradient vanishes there, and not at the geometric mean."""
    wanted = torch.tensor([1.0, 9.0]).reshape(2, 1, 1, 1)
    for guess, sign in ((3.0, -1), (5.0, 0), (7.0, 1)):
        found = torch.tensor(guess, requires_grad=True)
        _divergence(found, wanted).sum().backward()
        assert found.grad.item() == pytest.approx(0, abs=1e-6) if sign == 0 else sign * found.grad > 0.01


def test_far_too_little_pulls_no_harder_than_much_too_little():
    pulls = []
    for wanted in (2.0, 5.0, 1000.0):
        log_energy = torch.zeros(1, 1, 1, 1, requires_grad=True)
        _divergence(log_energy.exp(), torch.full((1, 1, 1, 1), wanted)).sum().backward()
        pulls.append(-log_energy.grad.item())
    assert pulls == pytest.approx([0.5, 1.5, 1.5])


@pytest.mark.parametrize("evenness, loudness", [(0.0, 100), (0.5, 10), (1.0, 1)])
def test_items_are_as_loud_as_evenness_says(evenness, loudness):
    """One item is wrong by 0.5 and one by 0.05: what a share more of each error changes."""
    wrong = torch.tensor([0.5, 0.05], requires_grad=True)
    lost = wrong.square()
    (evening(lost, evenness) * lost).sum().backward()
    hard, easy = (wrong.grad * wrong.detach()).tolist()
    assert hard / easy == pytest.approx(loudness, rel=0.2)


def test_an_item_that_is_right_does_not_count_without_bound():
    weights = evening(torch.tensor([0.0, 1e-9, 1.0]), 1.0)
    assert weights[0] == pytest.approx(weights[1].item(), rel=1e-4)
    assert weights[0] < 1e4 * weights[2]


@pytest.mark.parametrize("octave", range(OCTAVES))
def test_a_wave_is_found_in_its_octave(octave):
    wave = torch.cos(2 * torch.pi * torch.arange(96) / (3 * 2**octave)).expand(1, 1, 96, 96)
    energies = [energy.mean().item() for energy in _energies(wave, 32, OCTAVES)]
    assert energies.index(max(energies)) == octave
    assert sum(energies) - max(energies) < 0.5 * max(energies)


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


def test_pixels_have_their_weight_in_the_mean(z):
    decoder, predicted = lively(TinyDecoder(4)), z + 0.3 * noise(1)
    features = DecoderLoss(decoder, 3, z)(predicted, z, ALL)[0]
    wanted, found = decoder(z), decoder(predicted)
    pixels = (found - wanted).square().mean((1, 2, 3)) / wanted.var((0, 2, 3)).mean()
    for weight in (1.0, 16.0):
        fidelity = DecoderLoss(decoder, 4, z, weight)(predicted, z, ALL)[0]
        torch.testing.assert_close(fidelity, (3 * features + weight * pixels) / (3 + weight))


def test_likeness_wants_the_contrast_that_squared_error_gives_up():
    """Half of a guess is right: squared error likes it best at half its contrast, likeness as it is."""
    right, wrong, other = torch.rand(3, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    wanted, guess = right + other, right + wrong
    contrasts = torch.tensor([0.25, 0.5, 1.0, 2.0])
    found = contrasts[:, None, None, None] * (guess - guess.mean()) + wanted.mean()
    assert (found - wanted).square().mean((1, 2, 3)).argmin() == 1
    assert _unlikeness(found, wanted.expand_as(found)).argmin() == 2


def test_likeness_overlooks_what_nobody_sees():
    grey, invisible = torch.full((1, 3, 64, 64), 0.5), 1e-4 * torch.randn(1, 3, 64, 64)
    assert _unlikeness(grey + invisible, grey) < 1e-3 < _unlikeness(grey + 300 * invisible, grey)


def test_structure_is_added_to_fidelity(z):
    decoder, predicted = lively(TinyDecoder(4)), z + 0.3 * noise(1)
    plain, structured = (DecoderLoss(decoder, 4, z, structure=s)(predicted, z, ALL) for s in (0.0, 0.5))
    unlike = _unlikeness(decoder(predicted), decoder(z))
    assert (unlike > 0.01).all()
    torch.testing.assert_close(structured[0], plain[0] + 0.5 * unlike)
    torch.testing.assert_close(structured[1], plain[1])


@pytest.mark.parametrize("rows", [slice(0, 4), slice(6, 10), slice(12, 16)])
def test_of_a_window_a_part_and_its_margin_is_compared(loss, z, rows):
    columns = slice(0, 16)
    seen = slice(max(0, rows.start - MARGIN), rows.stop + MARGIN)
    for row in range(16):
        predicted = z.clone()
        predicted[:, :, row] += 1
        fidelity, texture = loss(predicted, z, ALL, (rows, columns))
        inside = row in range(16)[seen]
        assert ((fidelity > 0) == inside).all() and ((texture > 0) == inside).all()


def test_the_fine_stages_compare_the_part_alone(z):
    decoder, part = lively(TinyDecoder(4)), (slice(6, 10), slice(0, 4))
    predicted = z + 0.3 * noise(1)
    found, wanted = (decoder(y[..., 2:14, 0:8])[..., 32:64, 0:32] for y in (predicted, z))
    pixels = (found - wanted).square().mean((1, 2, 3)) / decoder(z).var((0, 2, 3)).mean()
    fidelity = DecoderLoss(decoder, 4, z, pixels=1e6)(predicted, z, ALL, part)[0]
    # Not quite equal, as the fine stages' convolutions see zeros around the part.
    torch.testing.assert_close(fidelity, pixels, rtol=0.3, atol=0)
