"""How this process asks the operating system for memory."""

from __future__ import annotations

import ctypes
import sys

# Numbers of glibc's <malloc.h>.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
LARGEST_INT = 2**31 - 1
GROWTH = 256 << 20  # bytes


def keep_freed_memory() -> bool:
    """Keep freed memory for the next tensor, rather than give it back to the system.

    glibc returns each large block at once and fetches the next one anew, page by zeroed page. A VAE on
    the CPU does that for every activation, and spends most of its time on it: on two cores a tiny
    decoder takes 0.4 s for a megapixel with this, 1.0 s without. The price is that the process never
    shrinks, so it is for programs of one purpose, not for a library inside ComfyUI.

    Returns:
        Whether it could be done, that is, on Linux with glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, LARGEST_INT), (M_TOP_PAD, GROWTH))
    accepted = [mallopt(name, value) for name, value in settings]
    return all(accepted)
