import json
from pathlib import Path

import pytest

from fmboost_core import InputError
from fmboost_core.training.config import TrainConfig, read_config

RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("*.toml"))


def written(tmp_path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recipe_is_read_over_the_defaults(tmp_path):
    path = written(
        tmp_path,
        'family = "flux"\nshape = { width = 64, depth = 2 }\nlearning_rate = 1\nsigma_range = [0, 0.5]\n',
    )
    expected = TrainConfig("flux", shape={"width": 64, "depth": 2}, learning_rate=1.0)
    assert read_config(path) == expected
    assert isinstance(read_config(path).learning_rate, float)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_the_recipes_that_ship_are_read(path):
    assert read_config(path).family in path.stem


def test_every_entry_can_be_written(tmp_path):
    config = TrainConfig("sd15")
    entries = config.to_json().items()
    path = written(tmp_path, "\n".join(f"{name} = {json.dumps(value)}" for name, value in entries))
    assert read_config(path) == config


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            'family = "sd15"\nlearning_rat = 1',
            "no entry 'learning_rat'; the nearest is 'learning_rate'",
        ),
        ("steps = 5", "the entry 'family' is missing"),
        ('family = "sd9"', "there is no family 'sd9': choose one of sd15"),
        (
            'family = "sd15"\nnetwork = "net"',
            "there is no network 'net': choose one of boostnet, bridgenet, unet",
        ),
        ('family = "sd15"\nsteps = "many"', "steps is 'many', which is not a whole number"),
        ('family = "sd15"\nsteps = 1.5', "steps is 1.5, which is not a whole number"),
        ('family = "sd15"\nsteps = true', "steps is True, which is not a whole number"),
        ('family = "sd15"\nsteps = 0', "steps is 0: at least 1"),
        ('family = "sd15"\nwindow = 30', "window is 30: give a multiple of 4"),
        ('family = "sd15"\nclean = 2.0', "clean is 2.0: give 0 to 1"),
        (
            'family = "sd15"\nnetwork = "bridgenet"\nupsampling = "nearest"',
            "upsampling is 'nearest', but a bridgenet upsamples by 'bicubic'",
        ),
        ('family = "sd15"\nsigma_range = [0.5]', r"sigma_range is \[0.5\]: give two numbers"),
        ('family = "sd15"\nsigma_range = [0.5, 0.2]', "sigma_range is .* two values, 0 to 1"),
        ('family = "sd15"\ndecoder_stages = 5', "decoder_stages is 5: give 1 to 4"),
        ('family = "sd15"\ndecoder_pixels = 0', "decoder_pixels is 0.0: give a positive weight"),
        ('family = "sd15"\nstructure = -1', "structure is -1.0: give 0 or a positive weight"),
        (
            'family = "sd15"\nstructure = 1\ndecoder_stages = 3',
            "compares pixels: .* decoder_stages = 4",
        ),
        ('family = "sd15"\nbatch = 5\naccumulate = 2', "a batch of 5 cannot be worked off in 2"),
        ('family = "sd15"\nlearning_rate = 0', "learning_rate is 0.0: it must be positive"),
        ("family = ", "is not TOML"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, text, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        read_config(written(tmp_path, text))
    assert "recipe.toml" in str(caught.value)


def test_a_missing_recipe(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "absent.toml")


def test_the_rate_warms_up_and_ends_low():
    config = TrainConfig("sd15", steps=100, warmup=10, learning_rate=1.0)
    rates = [config.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1)
    assert rates[-1] == pytest.approx(0.01, abs=2e-3)
    assert rates[9:] == sorted(rates[9:], reverse=True)
