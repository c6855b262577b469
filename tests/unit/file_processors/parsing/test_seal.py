"""What a process that reads documents can still do, tried in one."""

import subprocess
import sys
from pathlib import Path

import pytest

from apps.file_processors.parsing import seal

ROOT = Path(__file__).resolve().parents[4]
LINUX = sys.platform == "linux"


def tried(powers: str, *acts: str) -> list[str]:
    """What became of each of these lines of Python, after what is in `powers`."""
    code = f"import os, socket, subprocess\nfrom apps.file_processors.parsing import seal, outcomes\n{powers}\n"
    for act in acts:
        code += f"try:\n    {act}\n    print('done')\nexcept (OSError, MemoryError) as error:\n"
        code += "    print(type(error).__name__)\n"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def test_it_opens_no_socket_and_starts_no_process() -> None:
    if not seal.refuses_sockets():
        pytest.fail("This machine has no filter of system calls, which the tests count on.")
    assert tried(
        "seal.give_up_powers()",
        "socket.socket()",
        "os.fork()",
        "subprocess.run(['true'])",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 0)",
        "__import__('threading').Thread(target=int).start()",
    ) == ["PermissionError"] * 5 + ["done"]


def test_it_reaches_nothing_where_the_system_gives_a_network_of_its_own() -> None:
    reach = "print(seal.leave_network()); names = [name for _, name in socket.if_nameindex()]; print(names)"
    granted, names = tried(reach)
    assert granted == "False" or names == "['lo']"


def test_it_takes_no_more_memory_than_it_may_and_writes_no_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    limits = "__import__('signal').signal(25, 1); seal.limit(outcomes.Limits(memory_bytes=256 << 20))"
    assert tried(limits, "bytes(300 << 20)", f"open({str(file)!r}, 'w', buffering=1).write('x\\n')") == [
        "MemoryError",
        "OSError",
    ]
