"""Vectors in milvus-lite: a Milvus in this process, whose data is a folder.

pymilvus speaks gRPC with it as with a server. milvus-lite would listen on a port, where everyone on this machine may
read and write without a password; here it listens on a socket in a folder that is this user's alone.
"""

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from apps.vector_io.providers.in_milvus.client import connected, pymilvus
from apps.vector_io.providers.in_milvus.provider import StoresInMilvus
from apps.vector_io.providers.in_milvus.stores import Locks, Stores
from llamastack.errors import DiskFull, StackError, UpstreamError
from llamastack.home import home
from llamastack.providers import Health, ProviderConfig, ProviderUnavailable

SERVING = 12  # threads
# Of each collection, in its log alone: a search reads these one by one, and takes twenty times as long for each.
UNSORTED_BYTES = 1 << 20
SECONDS = 120.0  # for an answer: a large insertion is indexed before it is answered
CLOSING_SECONDS = 5.0
FULL_BYTES = 4 << 20
NO_LIMIT = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class MilvusLiteConfig(ProviderConfig):
    db_path: str | None = Field(
        None,
        description="The folder, made where it is missing. By default one of the provider's name, under `vector_io` "
        "in LLAMA_STACK_HOME.",
    )
    consistency_level: Literal["Strong", "Bounded", "Session", "Eventually"] = Field(
        "Strong", description="Here all are the same: what was inserted is found at once."
    )
    persistence: dict[str, Any] | None = Field(
        None, description="Where Llama Stack keeps what it knows of a store. Here that is the folder."
    )

    @property
    def of_the_server(self) -> Mapping[str, Any]:
        return {"db_path": self.db_path or ""}

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"db_path": "~/.llama/vector_io/milvus.db"}


def milvus_lite() -> Any:
    """The package, which reads its settings where it is first imported."""
    os.environ.setdefault("MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES", str(UNSORTED_BYTES))
    pymilvus()
    import milvus_lite

    return milvus_lite


class Engine:
    """A folder's milvus-lite, with its socket."""

    def __init__(self, folder: Path) -> None:
        package = milvus_lite()
        import grpc
        from milvus_lite.adapter.grpc.servicer import MilvusServicer
        from pymilvus.grpc_gen.milvus_pb2_grpc import add_MilvusServiceServicer_to_server

        self.database = package.MilvusLite(str(folder))
        _tidied(folder)
        self.locks = Locks()
        self.users = 0
        self._room = _room(folder)
        self.address = f"unix:{self._room}/socket"
        self._threads = ThreadPoolExecutor(SERVING, thread_name_prefix="milvus-lite")
        self._server = grpc.server(self._threads, options=NO_LIMIT)
        add_MilvusServiceServicer_to_server(MilvusServicer(self.database), self._server)
        self._server.add_insecure_port(self.address)
        self._server.start()

    def close(self) -> None:
        self._server.stop(CLOSING_SECONDS).wait()
        self._threads.shutdown()
        self.database.close()
        shutil.rmtree(self._room, ignore_errors=True)


def _room(folder: Path) -> str:
    """A place for the socket, whose path may have 100 characters, of mode 0700. What a server that was killed has left
    is removed: nobody else has the folder open."""
    known = folder.stat()
    prefix = f"milvus-{known.st_dev:x}-{known.st_ino:x}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    return tempfile.mkdtemp(prefix=prefix)


@dataclass
class Engines:
    """Those that run in this process: a folder is opened once, and while a provider is replaced it has two users."""

    running: dict[Path, Engine] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def taken(self, folder: Path) -> Engine:
        with self.lock:
            if folder not in self.running:
                self.running[folder] = Engine(folder)
            self.running[folder].users += 1
            return self.running[folder]

    def given_back(self, folder: Path) -> None:
        with self.lock:
            engine = self.running[folder]
            engine.users -= 1
            if not engine.users:
                self.running.pop(folder).close()


ENGINES = Engines()


class MilvusLite(StoresInMilvus):
    config_class = MilvusLiteConfig

    def __init__(self, provider_id: str, config: MilvusLiteConfig) -> None:
        super().__init__(provider_id, config)
        folder = Path(config.db_path).expanduser() if config.db_path else home() / "vector_io" / provider_id
        self.folder = folder.absolute()

    def opened(self) -> Stores:
        locked = milvus_lite().exceptions.DataDirLockedError
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            engine = ENGINES.taken(self.folder)
        except locked as error:
            raise ProviderUnavailable(
                f"Another process has {self.folder} open: milvus-lite serves one. Use remote::milvus for several."
            ) from error
        except FileExistsError as error:
            raise ProviderUnavailable(
                f"{self.folder} is no folder. Files of older versions of milvus-lite are not read: name another path."
            ) from error
        except OSError as error:
            raise ProviderUnavailable(f"The folder {self.folder} cannot be used: {error.strerror}.") from error
        try:
            return Stores(connected(engine.address, SECONDS), "Strong", "FLAT", SECONDS, engine.locks)
        except BaseException:
            ENGINES.given_back(self.folder)
            raise

    def closed(self, stores: Stores) -> None:
        super().closed(stores)
        ENGINES.given_back(self.folder)

    def meant(self, error: UpstreamError) -> StackError:
        """milvus-lite tells no error of the disk as such."""
        if shutil.disk_usage(self.folder).free > FULL_BYTES:
            return error
        return DiskFull("There is no room for these chunks on the server's disk.")

    async def health(self) -> Health:
        usable = await asyncio.to_thread(os.access, self.folder, os.R_OK | os.W_OK | os.X_OK)
        return Health(usable, "" if usable else f"The folder {self.folder} cannot be used.")


def _tidied(folder: Path) -> None:
    """Without collections whose making or dropping a crash has cut off: milvus-lite could not make them again."""
    for collection in (folder / "collections").iterdir():
        if not (collection / "schema.json").exists():
            shutil.rmtree(collection, ignore_errors=True)
