"""Providers that outlive a test, since their process takes a second to start."""

from collections.abc import AsyncIterator

import pytest_asyncio

from apps.file_processors.protocol import Document, Parsed
from apps.file_processors.providers.inline.auto import Auto, AutoConfig
from apps.file_processors.providers.inline.markitdown import Markitdown, MarkitdownConfig
from apps.file_processors.providers.inline.pypdf import Pypdf, PypdfConfig
from apps.file_processors.providers.inline.reading import Reader
from llamastack.call import ANONYMOUS_ADMIN, Call


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def auto() -> AsyncIterator[Auto]:
    provider = Auto("auto", AutoConfig())
    yield provider
    await provider.stop()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pypdf() -> AsyncIterator[Pypdf]:
    provider = Pypdf("pypdf", PypdfConfig(max_pages=3))
    yield provider
    await provider.stop()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def markitdown() -> AsyncIterator[Markitdown]:
    provider = Markitdown("markitdown", MarkitdownConfig())
    yield provider
    await provider.stop()


async def parsed(provider: Reader, name: str, content: bytes, said: str | None = None) -> Parsed:
    return await provider.parse(Call(ANONYMOUS_ADMIN), Document(name, content, said))
