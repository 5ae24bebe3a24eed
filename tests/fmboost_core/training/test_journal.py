import pytest
from PIL import Image

from fmboost_core.training.journal import CURVES, Journal, read_table


def test_rows_are_appended_and_those_of_a_lost_stretch_replaced(tmp_path):
    journal = Journal(tmp_path)
    for step in (10, 20, 30):
        journal.add("loss", step, {"velocity": 1 / step})
    Journal(tmp_path).add("loss", 20, {"velocity": 0.5})
    assert read_table(tmp_path / "loss.csv") == [
        {"step": "10", "velocity": "0.1"}, {"step": "20", "velocity": "0.5"},
    ]  # fmt: skip


def test_curves_are_drawn_of_every_table(tmp_path):
    pytest.importorskip("matplotlib", reason="curves need matplotlib")
    journal = Journal(tmp_path)
    journal.draw()
    assert not (tmp_path / CURVES).exists()
    for step in (1, 2):
        journal.add("loss", step, {"a": step, "b": -step})
        journal.add("validation", step, {"c": 3})
    journal.draw()
    image = Image.open(tmp_path / CURVES).convert("L")
    assert image.width == 3 * 320
    assert len(image.getcolors()) > 10
