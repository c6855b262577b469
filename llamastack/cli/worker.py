"""One of several processes that serve on the same sockets, as workers.py starts them."""

import os
import signal
import socket
import sys
import threading
import time

from llamastack.cli.signals import LEAVES

PATIENCE_SECONDS = 15  # beyond what calls in flight are granted, for whatever else a worker does when it leaves


def main(arguments: list[str]) -> None:
    """Descriptors: the lifeline, the pipe for the word that it is ready, a lock to be held, and the sockets."""
    lifeline, ready, _, *sockets = map(int, arguments)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as long as it starts, it ends without a word
    threading.Thread(target=follow, args=[lifeline], name="lifeline", daemon=True).start()

    from llamastack.cli import on_uvicorn

    def tell() -> None:
        os.write(ready, b"1")
        os.close(ready)

    on_uvicorn.work([socket.socket(fileno=number) for number in sockets], tell)


def follow(lifeline: int) -> None:
    """Leave when whoever started this process has ended, which closes its end, however it does."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LEAVES[signal.SIGTERM].seconds + PATIENCE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
