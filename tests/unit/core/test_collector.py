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
