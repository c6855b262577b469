"""Images at addresses: fetched within limits, for local models that see, and never from where no caller may look."""

import asyncio
import socket
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from apps.inference.providers.inline.meta_reference import MetaReference
from apps.inference.providers.inline.meta_reference.config import MetaReferenceConfig
from apps.inference.providers.inline.meta_reference.fetching import AT_ONCE, REQUESTS, WAITING, Fetching
from apps.inference.providers.inline.meta_reference.images import MAX_BYTES, places
from apps.inference.schemas import ChatCompletion, ChatCompletionRequest, Message
from llamastack import stack
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.db import db
from llamastack.egress.addresses import Allowed
from llamastack.egress.fetch import Fetcher
from llamastack.errors import BadRequest, RateLimited, UnsupportedParameter
from tests.unit.conftest import add_provider
from tests.unit.core.egress.internet import Internet, internet
from tests.unit.core.egress.vectors import PLAIN, VECTORS, quoted
from tests.unit.inference.seeing import image_part, picture, save, url

CALL = Call(ANONYMOUS_ADMIN)
HOST = "http://public.example"


def file(image: Image.Image, form: str = "png", **options: Any) -> bytes:
    held = BytesIO()
    image.save(held, form, **options)
    return held.getvalue()


ONE, TWO = picture(1), picture(2, 90, 50)
FILES = {
    "/one.png": ("image/png", file(ONE)),
    "/two.png": ("image/png", file(TWO)),
    "/says-jpeg.jpg": ("image/jpeg", file(ONE, "webp", lossless=True)),
    "/says-nothing": ("application/octet-stream", file(ONE)),
    "/page": ("text/html; charset=utf-8", b"<html>"),
    "/damaged.png": ("image/png", file(ONE)[:-300]),
    "/fax.png": ("image/png", file(ONE, "tiff")),
}


@pytest.fixture
async def net() -> AsyncIterator[Internet]:
    async with internet() as running:
        running.files = FILES
        yield running


def fetching(net: Internet, allowed: Allowed | None = None) -> Fetching:
    return Fetching(Fetcher(allowed or Allowed(), net.lookup, net.open_socket))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llava", tmp_path_factory.mktemp("llava"))


@pytest.fixture
async def provider(folder: Path, net: Internet) -> AsyncIterator[MetaReference]:
    running = MetaReference("local", MetaReferenceConfig(model=str(folder), dtype="float32", device="cpu"))
    running.fetching = fetching(net)
    yield running
    await running.stop()


def asking(provider: MetaReference, *addresses: str, **fields: Any) -> ChatCompletionRequest:
    turns = [{"role": fields.pop("role", "user"), "content": [image_part(address) for address in addresses]}]
    base = {"model": provider.config.model, "messages": turns, "temperature": 0, "max_tokens": 6}
    return ChatCompletionRequest.model_validate(base | fields)


async def said(provider: MetaReference, *addresses: str) -> str | None:
    reply = await provider.post_chat_completion(CALL, asking(provider, *addresses))
    assert isinstance(reply, ChatCompletion)
    content = reply.choices[0].message.content
    assert isinstance(content, str)
    return content


async def test_an_image_at_an_address_is_seen_as_one_that_is_sent(provider: MetaReference, net: Internet) -> None:
    sent = await said(provider, url(ONE), url(TWO), url(ONE))
    assert await said(provider, f"{HOST}/one.png", url(TWO), f"{HOST}/one.png") == sent
    assert len(net.requests) == 1
    assert await said(provider, f"{HOST}/one.png", f"{HOST}/two.png", f"{HOST}/one.png#x") == sent
    assert await said(provider, f"{HOST}/?status=302&to=/one.png", f"{HOST}/two.png", f"{HOST}/one.png") == sent


@pytest.mark.parametrize("path", ["/says-jpeg.jpg", "/says-nothing"])
async def test_what_the_server_says_of_the_type_is_not_believed(provider: MetaReference, path: str) -> None:
    assert await said(provider, f"{HOST}{path}") == await said(provider, url(ONE))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (f"{HOST}/page", "leads to 'text/html', which is none of image/png"),
        (f"{HOST}/damaged.png", "cannot be read as image/png"),
        (f"{HOST}/fax.png", "cannot be read as image/png"),
        (f"{HOST}/?status=404", "was answered 404"),
        (f"{HOST}/?size={MAX_BYTES + 1}", f"more than {MAX_BYTES} bytes"),
        ("http://127.0.0.1/one.png", "no public address"),
        (f"{HOST}/?status=302&to=http://127.0.0.1/", "no public address"),
        ("http://nowhere.example/one.png", "no public address"),
        ("ftp://public.example/one.png", "does not begin with http"),
        ("one.png", "An image comes as"),
    ],
)
async def test_an_address_that_holds_no_image_is_a_400_that_names_its_part(
    provider: MetaReference, net: Internet, address: str, words: str
) -> None:
    with pytest.raises(BadRequest, match=words) as refused:
        await said(provider, url(ONE), address)
    assert refused.value.param == "messages[0].content[1].image_url.url"
    assert net.hits == 0


async def test_nothing_is_fetched_for_a_request_that_is_refused_anyway(provider: MetaReference, net: Internet) -> None:
    for addresses, role in (
        ([f"{HOST}/{number}" for number in range(11)], "user"),
        ([f"{HOST}/one.png"], "assistant"),
        ([f"{HOST}/one.png", "http://127.1/"], "user"),
        ([f"{HOST}/one.png", "one.png"], "user"),
    ):
        with pytest.raises(BadRequest):
            await provider.post_chat_completion(CALL, asking(provider, *addresses, role=role))
    assert net.requests == []


async def test_nothing_is_fetched_for_a_model_that_does_not_see(net: Internet, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model.safetensors").write_bytes(b"not read")
    blind = MetaReference("local", MetaReferenceConfig(model=str(tmp_path)))
    blind.fetching = fetching(net)
    with pytest.raises(UnsupportedParameter, match="reads text alone"):
        await blind.post_chat_completion(CALL, asking(blind, f"{HOST}/one.png"))
    assert net.requests == []


async def test_no_library_fetches_what_a_conversation_names(
    provider: MetaReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are given pixels, and of an image's place in a conversation a mark without its address."""
    connected: list[Any] = []
    await said(provider, url(ONE))
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: connected.append(address))
    address = {"type": "text", "text": "http://127.0.0.1:9/a.png"}
    turns = [{"role": "user", "content": [address, image_part(url(ONE, pnginfo=commented(address["text"])))]}]
    await provider.post_chat_completion(CALL, asking(provider, messages=turns))
    assert connected == []


def commented(text: str) -> PngInfo:
    comment = PngInfo()
    comment.add_text("XML:com.adobe.xmp", f'<x href="{text}"/>')
    return comment


# --- limits ---


def found(*addresses: str) -> Any:
    parts = [image_part(address) for address in addresses]
    return places([Message.model_validate({"role": "user", "content": parts})])


async def held(images: Fetching, *addresses: str) -> list[str]:
    async with images.fetched(found(*addresses)) as fetched:
        return list(fetched)


async def test_the_images_of_a_request_are_counted_in_bytes_together(net: Internet) -> None:
    size = 11 << 20
    large = [f"{HOST}/{number}?size={size}" for number in range(3)]
    assert len(await held(fetching(net), *large[:2])) == 2
    with pytest.raises(BadRequest, match="more than 32 MiB together"):
        await held(fetching(net), *large)


async def until(net: Internet, count: int) -> None:
    async with asyncio.timeout(30):
        while net.hanging != count:
            await asyncio.sleep(0.01)


async def test_of_one_request_four_are_fetched_at_once_and_all_end_with_it(net: Internet) -> None:
    waiting = asyncio.create_task(held(fetching(net), *[f"{HOST}/{number}?hang=1" for number in range(9)]))
    await until(net, AT_ONCE)
    waiting.cancel()
    await until(net, 0)


async def test_the_first_image_that_fails_ends_the_fetching_of_the_others(net: Internet) -> None:
    with pytest.raises(BadRequest, match="answered 404") as refused:
        await held(fetching(net), f"{HOST}/?hang=1", f"{HOST}/?status=404")
    assert refused.value.param == "messages[0].content[1].image_url.url"
    await until(net, 0)


async def test_requests_that_fetch_wait_for_their_turn_and_too_many_are_told_to_come_back(net: Internet) -> None:
    images = fetching(net)
    tasks = [asyncio.create_task(held(images, f"{HOST}/?hang=1")) for _ in range(REQUESTS + WAITING)]
    await until(net, REQUESTS)
    with pytest.raises(RateLimited) as busy:
        await held(images, f"{HOST}/one.png")
    assert busy.value.retry_after == 5
    assert await held(images, url(ONE)) == []
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(await held(images, f"{HOST}/one.png")) == 1


# --- through the API ---


@pytest.fixture
async def model(running: stack.LlamaStack, folder: Path, net: Internet) -> str:
    """A model that sees on the running stack, whose provider has the net for its network."""
    config = {"model": str(folder), "dtype": "float32", "device": "cpu"}
    row = await db(add_provider, "local", "inline::meta-reference", **config)
    await running.live.refresh()
    await running.live.discover(row.pk)
    name = f"local/{folder}"
    route = await running.live.admitted(CALL, name, "llm")
    assert route.only
    async with running.live.pool.use(route.only.provider) as provider:
        provider.fetching = fetching(net)
    return name


async def chat(client: httpx.AsyncClient, model: str, address: str) -> httpx.Response:
    turns = [{"role": "user", "content": [image_part(address)]}]
    return await client.post(
        "/v1/chat/completions", json={"model": model, "messages": turns, "max_tokens": 2, "store": False}
    )


async def test_no_vector_in_a_chat_reaches_the_canary(client: httpx.AsyncClient, model: str, net: Internet) -> None:
    vectors = [*VECTORS.values(), *(f"{HOST}/?status=302&to={quoted(address)}" for address in PLAIN.values())]
    for address in vectors:
        answer = await chat(client, model, address)
        if "#@" in address and address.startswith(HOST):  # that is public.example, and what is there is a picture
            continue
        assert answer.status_code == 400, address
        assert answer.json()["error"]["param"] == "messages[0].content[0].image_url.url", address
    assert len(set(vectors)) >= 300
    assert net.hits == 0


async def test_where_its_network_is_allowed_a_chat_reaches_the_canary(
    client: httpx.AsyncClient, running: stack.LlamaStack, model: str, net: Internet
) -> None:
    """Or the test above could not fail."""
    route = await running.live.admitted(CALL, model, "llm")
    assert route.only
    async with running.live.pool.use(route.only.provider) as provider:
        provider.fetching = fetching(net, Allowed.of(["10.0.0.0/8", "localhost"]))
    for address in ("http://10.0.0.1/a.png", "http://localhost/", f"{HOST}/?status=307&to=http://10.0.0.9:8000/"):
        await chat(client, model, address)
    assert net.hits == 3


async def test_a_client_that_goes_away_ends_the_fetching(client: httpx.AsyncClient, model: str, net: Internet) -> None:
    waiting = asyncio.create_task(chat(client, model, f"{HOST}/?hang=1"))
    await until(net, 1)
    waiting.cancel()
    await until(net, 0)
