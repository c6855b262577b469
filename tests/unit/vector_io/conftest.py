"""Vector stores of the stack in this process, over a fake index and a fake embedding model."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.registry import service
from apps.registry.models import Model, Provider
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.files.conftest import add_files
from tests.unit.vector_io.fakes import DIMENSION, HERE, Memory, Words

URL = "/v1/vector_stores"
WAITS_SECONDS = 60


@dataclass
class Shelf:
    """The stack with its two fakes, and what a client does with it."""

    stack: LlamaStack
    http: httpx.AsyncClient
    index: Memory
    words: Words

    async def post(self, path: str, status: int = 200, **body: Any) -> Any:
        response = await self.http.post(path, json=body)
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    async def get(self, path: str, status: int = 200, **query: Any) -> Any:
        response = await self.http.get(path, params=query)
        assert response.status_code == status, response.text
        return response.json()

    async def delete(self, path: str, status: int = 200) -> Any:
        response = await self.http.delete(path)
        assert response.status_code == status, response.text
        return response.json()

    async def error(self, path: str, status: int, **body: Any) -> Any:
        return (await self.post(path, status, **body))["error"]

    async def store(self, **body: Any) -> str:
        return str((await self.post(URL, **body))["id"])

    async def upload(self, text: str | bytes, name: str = "text.txt") -> str:
        content = text.encode() if isinstance(text, str) else text
        response = await self.http.post("/v1/files", files={"file": (name, content)}, data={"purpose": "assistants"})
        assert response.status_code == 200, response.text
        return str(response.json()["id"])

    async def attach(self, store: str, text: str | bytes, name: str = "text.txt", **body: Any) -> str:
        """The id of a file that has been read."""
        file_id = await self.upload(text, name)
        await self.post(f"{URL}/{store}/files", file_id=file_id, **body)
        await self.ended(store, file_id)
        return file_id

    async def ended(self, store: str, file_id: str) -> Any:
        return await self.until(f"{URL}/{store}/files/{file_id}", lambda file: file["status"] != "in_progress")

    async def until(self, path: str, reached: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(WAITS_SECONDS):
            while not reached(found := await self.get(path)):
                await asyncio.sleep(0.02)
            return found

    async def search(self, store: str, query: Any, **body: Any) -> list[Any]:
        found: list[Any] = (await self.post(f"{URL}/{store}/search", query=query, **body))["data"]
        return found

    @property
    def chunks(self) -> list[Any]:
        return [chunk for _, chunks in self.index.stores.values() for chunk in chunks.values()]


def add_fakes(folder: Path) -> dict[str, int]:
    add_files(folder)
    keys = {}
    for identifier, kind, api in (("memory", "inline::memory", "vector_io"), ("words", "inline::words", "inference")):
        row = Provider(identifier=identifier, provider_type=kind, api=api, module=HERE)
        keys[identifier] = service.edit_provider(row, {}, enabled=True).pk
    add_model("counts", "embedding", metadata={"embedding_dimension": DIMENSION})
    return keys


def add_model(identifier: str, model_type: str, **fields: Any) -> None:
    placed = {"provider_id": "words", "provider_model_id": identifier, "model_type": model_type}
    service.edit_model(Model(identifier=identifier), placed | fields)


@pytest.fixture
async def shelf(running: LlamaStack, client: httpx.AsyncClient, tmp_path: Path) -> Shelf:
    keys = await db(add_fakes, tmp_path / "files")
    await running.live.refresh()
    found: dict[str, Any] = {}
    for name, key in keys.items():
        async with running.live.pool.use(running.live.snapshot.providers[key]) as provider:
            found[name] = provider
    return Shelf(running, client, found["memory"], found["words"])
