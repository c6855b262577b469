"""A provider that serves no model and watches the loop of its server: benchmarks/registry.py puts it into a run.yaml.

Whoever connects to its port is told, as a line of JSON, what has been since somebody connected before.
"""

import asyncio
import gc
import json
import time
from typing import Any

from apps.registry.schemas import ProviderModel
from llamastack.call import Call
from llamastack.providers import Provider, ProviderConfig, ProviderSpec

PROVIDERS = {"inline::watch": ProviderSpec(f"{__name__}.Watch")}
TICK_SECONDS = 0.001


class WatchConfig(ProviderConfig):
    port: int


class Watch(Provider):
    """`stall` is the longest that a task which sleeps a millisecond slept longer; `own` the most that this process, all
    its threads, had of the processor meanwhile (the rest went to others); `collection` is the longest of gc's."""

    config_class = WatchConfig

    async def start(self) -> None:
        self.reset()
        gc.callbacks.append(self.collected)
        self.ticking = asyncio.create_task(self.tick())
        self.server = await asyncio.start_server(self.tell, "127.0.0.1", self.config.port)

    async def stop(self) -> None:
        gc.callbacks.remove(self.collected)
        self.ticking.cancel()
        self.server.close()

    def reset(self) -> None:
        self.stall = self.own = self.collection = 0.0
        self.late = 0
        self.collections = [0, 0, 0]

    async def tick(self) -> None:
        before, used_before = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now, used = time.perf_counter(), time.process_time()
            late = now - before - TICK_SECONDS
            self.stall = max(self.stall, late)
            self.own = max(self.own, min(late, used - used_before))
            self.late += late > 5 * TICK_SECONDS
            before, used_before = now, used

    def collected(self, phase: str, info: Any) -> None:
        now = time.perf_counter()
        if phase == "start":
            self.began = now
        else:
            self.collection = max(self.collection, now - self.began)
            self.collections[info["generation"]] += 1

    async def tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told = {
            "stall": 1000 * self.stall,
            "own": 1000 * self.own,
            "late": self.late,
            "collection": 1000 * self.collection,
            "collections": self.collections,
        }
        writer.write(json.dumps(told).encode() + b"\n")
        await writer.drain()
        writer.close()
        self.reset()

    async def get_models(self, call: Call) -> list[ProviderModel]:
        return []
