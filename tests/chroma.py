"""A Chroma server of the tests' own, which may be killed and comes back with its files."""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import POLL_SECONDS, READY_SECONDS, free_port, listening

PROGRAM = Path(sys.executable).with_name("chroma")


class Chroma:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--path", self.folder, "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen([PROGRAM, "run", *options], stdout=subprocess.DEVNULL, start_new_session=True)
        began = time.monotonic()
        while not listening(self.port):
            assert self.process.poll() is None, "Chroma has ended by itself"
            assert time.monotonic() - began < READY_SECONDS
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


@contextmanager
def running() -> Iterator[Chroma]:
    with tempfile.TemporaryDirectory(prefix="llamastack-chroma-") as folder:
        chroma = Chroma(Path(folder))
        try:
            chroma.start()
            yield chroma
        finally:
            chroma.kill()
