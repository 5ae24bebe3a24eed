import torch
from helpers import in_two_processes

from fmboost_core.processes import Processes, launched


def test_alone_everything_is_ours():
    alone = Processes(device="cpu")
    assert (alone.index, alone.count, alone.first) == (0, 1, True)
    assert alone.share([1, 2, 3]) == [1, 2, 3]
    assert alone.sum(torch.tensor(2.0)) == 2
    network = torch.nn.Linear(1, 1)
    assert alone.prepare(network) is network


def test_without_a_launcher_the_user_chooses_the_device(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert launched("cpu").device == torch.device("cpu")
    assert launched("meta").device == torch.device("meta")


def test_shares_divide_the_work():
    both = [Processes() for _ in range(2)]
    for index, one in enumerate(both):
        one.index, one.count = index, 2
    assert [list(one.share(range(5))) for one in both] == [[0, 2, 4], [1, 3]]


LAUNCHED = """
import atexit, torch
from fmboost_core.processes import launched
atexit.register(lambda: print("left open\\n" if torch.distributed.is_initialized() else "closed\\n", end=""))
assert launched("cpu").count == 2 and torch.distributed.is_initialized()
"""


def test_connections_are_closed_before_the_interpreter_ends(tmp_path):
    """Left open, about one of six two-process runs on a CPU was aborted after its work was done."""
    # Each process writes its line at once: without a buffer, `print` writes the end of a line by itself.
    program = tmp_path / "program.py"
    program.write_text(LAUNCHED)
    assert in_two_processes(str(program)).split() == ["closed", "closed"]
