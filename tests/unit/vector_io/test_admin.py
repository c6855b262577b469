"""A store's page tells its files and searches in each mode; a file's page shows its chunks."""

import re
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import Permission

from apps.access.models import User
from apps.files.models import File
from apps.jobs.shown import page_of as file_page
from apps.registry.models import VectorStore
from apps.vector_io.models import VectorStoreFile
from llamastack import settings
from llamastack.db import db
from llamastack.errors import Unavailable
from tests.unit.conftest import session_of
from tests.unit.pages import Browser, Forms
from tests.unit.vector_io.conftest import URL, Shelf


async def page_of(store: str) -> str:
    row = await db(VectorStore.objects.get, identifier=store)
    return f"/admin/registry/vectorstore/{row.pk}/change/"


async def test_a_stores_page_tells_its_files_and_why_one_has_failed(shelf: Shelf, browser: Browser) -> None:
    store = await shelf.store(name="facts")
    await shelf.attach(store, "The sky is blue.", "sky.txt")
    await shelf.attach(store, " ", "blank<b>.txt")
    page = (await browser.open(await page_of(store))).text
    for told in ("sky.txt", "blank&lt;b&gt;.txt", "is empty", "counts (64)", "2 files", "1 completed", "1 failed"):
        assert told in page
    assert "512.0\xa0MB each" in page
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


class Page:
    """A store's page as its script uses it."""

    def __init__(self, browser: Browser, path: str, token: str) -> None:
        self.http = browser.http
        self.path = path.removesuffix("change/")
        self.headers = {"X-CSRFToken": token, "Accept": "application/json"}

    async def upload(self, name: str, content: bytes) -> httpx.Response:
        form: Any = {"files": {"file": (name, content)}, "data": {"purpose": "assistants"}}
        return await self.http.post(f"{self.path}upload/", headers=self.headers, **form)

    async def press(self, button: str, **fields: Any) -> httpx.Response:
        return await self.http.post(f"{self.path}{button}/", headers=self.headers, data=fields)

    async def files(self, state: str = "") -> str:
        return (await self.http.get(f"{self.path}files/", params={"files": state})).text


async def opened(browser: Browser, store: str) -> Page:
    path = await page_of(store)
    forms = Forms((await browser.open(path)).text)
    return Page(browser, path, forms.having("csrfmiddlewaretoken")["csrfmiddlewaretoken"])


async def test_files_are_uploaded_attached_tried_again_and_detached_on_the_page(shelf: Shelf, browser: Browser) -> None:
    store = await shelf.store()
    page = await opened(browser, store)
    sent = [await page.upload("sky.txt", b"The sky is blue."), await page.upload("blank.txt", b" ")]
    assert [answer.status_code for answer in sent] == [200, 200]
    sky, blank = (answer.json()["id"] for answer in sent)
    assert sent[0].json()["filename"] == "sky.txt"
    attached = await page.press("attach", file_id=[sky, blank])
    assert attached.json() == {"message": "2 files are being read."}
    for file_id in (sky, blank):
        await shelf.ended(store, file_id)
    listed = await page.files("failed")
    assert "blank.txt" in listed
    assert "is empty" in listed
    assert "sky.txt" not in listed
    before = await db(VectorStoreFile.objects.get, file_id=blank)
    assert (await page.press("again", all="1")).json() == {"message": "The file is being read."}
    await shelf.ended(store, blank)
    assert (await db(VectorStoreFile.objects.get, file_id=blank)).pk != before.pk
    assert (await page.press("detach", file_id=blank)).status_code == 200
    assert "blank.txt" not in await page.files()
    assert (await db(File.objects.get, pk=sky)).owner == "ada"


async def test_what_is_under_way_is_told_in_all_and_of_each_file(shelf: Shelf, browser: Browser) -> None:
    store = await shelf.store()
    page = await opened(browser, store)
    shelf.words.held.clear()
    file_id = (await page.upload("sky.txt", b"The sky is blue.")).json()["id"]
    await page.press("attach", file_id=file_id)
    listed = await page.files()
    assert "0 of 1 files are read" in listed
    assert "in progress" in listed
    shelf.words.held.set()
    await shelf.ended(store, file_id)
    assert "files are read" not in await page.files()


async def test_what_a_button_cannot_do_is_told(shelf: Shelf, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await shelf.store()
    page = await opened(browser, store)
    for button, fields, status, said in (
        ("attach", {"file_id": "file-none"}, 404, "There is no file"),
        ("attach", {"file_id": " "}, 400, "Choose a file"),
        ("attach", {"file_id": "x" * 300}, 400, "file_ids"),
        ("detach", {"file_id": "file-none"}, 404, "There is no file"),
        ("again", {"all": "1"}, 400, "No file that has failed"),
    ):
        answer = await page.press(button, **fields)
        assert (answer.status_code, said in answer.json()["error"]["message"]) == (status, True), answer.text
    assert (await page.upload("empty.txt", b"")).json()["error"]["code"] == "empty_file"
    monkeypatch.setattr(settings, "MAX_BODY_BYTES", 1000)  # of other requests
    assert (await page.upload("large.txt", b"x" * 2000)).status_code == 200
    monkeypatch.setattr(settings, "MAX_FILE_BYTES", 1000)
    assert (await page.upload("larger.txt", b"x" * 2000)).status_code == 413
    assert await db(lambda: [file.filename for file in File.objects.filter(uploaded=True)]) == ["large.txt"]
    del page.headers["Accept"]  # as a browser without scripts
    shown = await page.http.post(
        f"{page.path}attach/", headers=page.headers, data={"file_id": "file-none"}, follow_redirects=True
    )
    assert "There is no file" in shown.text


async def test_the_buttons_want_the_pages_token_and_the_right_to_change_the_store(
    shelf: Shelf, browser: Browser
) -> None:
    store = await shelf.store()
    page = await opened(browser, store)
    token = page.headers.pop("X-CSRFToken")
    assert (await page.upload("sky.txt", b"The sky is blue.")).status_code == 403
    page.headers["X-CSRFToken"] = token
    ben = await db(User.objects.create, username="ben", is_staff=True)
    rights = ["view_vectorstore", "change_vectorstore", "view_file"]
    browser.http.cookies.set(settings.SESSION_COOKIE_NAME, await db(session_of, ben))
    for may, statuses in ((1, [403, 403, 200]), (2, [403, 403, 200]), (3, [403, 404, 200])):
        granted = Permission.objects.filter(codename__in=rights[:may])
        await db(lambda granted=granted: ben.user_permissions.set(granted))
        told = [
            await page.upload("sky.txt", b"text"),
            await page.press("attach", file_id="file-none"),
            await page.http.get(f"{page.path}files/"),
        ]
        assert [answer.status_code for answer in told] == statuses
        assert "Upload files" not in (await browser.open(f"{page.path}change/")).text
    assert await db(File.objects.count) == 0


async def test_a_search_links_to_the_files_page_which_shows_its_chunks_in_pages(shelf: Shelf, browser: Browser) -> None:
    store = await shelf.store()
    words = " ".join(f"word{number}" for number in range(25_000))
    strategy = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}
    await shelf.attach(store, words, "words.txt", chunking_strategy=strategy)
    row = await db(VectorStoreFile.objects.get)
    path = file_page(row)
    assert (await browser.open(f"{await page_of(store)}?query=word7")).text.count(f'href="{path}"') > 1
    page = (await browser.open(path)).text
    assert "250 chunks" in page
    assert 'href="?from=201"' in page
    assert "Chunk 201," not in page
    page = (await browser.open(f"{path}?from=201")).text
    assert "Chunk 250," in page
    assert 'href="?from=1"' in page
    assert (await shelf.get(f"{URL}/{store}"))["status"] == "completed"
