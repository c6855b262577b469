"""What a process that reads documents can still do, tried in one."""

import subprocess
import sys
from pathlib import Path

from apps.file_processors.parsing import landlock, seal

ROOT = Path(__file__).resolve().parents[4]


def tried(powers: str, *acts: str) -> list[str]:
    """What became of each of these lines of Python, after what is in `powers`."""
    code = (
        f"import os, socket, subprocess\nfrom apps.file_processors.parsing import landlock, outcomes, seal\n{powers}\n"
    )
    for act in acts:
        code += f"try:\n    {act}\n    print('done')\nexcept (OSError, MemoryError) as error:\n"
        code += "    print(type(error).__name__)\n"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def test_it_opens_no_socket_and_starts_no_process() -> None:
    if not seal.refuses_sockets():
        assert tried("print(seal.give_up_powers())") == ["False"]
        return
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


def test_it_reads_code_and_no_other_file(tmp_path: Path) -> None:
    if not landlock.version():
        assert tried("print(landlock.read_code_alone())") == ["False"]
        return
    secret = tmp_path / "secret"
    secret.write_text("secret")
    assert tried(
        "landlock.read_code_alone()",
        f"open({str(secret)!r})",
        f"os.listdir({str(tmp_path)!r})",
        f"open({str(secret)!r}, 'w')",
        "open('pyproject.toml')",
        "open(f'/proc/{os.getppid()}/environ')",
        "open(os.__file__).close()",
        "__import__('encodings.cp1251')",
    ) == ["PermissionError"] * 5 + ["done", "done"]
