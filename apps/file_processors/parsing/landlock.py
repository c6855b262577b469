"""Files that a process may read: Python's own and our code, and no others. https://docs.kernel.org/userspace-api/landlock.html"""

import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CREATE, ADD, RESTRICT = 444, 445, 446  # system calls, the same on every machine
ASK_VERSION, BENEATH = 1, 1
PR_SET_NO_NEW_PRIVS = 38
READ = 1 << 2 | 1 << 3  # files, and what a folder holds
# All that there is to do with files, by the version that has come to know it.
HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
SYSTEM = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/lib",
    "/lib64",
    "/usr/share/zoneinfo",
    "/etc/mime.types",
    "/dev/null",
)
CODE = Path(__file__).resolve().parents[2]
PACKAGES = ("site-packages", "dist-packages")


def version() -> int:
    """0 where the system has none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(ctypes.CDLL(None, use_errno=True).syscall(CREATE, None, ctypes.c_size_t(0), ASK_VERSION)))


def read_code_alone() -> bool:
    """Whether this process can open no other file from now on, and change none."""
    known = version()
    if not known:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    handled = struct.pack("Q", HANDLED[min(known, 3)])
    rules = libc.syscall(CREATE, handled, ctypes.c_size_t(len(handled)), 0)
    if rules < 0:
        return False
    try:
        for path in readable():
            with suppress(OSError):  # not every system has each of them
                _allow(libc, rules, path)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(libc.syscall(RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: str) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = READ if Path(path).is_dir() else READ & ~(1 << 3)
        libc.syscall(ADD, rules, BENEATH, struct.pack("=Qi", allowed, place), 0)
    finally:
        os.close(place)


def readable() -> Iterator[str]:
    """Neither the working directory nor where this repository lies is among them: keys and databases may be there."""
    yield from SYSTEM
    yield from {sys.prefix, sys.base_prefix, str(CODE)}
    yield from (entry for entry in sys.path if Path(entry).name in PACKAGES)
