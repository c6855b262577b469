"""The collector is told to leave alone what stands, in a server's process and in no other."""

import subprocess
import sys

SCRIPT = """
import gc
from llamastack import collector
{before}
collector.settle()
print(gc.get_freeze_count())
"""


def frozen(before: str) -> int:
    command = [sys.executable, "-c", SCRIPT.format(before=before)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_a_server_sets_aside_what_it_has_started_with() -> None:
    assert frozen("collector.serve()") > 1000


def test_who_embeds_the_stack_keeps_a_collector_that_sees_all() -> None:
    assert frozen("") == 0


def test_a_thread_that_computes_hands_over_to_a_servers_loop_sooner_than_to_another_programs() -> None:
    tell = "import gc, sys; {}; print(sys.getswitchinterval(), *gc.get_threshold())"
    does = ("pass", "from llamastack import collector", "from llamastack import collector; collector.serve()")
    commands = [[sys.executable, "-c", tell.format(done)] for done in does]
    plain, other, server = (subprocess.run(one, capture_output=True, check=True).stdout.split()[:2] for one in commands)
    assert (other, server) == (plain, [b"0.001", b"10000"])
    assert plain != server


def test_a_server_with_a_model_keeps_the_pages_of_its_tensors() -> None:
    """Else the system gives a buffer of 8 MiB each of its 2048 pages anew, each time."""
    tell = """
import ctypes
import resource
from llamastack import collector
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page would be given instead of 512
{}
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
buffer = b"x" * (8 << 20)
del buffer
before = faults()
for _ in range(50):
    buffer = b"x" * (8 << 20)
    del buffer
print(faults() - before)
"""
    commands = [
        [sys.executable, "-c", tell.format(f"collector.serve(); collector.{done}()")]
        for done in ("settle", "settle_model")
    ]
    without, kept = (int(subprocess.run(one, capture_output=True, check=True).stdout) for one in commands)
    assert without > 50 * 2000
    assert kept < 5000
