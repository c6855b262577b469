"""The process in which Qdrant's engine runs, since each of its calls stops all threads of Python's that share it.

python -m apps.vector_io.providers.inline.qdrant.serving FOLDER SOCKET SECONDS, where SOCKET is the number of a file
that both have: requests come by it one after the other, and when it is closed the process ends. SECONDS is how long it
waits for another that has the folder.
"""

import fcntl
import select
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from apps.vector_io.providers.inline.qdrant.framed import Missing, OtherDimension, received, send

TRIES_A_SECOND = 20
FLUSH_SECONDS = 1.0  # of quiet, after which what was written is on the disk, too
LEAST_FREE = 64 << 20  # bytes: what the engine needs to write its log


def main(folder: Path, requests: socket.socket, lock_seconds: float) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, for the server: it closes the socket when it has done
    if not _locked(folder, lock_seconds):
        send(requests, {"error": "locked", "message": ""})
        return
    from apps.vector_io.providers.inline.qdrant.shards import Shards

    shards = Shards(folder)
    send(requests, {"result": "ready"})
    while True:
        ready, _, _ = select.select([requests], [], [], FLUSH_SECONDS if shards.unsaved else None)
        if not ready:
            shards.flush()
            continue
        request = received(requests)
        if request is None:
            break
        send(requests, _answered(shards, folder, request))
    shards.close()


def _locked(folder: Path, seconds: float) -> bool:
    """Until this process ends."""
    file = (folder / "lock").open("w")
    _KEPT.append(file)
    for _ in range(1 + int(seconds * TRIES_A_SECOND)):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(1 / TRIES_A_SECOND)
        else:
            return True
    return False


_KEPT: list[Any] = []


def _answered(shards: Any, folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": getattr(shards, request["do"])(**request["with"])}
    except Missing:
        return {"error": "missing", "message": ""}
    except OtherDimension as error:
        return {"error": "dimension", "message": str(error)}
    except Exception as error:  # the engine raises nothing more exact
        full = shutil.disk_usage(folder).free < LEAST_FREE
        return {"error": "full" if full else "failed", "message": str(error)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])), float(sys.argv[3]))
