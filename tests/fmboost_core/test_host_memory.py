import platform
import subprocess
import sys

import pytest

# In a process of its own, because it cannot be undone.
PROGRAM = """
import resource
import torch
from fmboost_core.host_memory import keep_freed_memory
print(keep_freed_memory())
for _ in range(2):
    torch.ones(64 << 20, dtype=torch.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(64 << 20, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose allocator is set here")
def test_freed_memory_is_used_again_without_page_faults():
    done, faults = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    ).stdout.split()
    assert done == "True"
    # 64 MiB anew are 16384 pages of 4 KiB, each of the ten times; once happens, where a hole was too small.
    assert int(faults) < 3 * 16384
