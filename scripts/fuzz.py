"""Throw spoiled files at a reader, guided by what code they reach.

    python -m scripts.fuzz checkpoint -runs=100000

Needs `pip install atheris` (Linux). What is behind the reader's name goes to libFuzzer, such as -runs, -seed
and -max_total_time. It stops at the first file that is neither read nor refused in one line, or that takes
more than two seconds or too much memory, and keeps it. The files are made as in `tests/strange_files.py`.
"""

from __future__ import annotations

import collections
import json
import random
import re
import resource
import sys
import tempfile
from pathlib import Path

import accelerate  # noqa: F401  (what is imported before the readers is not watched, and starts faster)
import atheris
import diffusers  # noqa: F401
import torch  # noqa: F401

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "data")]

with atheris.instrument_imports(include=["fmboost_core", "pickletools", "tomllib"]):
    from strange_files import Reader, make_readers, spoil, verdict

LONGEST = 1 << 16  # bytes of the part that is spoiled
REPORT_EVERY = 5000
FREE = 64 << 20  # bytes that may come and go without being the file's doing
NETWORK = 1 << 20  # bytes of the networks that the seeds declare


class Target:
    """A reader behind libFuzzer."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader = reader
        self.path = folder / f"strange{reader.suffix}"
        self.verdicts: collections.Counter[str] = collections.Counter()
        self.peak = 0

    def __call__(self, data: bytes) -> None:
        whole = self.reader.assemble(data)
        self.path.write_bytes(whole)
        found = verdict(self.reader, self.path)
        # Names and numbers out: what is left is the kind of refusal.
        self.verdicts[re.sub(r"'.*'|\(.*\)|[\d,.]+|/\S+", "…", found)[:60]] += 1
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if self.peak and peak > self.peak + FREE + 2 * len(whole) + NETWORK:
            raise MemoryError(f"{(peak - self.peak) >> 20} MB more than before")
        self.peak = max(self.peak, peak)
        if self.verdicts.total() % REPORT_EVERY == 0:
            report = {"files": self.verdicts.total(), "kinds": len(self.verdicts), "peak MB": peak >> 20}
            print(json.dumps(report | dict(self.verdicts.most_common(6)), ensure_ascii=False), flush=True)  # noqa: T201


class Mutator:
    """Partly libFuzzer, which knows what the code compares with, partly we, who know what it means."""

    def __init__(self, seeds: tuple[bytes, ...]) -> None:
        self.seeds = seeds

    def __call__(self, data: bytes, largest: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.3:
            return atheris.Mutate(data, largest)
        # A file that was spoiled before is mostly refused before anything new is reached.
        return spoil(rng.choice(self.seeds) if rng.random() < 0.7 else data, rng)[:largest]


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    good, corpus, work = (folder / name for name in ("good", "corpus", "work"))
    for path in (good, corpus, work):
        path.mkdir()
    reader = make_readers(good)[sys.argv[1]]
    for number, seed in enumerate(reader.seeds):
        (corpus / str(number)).write_bytes(seed)
    options = [
        *sys.argv[2:],
        "-timeout=2",
        f"-max_len={LONGEST}",
        "-rss_limit_mb=0",
        "-len_control=0",
        f"-artifact_prefix={folder}/",
    ]
    atheris.Setup(
        [sys.argv[0], *options, str(corpus)], Target(reader, work), custom_mutator=Mutator(reader.seeds)
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
