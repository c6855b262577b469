"""A store's page tells its files and searches in each mode; a file's page shows its chunks."""

import re

from apps.registry.models import VectorStore
from apps.vector_io.models import VectorStoreFile
from llamastack.db import db
from llamastack.errors import Unavailable
from tests.unit.pages import Browser
from tests.unit.vector_io.conftest import Shelf


async def page_of(store: str) -> str:
    row = await db(VectorStore.objects.get, identifier=store)
    return f"/admin/registry/vectorstore/{row.pk}/change/"


async def test_a_stores_page_tells_its_files_and_why_one_has_failed(shelf: Shelf, browser: Browser) -> None:
    store = await shelf.store(name="facts")
    await shelf.attach(store, "The sky is blue.", "sky.txt")
    await shelf.attach(store, " ", "blank<b>.txt")
    page = (await browser.open(await page_of(store))).text
    for told in ("sky.txt", "blank&lt;b&gt;.txt", "is empty", "counts (64)", "1 completed", "1 failed", "data-job="):
        assert told in page
    assert 'name="_save"' not in page


async def test_it_searches_in_each_mode_side_by_side(shelf: Shelf, browser: Browser) -> None:
    store = await shelf.store()
    await shelf.attach(store, "The <i>sky</i> is blue.", "sky.txt")
    path = await page_of(store)
    page = (await browser.open(f"{path}?query=sky+is+blue")).text
    assert re.findall(r'data-mode="(\w+)"', page) == ["vector", "keyword", "hybrid"]
    assert page.count("The &lt;i&gt;sky&lt;/i&gt; is blue.") == 3
    shelf.index.failing = Unavailable("The index is gone.")
    assert (await browser.open(f"{path}?query=sky")).text.count("The index is gone.") == 3


async def test_a_files_page_shows_its_chunks(shelf: Shelf, browser: Browser) -> None:
    store = await shelf.store()
    await shelf.attach(store, "The sky is blue.", "sky.txt")
    row = await db(VectorStoreFile.objects.get)
    page = (await browser.open(f"/admin/vector_io/vectorstorefile/{row.pk}/change/")).text
    assert "The sky is blue." in page
    assert "4 tokens" in page
    listed = (await browser.open("/admin/vector_io/vectorstorefile/")).text
    assert "sky.txt" in listed
    assert store in (await browser.open("/admin/registry/vectorstore/")).text
