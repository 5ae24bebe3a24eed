import pytest

from fmboost_core import InputError
from fmboost_core.sizes import by_factor, cascade, check_sizes, to_megapixels, to_pixels


@pytest.mark.parametrize(
    ("size", "factor", "expected"),
    [
        ((64, 64), 2.0, (128, 128)),
        ((63, 41), 1.5, (95, 62)),
        ((1, 1), 8.0, (8, 8)),
        ((64, 48), 1.0, (64, 48)),
    ],
)
def test_factor(size, factor, expected):
    assert by_factor(size, factor) == expected


def test_pixels_are_rounded_to_the_nearest_latent():
    assert to_pixels(1024, 768, 8) == (96, 128)
    assert to_pixels(1003, 1005, 8) == (126, 125)


def test_megapixels_keep_the_proportions():
    assert to_megapixels((64, 64), 4.0, 8) == (256, 256)
    height, width = to_megapixels((48, 96), 2.0, 8)
    assert width / height == pytest.approx(2, rel=0.01)
    assert height * width * 64 == pytest.approx(2 * 1024**2, rel=0.02)


@pytest.mark.parametrize(
    ("source", "target", "stages"),
    [
        ((64, 64), (128, 128), [(128, 128)]),
        ((64, 64), (96, 96), [(96, 96)]),
        ((64, 64), (256, 256), [(128, 128), (256, 256)]),
        ((64, 64), (512, 512), [(128, 128), (256, 256), (512, 512)]),
        ((64, 64), (192, 192), [(111, 111), (192, 192)]),
        ((33, 47), (67, 95), [(67, 95)]),
        ((64, 64), (64, 64), []),
        ((64, 64), (64, 128), [(64, 128)]),
    ],
)
def test_cascade(source, target, stages):
    assert cascade(source, target, 2.0) == stages


def test_every_cascade_ends_at_the_target_and_no_stage_leaps():
    for height in (1, 2, 7, 33, 64):
        for factor in (1.1, 1.5, 2.0, 2.3, 3.0, 4.0, 5.7, 8.0):
            target = by_factor((height, 50), factor)
            stages = cascade((height, 50), target, 2.0)
            if target == (height, 50):
                assert stages == []
                continue
            assert stages[-1] == target
            before = (height, 50)
            for stage in stages:
                assert stage[1] / before[1] <= 2.08
                assert stage[0] >= before[0]
                before = stage


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ((64, 64), (63, 128), "smaller than the input"),
        ((64, 64), (640, 640), "more than 8 times"),
        ((0, 64), (0, 128), "empty"),
    ],
)
def test_impossible_sizes_are_named(source, target, message):
    with pytest.raises(InputError, match=message):
        check_sizes(source, target)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 0.0, -2.0])
def test_senseless_numbers_are_refused(wrong):
    with pytest.raises(InputError):
        by_factor((64, 64), wrong)
    with pytest.raises(InputError):
        to_megapixels((64, 64), wrong, 8)
    with pytest.raises(InputError, match="positive"):
        to_pixels(0, 512, 8)
