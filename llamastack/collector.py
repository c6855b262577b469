"""Python in a server: what stands as long as the process is looked through once by its garbage collector, and no more.

Full collections stop everything: about 100 ms each with Django, the providers and their packages loaded, and under load
more than one a second. What `gc.freeze` has set aside takes no part in them.
"""

import gc
import sys

ALLOCATIONS = 10_000  # more than are left of them until the garbage is looked for; Python's own 700 are soon there
SWITCH_SECONDS = 0.001


def serve() -> None:
    """This process is a server's: whoever embeds the stack has objects of their own, which are left alone.

    A thread that computes, such as one that reads thousands of rows, hands over to the loop after a millisecond; Python
    would let it go on for five.
    """
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, *gc.get_threshold()[1:])
    sys.setswitchinterval(SWITCH_SECONDS)


def settle() -> None:
    """In a server, set aside all that there is, cleared of garbage: after the start, and after a model's load."""
    if gc.get_freeze_count():
        gc.collect()
        gc.freeze()
