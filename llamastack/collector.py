"""Python in a server: what stands as long as the process is looked through once by its garbage collector, and no more.

Full collections stop everything: about 100 ms each with Django, the providers and their packages loaded, and under load
more than one a second. What `gc.freeze` has set aside takes no part in them.
"""

import ctypes
import gc
import sys
from contextlib import suppress

ALLOCATIONS = 10_000  # more than are left of them until the garbage is looked for; Python's own 700 are soon there
SWITCH_SECONDS = 0.001
TRIM, OF_ITS_OWN = -1, -3  # glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, in malloc.h
FREE_BYTES = 16 * 1024 * 1024  # of the heap's end are kept for what comes next
ALONE_BYTES = 1024 * 1024  # what is larger has pages of its own, and gives them back at once
MODELS_FREE_BYTES, MODELS_ALONE_BYTES = 64 * 1024 * 1024, 32 * 1024 * 1024  # what glibc comes to by itself, at most


def serve() -> None:
    """This process is a server's: whoever embeds the stack has objects of their own, which are left alone.

    A thread that computes, such as one that reads thousands of rows, hands over to the loop after a millisecond; Python
    would let it go on for five.
    """
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, *gc.get_threshold()[1:])
    sys.setswitchinterval(SWITCH_SECONDS)
    keep_pages()


def keep_pages(free: int = FREE_BYTES, alone: int = ALONE_BYTES) -> None:
    """Have glibc keep memory that is free: else each body of more than 128 KiB, such as one of embeddings, gets its
    pages from the system and gives them back, which takes longer than to copy it. Other libraries have no such word.
    """
    with suppress(AttributeError, OSError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(TRIM, free)
        allocator.mallopt(OF_ITS_OWN, alone)


def settle() -> None:
    """In a server, set aside all that there is, cleared of garbage: after the start, and after a model's load."""
    if gc.get_freeze_count():
        gc.collect()
        gc.freeze()


def settle_model() -> None:
    """The same, where a model computes from now on: of its tensors, many of some megabytes come and go in each layer,
    and with pages of their own the system takes a good part of its time.
    """
    settle()
    if gc.get_freeze_count():
        keep_pages(MODELS_FREE_BYTES, MODELS_ALONE_BYTES)
