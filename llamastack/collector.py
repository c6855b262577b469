"""Python's garbage collector in a server: what stands as long as the process is looked through once, and no more.

Its full collections stop everything: about 100 ms each with Django, the providers and their packages loaded, and under
load more than one a second. What `gc.freeze` has set aside takes no part in them.
"""

import gc


def serve() -> None:
    """This process is a server's: whoever embeds the stack has objects of their own, which are left alone."""
    gc.freeze()


def settle() -> None:
    """In a server, set aside all that there is, cleared of garbage: after the start, and after a model's load."""
    if gc.get_freeze_count():
        gc.collect()
        gc.freeze()
