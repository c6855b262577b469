"""The process that documents are read by: it has imported the parsers, and forks for each document.

It is started by sandbox.py with one socket, on which it says first what it could give up, as a line of JSON. What comes
from then on is 9 bytes: R and a number, with a socket on which the document comes and the answer goes; or K and a
number, whose process is to end. Once the socket is closed, so is all. It imports no Django, and has no secret.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import asdict
from types import ModuleType
from typing import Any

from apps.file_processors.parsing import landlock, seal
from apps.file_processors.parsing.outcomes import Limits, Refused, Task

ORDER = struct.Struct("!cQ")
LENGTH = struct.Struct("!Q")


def main(control: socket.socket) -> None:
    network = seal.leave_network()
    powers = seal.refuses_sockets()
    _import_parsers()
    gc.freeze()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all of a terminal: the server ends us
    told = {"no_network": network, "no_powers": powers, "no_files": landlock.version() > 0}
    control.sendall(json.dumps(told).encode() + b"\n")
    serve(control, woken)


def _import_parsers() -> None:
    from apps.file_processors.parsing.readers import PACKAGES

    # markitdown imports what guesses a kind from bytes, and onnxruntime with it, whose threads no fork would have. Of
    # markitdown only the converters are used, which know the kind.
    sys.modules.setdefault("magika", ModuleType("magika"))
    for package in {package for packages in PACKAGES.values() for package in packages}:
        with suppress(ImportError):  # told where it is needed
            importlib.import_module(package)


def serve(control: socket.socket, woken: int) -> None:
    """Until whoever started this goes away. Nothing is killed that has been reaped, so no stranger is."""
    reading: dict[int, tuple[int, socket.socket]] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _reap(reading)
        if control.fileno() in ready and not _ordered(control, woken, reading):
            break
    for pid, _ in reading.values():
        os.kill(pid, signal.SIGKILL)


def _ordered(control: socket.socket, woken: int, reading: dict[int, tuple[int, socket.socket]]) -> bool:
    """One order carried out; False where there will be no other."""
    data, sockets, _, _ = socket.recv_fds(control, ORDER.size, 1)
    if len(data) < ORDER.size:
        return False
    order, number = ORDER.unpack(data)
    if order == b"K":
        if number in reading:
            os.kill(reading[number][0], signal.SIGKILL)
        return True
    peer = socket.socket(fileno=sockets[0])
    pid = os.fork()
    if pid == 0:
        control.close()
        os.close(woken)
        _child(peer)
    reading[number] = pid, peer
    return True


def _reap(reading: dict[int, tuple[int, socket.socket]]) -> None:
    """Who has died without an answer is answered for: by which signal."""
    for number, (pid, peer) in list(reading.items()):
        done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            continue
        del reading[number]
        with peer:
            if status:
                peer.setblocking(False)
                with suppress(OSError):  # who asked has gone
                    peer.send(_framed({"died": os.waitstatus_to_exitcode(status)}))


def _framed(answer: dict[str, Any]) -> bytes:
    data = json.dumps(answer).encode()
    return LENGTH.pack(len(data)) + data


def _child(peer: socket.socket) -> None:
    """Never returns."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        seal.die_with_parent()
        with peer.makefile("rb") as stream:
            told = json.loads(stream.read(LENGTH.unpack(stream.read(LENGTH.size))[0]))
            task = Task(**told | {"limits": Limits(**told["limits"])})
            content = stream.read(task.size)
        seal.limit(task.limits)
        landlock.read_code_alone()
        seal.give_up_powers()
        peer.sendall(_framed(_answer(task, content)))
        os._exit(0)
    except BaseException:  # a fork must not go on as its parent would
        os._exit(1)


def _answer(task: Task, content: bytes) -> dict[str, Any]:
    from apps.file_processors.parsing.readers import read

    try:
        return asdict(read(task, content))
    except Refused as refusal:
        return {"refused": refusal.reason, "why": refusal.why}
    except Exception as error:  # whatever a parser meets in a document that it was not made for
        return {"refused": "broken", "why": f"its reader failed ({type(error).__name__})."}


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
