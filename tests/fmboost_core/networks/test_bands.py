import pytest
import torch
from helpers import lively

from fmboost_core.networks.bands import ConvolutionInBands, Delay, Meeting
from fmboost_core.networks.boostnet import BoostNet, BoostNetConfig
from fmboost_core.networks.bridgenet import BridgeNet, BridgeNetConfig


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bands", [[12], [1] * 12, [2, 10], [11, 1], [5, 4, 3]])
def test_a_convolution_in_bands_is_that_of_the_whole(bands, stride):
    layer = torch.nn.Conv2d(3, 5, 3, stride, padding=1)
    x = torch.randn(2, 3, 12, 8)
    fed = ConvolutionInBands(layer)
    parts = [fed(rows, i == len(bands) - 1) for i, rows in enumerate(x.split(bands, 2))]
    known = bands[0] - (len(bands) > 1)  # what it cannot know yet it does not say
    assert parts[0].shape[2] == -(-known // stride)
    torch.testing.assert_close(torch.cat(parts, 2), layer(x))


def test_a_delay_gives_rows_out_in_their_order():
    delay, x = Delay(), torch.arange(6.0).reshape(1, 1, 6, 1)
    out = [delay(x[:, :, :2], 0), delay(x[:, :, 2:5], 3), delay(x[:, :, 5:], 3)]
    assert torch.equal(torch.cat(out, 2), x)


def test_branches_wait_for_each_other():
    meeting, x = Meeting(), torch.arange(6.0).reshape(1, 1, 6, 1)
    met = [
        meeting(x[:, :, :4], x[:, :, :1]),
        meeting(x[:, :, 4:4], x[:, :, 1:5]),
        meeting(x[:, :, 4:], x[:, :, 5:]),
    ]
    assert [left.shape[2] for left, _ in met] == [1, 3, 2]
    for side in zip(*met, strict=True):
        assert torch.equal(torch.cat(side, 2), x)


BOOSTNET = lively(BoostNet(BoostNetConfig(4, width=64, depth=3)))
BRIDGENET = lively(BridgeNet(BridgeNetConfig(4, width=64, depth=2)))
FINER = lively(BridgeNet(BridgeNetConfig(4, width=64, depth=2, resolutions=4)))


@pytest.mark.parametrize("rows", [2, 6, 20, 38, 40])
@pytest.mark.parametrize(
    ("network", "source", "size"),
    [
        (BOOSTNET, (40, 22), (40, 22)),
        (BRIDGENET, (20, 11), (40, 22)),
        (BRIDGENET, (27, 11), (41, 22)),
        (BRIDGENET, (20, 20), (39, 31)),
        (BRIDGENET, (19, 11), (40, 11)),
        (FINER, (20, 11), (40, 22)),
        (FINER, (27, 11), (41, 22)),
    ],
    ids=["boostnet", "bridgenet", "smaller-scale", "odd", "one-side", "finer", "finer-smaller-scale"],
)
def test_a_network_in_bands_is_the_whole_network(network, source, size, rows):
    x, context = torch.randn(2, 4, *size), torch.randn(2, 4, *source)
    t, sigma, scale = torch.tensor([0.1, 0.9]), torch.tensor([0.0, 0.5]), torch.tensor([2.0, 1.3])
    with torch.inference_mode():
        whole = network(x, t, context, sigma, scale)
        banded = network.in_bands(x, t, context, sigma, scale, rows)
    torch.testing.assert_close(banded, whole, atol=1e-5, rtol=0)
