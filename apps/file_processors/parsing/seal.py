"""What a process that reads a document may still do: calculate, within limits, and answer.

Nothing here is needed for a document to be read; each measure that the system grants is one more. Documents are read
in a network namespace without interfaces, where the system gives one, and behind a filter of system calls that opens
no socket, starts no program and no process (https://docs.kernel.org/userspace-api/seccomp_filter.html), on Linux.
"""

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys

from apps.file_processors.parsing.outcomes import Limits

CLONE_NEWUSER, CLONE_NEWNET, CLONE_THREAD = 0x10000000, 0x40000000, 0x00010000
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
MOST_FILES = 64
CAPABILITIES = 0x20080522  # version 3 of the header that capset takes

# <linux/audit.h>, and the numbers of system calls: who opens a connection, starts a program, looks into another
# process, or reaches what only the kernel should.
X86_64 = (
    0xC000003E,
    {
        "socket": 41, "connect": 42, "bind": 49, "listen": 50, "socketpair": 53, "fork": 57, "vfork": 58, "execve": 59,
        "kill": 62, "ptrace": 101, "pivot_root": 155, "chroot": 161, "mount": 165, "umount2": 166, "add_key": 248,
        "request_key": 249, "keyctl": 250, "unshare": 272, "perf_event_open": 298, "open_by_handle_at": 304,
        "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "bpf": 321, "execveat": 322,
        "userfaultfd": 323, "pidfd_send_signal": 424, "io_uring_setup": 425, "pidfd_getfd": 438,
    },
    56,
)  # fmt: skip
AARCH64 = (
    0xC00000B7,
    {
        "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "unshare": 97, "ptrace": 117, "kill": 129,
        "socket": 198, "socketpair": 199, "bind": 200, "listen": 201, "connect": 203, "add_key": 217,
        "request_key": 218, "keyctl": 219, "execve": 221, "perf_event_open": 241, "open_by_handle_at": 265,
        "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "bpf": 280, "execveat": 281,
        "userfaultfd": 282, "pidfd_send_signal": 424, "io_uring_setup": 425, "pidfd_getfd": 438,
    },
    220,
)  # fmt: skip
CLONE3 = 435  # its flags lie in memory, where no filter looks: refused as unknown, and the C library takes clone
MACHINES = {"x86_64": X86_64, "aarch64": AARCH64}
OTHER_NUMBERS = 0x40000000  # of x86-64's second table of calls
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, MACHINE, FIRST_ARGUMENT = 0, 4, 16  # places in what a filter sees of a call


def leave_network() -> bool:
    """Into a network namespace of its own, if the system lets us: as a user of its own, or as root."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return any(libc.unshare(how) == 0 for how in (CLONE_NEWUSER | CLONE_NEWNET, CLONE_NEWNET))


def limit(limits: Limits) -> None:
    """Memory, time, files that are written (none), open files. What the server must not exceed, it has set itself."""
    for kind, most in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, MOST_FILES),
    ):
        hard = resource.getrlimit(kind)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))


def die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def give_up_powers() -> bool:
    """Whether this process can open no connection and start nothing from now on."""
    machine = MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None or sys.byteorder != "little":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.capset(struct.pack("Ii", CAPABILITIES, 0), bytes(24))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    code = b"".join(_program(*machine))
    held = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(held))
    return bool(libc.prctl(PR_SET_SECCOMP, 2, program, 0, 0) == 0)


def _program(machine: int, calls: dict[str, int], clone: int) -> list[bytes]:
    refused = REFUSE | errno.EPERM
    steps = [
        _step(LOAD, MACHINE),
        _step(EQUAL, machine, 1, 0),
        _step(RETURN, KILL),
        _step(LOAD, NUMBER),
        _step(AT_LEAST, OTHER_NUMBERS, 0, 1),
        _step(RETURN, refused),
    ]
    for number, answer in [*((number, refused) for number in calls.values()), (CLONE3, REFUSE | errno.ENOSYS)]:
        steps += [_step(EQUAL, number, 0, 1), _step(RETURN, answer)]
    return [
        *steps,
        _step(EQUAL, clone, 0, 3),
        _step(LOAD, FIRST_ARGUMENT),
        _step(ANY_BIT, CLONE_THREAD, 1, 0),  # a thread is no process
        _step(RETURN, refused),
        _step(RETURN, ALLOW),
    ]


def _step(code: int, value: int, if_so: int = 0, if_not: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_so, if_not, value)


def refuses_sockets() -> bool:
    """Whether `give_up_powers` works here: tried in a process that ends with it."""
    pid = os.fork()
    if pid == 0:
        import socket

        try:
            give_up_powers()
            socket.socket().close()
        except OSError:
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
