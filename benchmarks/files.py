"""What a large upload and its download cost the server's memory.

    python -m benchmarks.files [--megabytes 1024]

A file of random bytes is sent to the real server as it is made, read back, and compared by its hash: kept in a folder,
and in a bucket on the loopback. The kernel tells the most memory that the process has had since it was asked to forget
(VmHWM, after a small file has gone the same way); PSS is looked at ten times a second besides.
"""

import argparse
import asyncio
import hashlib
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks._bucket import bucket
from benchmarks._load import pss_megabytes
from tests.servers import serving

MIB = 1024 * 1024
MOST_MEGABYTES = 32
WARM = MIB  # which is sent first: what is loaded once is no part of what a file takes
PIECE = 64 * 1024
LOCAL = "{provider_id: local, provider_type: inline::localfs, config: {}}"
S3 = """{{provider_id: s3, provider_type: remote::s3, config: {{bucket_name: kept, endpoint_url: "{url}",
    aws_access_key_id: AKID, aws_secret_access_key: secret}}}}"""
RUN = """
version: 2
image_name: files
apis: [files]
providers:
  files:
  - {provider}
"""


@dataclass
class Memory:
    """Of a process, in MB: what it had before, and by how much it has grown since, at most."""

    pid: int
    before: float = 0.0
    pss_before: float = 0.0
    pss: float = 0.0

    def begin(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # forget the peak
        self.before, self.pss_before = self._status("VmRSS"), pss_megabytes(self.pid)
        self.pss = self.pss_before

    @property
    def grown(self) -> tuple[float, float]:
        """By RSS and by PSS."""
        return self._status("VmHWM") - self.before, self.pss - self.pss_before

    async def watch(self) -> None:
        while True:
            self.pss = max(self.pss, await asyncio.to_thread(pss_megabytes, self.pid))
            await asyncio.sleep(0.1)

    def _status(self, name: str) -> float:
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[0]) / 1024


class Content:
    """Random bytes of a size, made as they are read, and their hash."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.sum = hashlib.sha256()
        self._block = os.urandom(PIECE)

    async def pieces(self) -> AsyncIterator[bytes]:
        for number in range(self.size // PIECE):
            piece = number.to_bytes(8, "big") + self._block[8:]
            self.sum.update(piece)
            yield piece


async def uploaded(http: aiohttp.ClientSession, content: Content) -> str:
    with aiohttp.MultipartWriter("form-data") as form:
        form.append("user_data").set_content_disposition("form-data", name="purpose")
        file = form.append(content.pieces())
        file.set_content_disposition("form-data", name="file", filename="large")
        async with http.post("/v1/files", data=form) as answer:
            assert answer.status == 200, await answer.text()
            return str((await answer.json())["id"])


async def downloaded(http: aiohttp.ClientSession, file_id: str) -> Any:
    found = hashlib.sha256()
    async with http.get(f"/v1/files/{file_id}/content") as answer:
        assert answer.status == 200, await answer.text()
        async for piece in answer.content.iter_any():
            found.update(piece)
    return found


async def once(http: aiohttp.ClientSession, size: int, memory: Memory) -> list[tuple[str, float, float, float]]:
    """Each way: its name, its seconds, and by how much memory grew."""
    content, found = Content(size), []
    for name in ("upload", "download"):
        memory.begin()
        watching, begun = asyncio.create_task(memory.watch()), time.perf_counter()
        if name == "upload":
            file_id = await uploaded(http, content)
        else:
            same = (await downloaded(http, file_id)).digest() == content.sum.digest()
            assert same, "The bytes that came back are others."
        found.append((name, time.perf_counter() - begun, *memory.grown))
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    async with http.delete(f"/v1/files/{file_id}") as answer:
        assert answer.status == 200
    return found


async def measured(provider: str, folder: Path, size: int) -> list[tuple[str, float, float, float]]:
    config = folder / "run.yaml"
    config.write_text(RUN.format(provider=provider))
    running = serving(config, home=folder, env={"LLAMA_STACK_MAX_FILE_BYTES": str(2 * size + WARM)})
    server = await asyncio.to_thread(running.__enter__)
    try:
        memory = Memory(server.process.pid)
        async with aiohttp.ClientSession(server.url, timeout=aiohttp.ClientTimeout(None)) as http:
            await once(http, WARM, memory)
            return await once(http, size, memory)
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


async def compared(size: int) -> bool:
    good = True
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        for name in ("objects", "local", "s3"):
            (Path(folder) / name).mkdir()
        async with bucket(Path(folder) / "objects") as (_, url):
            for name, provider in (("local", LOCAL), ("s3", S3.format(url=url))):
                for way, seconds, rss, pss in await measured(provider, Path(folder) / name, size):
                    good &= max(rss, pss) <= MOST_MEGABYTES
                    rate = size / MIB / seconds
                    print(f"{name:6} {way:9} {seconds:6.1f} s  {rate:5.0f} MB/s  RSS +{rss:.1f} MB  PSS +{pss:.1f} MB")
    return good


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1024)
    options = parser.parse_args()
    print(f"cores={os.cpu_count()} python={sys.version.split()[0]} {options.megabytes} MB, limit +{MOST_MEGABYTES} MB")
    return 0 if asyncio.run(compared(options.megabytes * MIB)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
