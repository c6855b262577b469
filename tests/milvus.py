"""milvus-lite's own server in a process of its own: it speaks Milvus' protocol, and knows no tokens."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import POLL_SECONDS, READY_SECONDS, Server, environment, free_port, listening, starting


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[Server]:
    """On what is in `folder`. Its exit code is nothing to go by: it knows SIGINT alone."""
    port = port or free_port()
    told = ["server", "--data-dir", str(folder / "data"), "--host", "127.0.0.1", "--port", str(port)]
    limit = str(1 << 20)  # as docs/vector-stores.md advises
    env = environment(folder / "home", PYTHON_DOTENV_DISABLED="1", MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES=limit)
    with starting([sys.executable, "-m", "milvus_lite", *told], env, port) as server:
        deadline = time.monotonic() + READY_SECONDS
        while not listening(port):
            assert server.process.poll() is None, server.output
            assert time.monotonic() < deadline, server.output
            time.sleep(POLL_SECONDS)
        yield server
