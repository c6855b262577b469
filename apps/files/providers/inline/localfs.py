"""Files in a folder of this machine."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from apps.files.protocol import Kept, NewFile
from apps.files.providers.disk import FULL, WRITE_BYTES, gathered
from llamastack.errors import DiskFull, Unavailable
from llamastack.home import home
from llamastack.providers import Health, Provider, ProviderConfig, ProviderUnavailable

READ_BYTES = 256 * 1024
ONLY_OURS = 0o600
PART = ".part"
LEFT_SECONDS = 3600


class LocalFilesConfig(ProviderConfig):
    storage_dir: str | None = Field(
        None,
        description="The folder, made where it is missing. By default `files` in LLAMA_STACK_HOME.",
    )
    metadata_store: dict[str, Any] | None = Field(
        None, description="Where Llama Stack keeps what it knows of a file. Here that is the one database."
    )
    ttl_secs: int | None = Field(
        None, ge=1, description="After how many seconds a file expires that nobody gave a time. Else it is kept."
    )

    @property
    def of_the_server(self) -> Mapping[str, Any]:
        return {"storage_dir": self.storage_dir or ""}

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"storage_dir": "~/.llama/files"}


class LocalFiles(Provider):
    """Keeps files in a folder, under names that it makes itself."""

    config_class = LocalFilesConfig

    def __init__(self, provider_id: str, config: LocalFilesConfig) -> None:
        super().__init__(provider_id, config)
        self.folder = Path(config.storage_dir).expanduser().absolute() if config.storage_dir else home() / "files"

    @property
    def lifetime_seconds(self) -> int | None:
        lifetime: int | None = self.config.ttl_secs
        return lifetime

    async def start(self) -> None:
        try:
            await asyncio.to_thread(self.folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ProviderUnavailable(f"The folder {self.folder} cannot be made: {error.strerror}.") from error

    async def health(self) -> Health:
        usable = await asyncio.to_thread(os.access, self.folder, os.R_OK | os.W_OK | os.X_OK)
        return Health(usable, "" if usable else f"The folder {self.folder} cannot be used.")

    async def write(self, file_id: str, new: NewFile) -> Kept:
        writing = Writing(self.folder / file_id)
        try:
            await asyncio.to_thread(writing.open)
            async for pieces in gathered(new.content, WRITE_BYTES):
                await asyncio.to_thread(writing.add, pieces)
            await asyncio.to_thread(writing.finish)
        except OSError as error:
            await asyncio.to_thread(writing.discard)
            if error.errno in FULL:
                raise DiskFull("There is no room for this file on the server's disk.") from error
            raise Unavailable(f"The server's folder of files cannot be used: {error.strerror}.") from error
        except BaseException:  # the client has gone, or what it sends is wrong
            await asyncio.to_thread(writing.discard)
            raise
        return Kept(writing.bytes, file_id)

    async def read(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread(opened, self.folder / name)
        except OSError as error:
            raise Unavailable(f"The content of this file cannot be read: {error.strerror}.") from error
        try:
            while start < end:
                data = await asyncio.to_thread(os.pread, file, min(READ_BYTES, end - start), start)
                if not data:
                    raise Unavailable("The content of this file is shorter than it was.")
                start += len(data)
                yield data
        finally:
            os.close(file)

    async def delete(self, name: str) -> None:
        await asyncio.to_thread(removed, self.folder / name)

    async def sweep(self) -> None:
        await asyncio.to_thread(swept, self.folder)


class Writing:
    """A file that is written under another name until it is whole. What is done to it is done in threads, of which one
    may still be under way when whoever waited for it has been cancelled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self._file = -1
        self._ended = False
        self._lock = threading.Lock()

    def open(self) -> None:
        with self._lock:
            if not self._ended:
                self._file = os.open(part(self.path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, ONLY_OURS)

    def add(self, pieces: list[bytes]) -> None:
        with self._lock:
            if not self._ended:
                for piece in pieces:
                    self._write(memoryview(piece))

    def _write(self, data: memoryview) -> None:
        self.bytes += len(data)
        while data:
            data = data[os.write(self._file, data) :]

    def finish(self) -> None:
        """On the disk, and under its own name, whatever happens from now on."""
        with self._lock:
            if not self._ended:
                os.fsync(self._file)
                self._close()
                part(self.path).rename(self.path)
                synced(self.path.parent)

    def discard(self) -> None:
        with self._lock:
            if not self._ended:
                self._close()
            removed(self.path)

    def _close(self) -> None:
        self._ended = True
        if self._file >= 0:
            os.close(self._file)


def part(path: Path) -> Path:
    return path.with_name(f"{path.name}{PART}")


def swept(folder: Path) -> None:
    """Parts of files that nothing has been added to for an hour."""
    long_ago = time.time() - LEFT_SECONDS
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(PART) and entry.stat(follow_symlinks=False).st_mtime < long_ago:
                Path(entry.path).unlink(missing_ok=True)


def opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)


def removed(path: Path) -> None:
    path.unlink(missing_ok=True)
    part(path).unlink(missing_ok=True)


def synced(folder: Path) -> None:
    """A new name in a folder outlives a crash once the folder has been synced."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
