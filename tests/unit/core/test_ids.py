"""Ids are UUIDs of version 7, sort by their time, and no two are the same, in any thread or process."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

from llamastack.ids import DRAWN, new_id

FORKED = """
import os
from llamastack.ids import new_id
new_id("")
reading, writing = os.pipe()
if os.fork() == 0:
    os.write(writing, new_id("").encode())
    os._exit(0)
os.wait()
print(new_id("")[16:], os.read(reading, 100).decode()[16:])
"""


def test_an_id_is_a_uuid_of_version_7_of_now() -> None:
    before = time.time_ns() // 1_000_000
    found = UUID(new_id("resp_").removeprefix("resp_"))
    assert (found.version, found.variant) == (7, RFC_4122)
    assert before <= found.int >> 80 <= time.time_ns() // 1_000_000


def test_no_two_are_the_same_in_threads() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: new_id(""), range(20 * DRAWN)))
    assert len({name[13:] for name in made}) == len(made)


def test_later_ones_sort_after_earlier_ones() -> None:
    first = new_id("")
    while time.time_ns() // 1_000_000 <= int(first[:12], 16):
        continue
    assert new_id("") > first


def test_a_fork_draws_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    ours, theirs = done.stdout.split()
    assert ours != theirs
