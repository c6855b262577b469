"""The `network` section of a provider in the registry: its secrets, its form, and whom an edit lets read along."""

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from django.core import serializers
from django.db import connection

from apps.access.models import User
from apps.registry import service
from apps.registry.changes import apply as apply_and_tell
from apps.registry.effective import provider_record
from apps.registry.export import export
from apps.registry.models import Provider
from apps.registry.secrets import MASK, leaves, masked, sealed
from llamastack import asgi
from llamastack.config import ConfigError, ProviderEntry, StackConfig, document, load_config
from llamastack.db import db
from llamastack.providers import ProviderConfig
from llamastack.stack import LlamaStack
from tests.unit.core.egress.networks import Authority
from tests.unit.inference.test_chat_completions import HELLO
from tests.unit.inference.test_chat_completions import URL as CHAT
from tests.unit.pages import Browser
from tests.unit.registry.test_rest import NEW, PROVIDERS

ADDRESS = f"{PROVIDERS}/inference/two"
CANARY = "canary-5e3d"
URL = "http://127.0.0.1:9/v1"
SECTION = {
    "tls": {"verify": False},
    "proxy": {"url": f"http://maya:{CANARY}@127.0.0.1:9", "no_proxy": ["10.0.0.0/8"]},
    "timeout": {"connect": 2, "read": 30},
    "headers": {"X-Gateway-Key": CANARY, "X-Team": f"blue {CANARY}"},
}
SHOWN = SECTION | {
    "proxy": {"url": "http://127.0.0.1:9", "no_proxy": ["10.0.0.0/8"]},
    "headers": {"X-Gateway-Key": MASK, "X-Team": MASK},
}
SECRET = {"base_url": URL, "api_key": CANARY, "network": SECTION}


async def stored(identifier: str = "two") -> Provider:
    return await db(lambda: Provider.objects.get(identifier=identifier))


async def page_of(identifier: str = "two") -> str:
    return f"/admin/registry/provider/{(await stored(identifier)).pk}/change/"


async def add(row_id: str = "two", **config: Any) -> Provider:
    row = Provider(identifier=row_id, provider_type="remote::openai")
    return await db(service.edit_provider, row, config, True)


def entry(**config: Any) -> StackConfig:
    declared = ProviderEntry(api="inference", provider_id="two", provider_type="remote::openai", declared=config)
    return StackConfig(image_name="test", providers={"inference": [declared]})


def everything_stored() -> str:
    rows = serializers.serialize("json", Provider.objects.all())
    with connection.cursor() as cursor:
        cursor.execute("SELECT declared, override, health FROM registry_provider")
        return rows + str(cursor.fetchall())


@pytest.fixture
async def scripts(running: LlamaStack) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a session, beside the browser's."""
    transport = httpx.ASGITransport(asgi.application, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        yield http


def found(text: str) -> bool:
    return CANARY in text


# --- the canary ---


async def test_a_secret_of_the_section_is_in_no_answer_page_log_or_row(
    scripts: httpx.AsyncClient, browser: Browser, running: LlamaStack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [await scripts.post(PROVIDERS, json=NEW | {"config": SECRET})]
    assert answers[0].status_code == 201
    for given in (
        {"timeout": {"read": -1}},
        {"proxy": {"url": f"ftp://maya:{CANARY}@h"}},
        {"proxy": {"url": f"http://{CANARY}@h/path"}},
        {"proxy": {"no_proxy": 3, "url": f"http://u:{CANARY}@h:1"}},
        {"headers": {"X": f"{CANARY}\r\nY: 1"}},
        {"headers": {"Host": CANARY}},
        {"headers": [CANARY]},
        {"headers": {"X": {"y": CANARY}}},
        CANARY,
        [{"headers": {"X": CANARY}}],
    ):
        refused = await scripts.patch(ADDRESS, json={"config": {"network": given}})
        assert refused.status_code == 400, given
        answers.append(refused)
    answers += [
        await scripts.get(ADDRESS),
        await scripts.get(PROVIDERS),
        await scripts.get(ADDRESS, headers={"Accept": "text/html"}),
        await scripts.post(f"{ADDRESS}/test"),
        await scripts.post(f"{ADDRESS}/discover"),
        await scripts.get("/v1/providers"),
        await scripts.get("/v1/providers/two"),
        await scripts.get("/v1/inspect/routes"),
    ]
    await browser.open("/admin/registry/provider/")
    await browser.open(await page_of())
    await browser.submit(await page_of(), config_network__headers=f"Bad Name: {CANARY}2")
    await browser.submit(await page_of(), config_network__timeout__read="-3")
    await browser.open((await page_of()).replace("change", "history"))
    pages = [page for page in browser.pages if f"{CANARY}2" not in page.text]  # a person's own words, not yet saved
    assert not [answer.url for answer in answers if found(answer.text) or "enc:v1:" in answer.text]
    assert not [page.url for page in pages if found(page.text) or "enc:v1:" in page.text]
    assert not found(caplog.text)
    assert not found(await db(everything_stored))
    [record] = running.live.snapshot.providers.values()
    assert record.config["network"] == SECTION
    assert not found(repr(record))


@pytest.mark.django_db
def test_a_secret_of_the_section_is_exported_as_a_variable(apply: Any) -> None:
    path = apply([{"provider_id": "two", "provider_type": "remote::openai", "config": SECRET}])
    made = export(load_config(path), document(path))
    assert not found(yaml.safe_dump(made.run))
    assert not found(everything_stored())
    [written] = made.run["providers"]["inference"]
    assert written["config"]["network"]["headers"]["X-Team"] == "${env.TWO_NETWORK_HEADERS_X_TEAM}"
    assert set(made.variables) == {
        "TWO_API_KEY",
        "TWO_NETWORK_PROXY_URL",
        "TWO_NETWORK_HEADERS_X_GATEWAY_KEY",
        "TWO_NETWORK_HEADERS_X_TEAM",
    }
    assert "config.network" not in str(list(apply_and_tell(load_config(path))))


@pytest.mark.django_db
def test_an_unchanged_section_keeps_its_row(apply: Any) -> None:
    given = [{"provider_id": "two", "provider_type": "remote::openai", "config": SECRET}]
    apply(given)
    before = Provider.objects.get()
    apply(given)
    assert (Provider.objects.get().version, Provider.objects.get().declared) == (before.version, before.declared)


@pytest.mark.parametrize("wrong", [{"prox": {}}, {"headers": {"Host": CANARY}}, {"tls": {"client_cert": "/a"}}])
def test_what_is_wrong_with_it_is_told_with_its_line(apply: Any, wrong: Any, db: None) -> None:
    with pytest.raises(ConfigError) as told:
        apply([{"provider_id": "two", "provider_type": "remote::openai", "config": {"network": wrong}}])
    assert "network" in str(told.value)
    assert not found(str(told.value))


def test_a_whole_where_a_part_is_due_is_masked_too() -> None:
    from apps.inference.providers.remote.openai import OpenAIConfig

    for value in (CANARY, {"headers": CANARY}, {"headers": [CANARY]}, {"headers": {"X": {"y": [CANARY]}}}):
        config = {"api_key": {"x": CANARY}, "network": value}
        assert not found(str(masked(OpenAIConfig, config)))
        assert not found(str(sealed(OpenAIConfig, config, {})))
    assert [leaf.text for leaf in leaves(OpenAIConfig, {"network": {"headers": {"X": "1"}}})] == [True]


def test_a_class_that_holds_itself_is_read_to_its_end() -> None:
    class Tree(ProviderConfig):
        below: "dict[str, Tree] | None" = None

    assert masked(Tree, {"below": {"a": {"below": {}}}}) == {"below": {"a": {"below": {}}}}


# --- from the environment ---


@pytest.mark.django_db
def test_a_header_of_digits_from_the_environment_is_text(apply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_KEY", "12345")
    section = {"headers": {"X-Key": "${env.GATEWAY_KEY}"}, "proxy": {"url": "${env.NO_SUCH_PROXY:=}"}}
    apply([{"provider_id": "two", "provider_type": "remote::openai", "config": {"network": section}}])
    record = provider_record(Provider.objects.get())
    assert record.unavailable is None
    assert record.config["network"] == {"headers": {"X-Key": "12345"}, "proxy": {"url": ""}}


async def test_what_the_environment_sets_of_it_is_read_only_and_the_rest_is_not(
    scripts: httpx.AsyncClient, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXY_URL", f"http://maya:{CANARY}@127.0.0.1:9")
    declared = {"proxy": {"url": "${env.PROXY_URL}"}, "headers": {"X-Key": CANARY}, "timeout": 30}
    await db(service.apply, entry(base_url=URL, network=declared))
    shown = (await scripts.get(ADDRESS)).json()
    assert shown["locked"] == ["network.proxy.url"]
    assert shown["config"]["network"] == {
        "proxy": {"url": "http://127.0.0.1:9"}, "headers": {"X-Key": MASK}, "timeout": 30,
    }  # fmt: skip
    other = shown["config"]["network"] | {"proxy": {"url": "http://127.0.0.1:8"}}
    refused = (await scripts.patch(ADDRESS, json={"config": {"network": other}})).json()["error"]
    assert (refused["param"], refused["code"]) == ("config.network.proxy.url", "read_only")
    wanted = shown["config"]["network"] | {"timeout": 60}
    assert (await scripts.patch(ADDRESS, json={"config": {"network": wanted}})).status_code == 200
    assert (await stored()).override["config"] == {"network": {"timeout": 60}}
    page = await browser.submit(await page_of(), config_network__timeout__read="90")
    assert "was changed successfully" in page.text
    assert (await stored()).override["config"] == {"network": {"timeout": {"connect": 60.0, "read": 90.0}}}
    assert (await stored()).merged["config"]["network"]["proxy"] == {"url": "${env.PROXY_URL}"}


# --- edits over HTTP ---


async def test_what_was_shown_of_it_and_comes_back_changes_nothing(client: httpx.AsyncClient) -> None:
    await client.post(PROVIDERS, json=NEW | {"config": SECRET})
    before, shown = await stored(), (await client.get(ADDRESS)).json()
    assert shown["config"]["network"] == SHOWN
    for method in ("PUT", "PATCH"):
        assert (await client.request(method, ADDRESS, json=shown)).json()["version"] == shown["version"]
    edited = SHOWN | {"timeout": {"read": 60}}
    assert (await client.patch(ADDRESS, json={"config": {"network": edited}})).status_code == 200
    now = (await stored()).override["config"]["network"]
    assert now == before.override["config"]["network"] | {"timeout": {"read": 60}}


async def test_a_mask_where_no_secret_stood_is_refused(client: httpx.AsyncClient) -> None:
    await client.post(PROVIDERS, json=NEW | {"config": SECRET})
    edited = SHOWN | {"headers": {"X-New": MASK}}
    refused = (await client.patch(ADDRESS, json={"config": {"network": edited}})).json()["error"]
    assert refused["param"] == "config.network.headers.X-New"


async def test_the_form_of_stored_secrets_is_refused_anywhere_in_it(client: httpx.AsyncClient) -> None:
    given = {"base_url": URL, "network": {"headers": {"X": "enc:v1:stolen"}}}
    refused = (await client.post(PROVIDERS, json=NEW | {"config": given})).json()["error"]
    assert refused["param"] == "config.network.headers.X"


@pytest.mark.parametrize(
    ("before", "after", "asked"),
    [
        ({}, {"proxy": {"url": "http://evil:1"}}, True),
        ({}, {"proxy": {"https": "http://evil:1"}}, True),
        ({"proxy": {"url": "http://p:1"}}, {"proxy": {"url": "http://evil:1"}}, True),
        ({"proxy": {"url": "http://p:1"}}, {"proxy": {"url": "http://new:password@p:1"}}, False),
        ({"proxy": {"url": "http://p:1"}}, {}, False),
        ({"proxy": {"url": "http://p:1", "no_proxy": ["h"]}}, {"proxy": {"url": "http://p:1"}}, True),
        ({"proxy": {"url": "http://p:1"}}, {"proxy": {"url": "http://p:1", "cacert": "/evil.pem"}}, True),
        ({}, {"tls": {"verify": False}}, True),
        ({}, {"tls": {"verify": "/evil.pem"}}, True),
        ({}, {"tls": {"ciphers": ["ALL"]}}, True),
        ({"tls": {"verify": False}}, {"tls": {"verify": True}}, False),
        ({"tls": {"verify": False}}, {}, False),
        ({}, {"tls": {"min_version": "TLSv1.3"}}, False),
        ({}, {"timeout": 5, "limits": {"max_connections": 1}}, False),
        ({}, {"headers": {"X-New": "1"}}, False),
    ],
)
async def test_a_secret_is_asked_for_again_where_others_could_read_it_now(
    client: httpx.AsyncClient, running: LlamaStack, before: Any, after: Any, asked: bool
) -> None:
    await add(base_url=URL, api_key=CANARY, network=before)
    answer = await client.patch(ADDRESS, json={"config": {"network": after}})
    assert (answer.status_code, answer.json().get("error", {}).get("param")) == (
        (400, "config.api_key") if asked else (200, None)
    )
    again = await client.patch(ADDRESS, json={"config": {"network": after, "api_key": CANARY}})
    assert again.status_code == 200


async def test_a_header_and_a_proxys_password_are_asked_for_again_too(client: httpx.AsyncClient) -> None:
    await client.post(PROVIDERS, json=NEW | {"config": {"base_url": URL, "network": SECTION | {"tls": {}}}})
    shown = (await client.get(ADDRESS)).json()["config"]["network"]
    elsewhere = {"base_url": "http://127.0.0.1:8/v1"}
    refused = (await client.patch(ADDRESS, json={"config": elsewhere})).json()["error"]
    assert refused["param"] == "config.network.headers.X-Gateway-Key"
    weaker = shown | {"tls": {"verify": False}, "headers": {}}
    refused = (await client.patch(ADDRESS, json={"config": {"network": weaker}})).json()["error"]
    assert refused["param"] == "config.network.proxy.url"


@pytest.mark.parametrize(
    ("provider_type", "before", "after"),
    [
        ("remote::vllm", {"base_url": URL}, {"tls_verify": False}),
        ("remote::hf::endpoint", {"endpoint_name": "ours/one"}, {"endpoint_name": "theirs/one"}),
        ("remote::nvidia", {"base_url": URL}, {"rerank_model_to_url": {"m": "http://127.0.0.1:8/evil"}}),
    ],
)
async def test_so_it_is_by_every_other_setting_that_says_whither(
    client: httpx.AsyncClient, running: LlamaStack, provider_type: str, before: Any, after: Any
) -> None:
    row = Provider(identifier="two", provider_type=provider_type)
    await db(service.edit_provider, row, before | {"api_key": CANARY}, True)
    refused = (await client.patch(ADDRESS, json={"config": after})).json()["error"]
    assert refused["param"] == "config.api_key"


async def test_files_of_the_server_are_named_by_its_operator_alone(client: httpx.AsyncClient) -> None:
    given = {"base_url": URL, "network": {"tls": {"client_cert": "/a.pem", "client_key": "/a.key"}}}
    refused = (await client.post(PROVIDERS, json=NEW | {"config": given})).json()["error"]
    assert refused["param"] == "config.network.tls.client_cert"
    await add(base_url=URL, network=given["network"])


async def test_a_missing_file_stops_its_provider_alone_until_it_is_there(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    base_url = sky.merged["config"]["base_url"]
    await add(base_url=base_url, network={"tls": {"verify": str(file)}})
    await running.live.refresh()
    named = {"model_id": "two/sky-1", "provider_id": "two", "provider_model_id": "sky-1"}
    assert (await client.post("/v1/models", json=named)).status_code == 200
    chat = {"model": "two/sky-1", "messages": HELLO}
    refused = await client.post(CHAT, json=chat)
    assert (refused.status_code, f"network.tls.verify: {file} cannot be read" in refused.text) == (503, True)
    assert (await client.post(CHAT, json=chat | {"model": "sky/sky-1"})).status_code == 200
    tested = (await client.post(f"{ADDRESS}/test")).json()
    assert (tested["ok"], "network.tls.verify" in tested["message"]) == (False, True)
    file.write_bytes(Authority(tmp_path, "late").ca.read_bytes())
    assert (await client.post(f"{ADDRESS}/test")).json()["ok"]
    assert (await client.post(CHAT, json=chat)).status_code == 200


# --- the form ---


async def test_the_form_has_a_field_for_each_setting_of_the_section(browser: Browser) -> None:
    path = "/admin/registry/provider/add/?api=inference&provider_type=remote::openai"
    page = await browser.submit(
        path,
        identifier="two",
        config_base_url=URL,
        config_api_key=CANARY,
        config_network__proxy__url=f"http://maya:{CANARY}@127.0.0.1:9",
        config_network__proxy__no_proxy="localhost\n10.0.0.0/8",
        config_network__tls__verify="/etc/ca.pem",
        config_network__tls__min_version="TLSv1.3",
        config_network__timeout__read="120",
        config_network__headers=f"X-Gateway-Key: {CANARY}\nX-Team: a:b",
    )
    assert "was added successfully" in page.text
    row = await stored()
    assert await db(lambda: provider_record(row).config["network"]) == {
        "proxy": {"url": f"http://maya:{CANARY}@127.0.0.1:9", "no_proxy": ["localhost", "10.0.0.0/8"]},
        "tls": {"verify": "/etc/ca.pem", "min_version": "TLSv1.3"},
        "timeout": {"read": 120.0},
        "headers": {"X-Gateway-Key": CANARY, "X-Team": "a:b"},
    }
    assert not found(json.dumps(row.override))
    page = await browser.open(await page_of())
    assert f"X-Gateway-Key: {MASK}" in page.text
    await browser.submit(await page_of())
    assert (await stored()).override == row.override


async def test_a_header_is_added_beside_those_that_show_as_masks(browser: Browser) -> None:
    row = await add(base_url=URL, network=SECTION)
    kept = row.override["config"]["network"]
    await browser.submit(await page_of(), config_network__headers=f"X-Gateway-Key: {MASK}\nX-New: 1")
    now = (await stored()).override["config"]["network"]
    assert now["headers"].keys() == {"X-Gateway-Key", "X-New"}
    assert now["headers"]["X-Gateway-Key"] == kept["headers"]["X-Gateway-Key"]
    assert now | {"headers": 0} == kept | {"headers": 0}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"config_network__proxy__url": "socks5://h:1", "config_api_key": "sk-2"}, "SOCKS"),
        ({"config_network__tls__client_cert": "/a.pem"}, "belong together"),
        ({"config_network__headers": "no colon"}, "with a colon after it"),
        ({"config_network__headers": "Host: x"}, "leave it out"),
        ({"config_network__headers": f"X: {MASK}"}, "this is a mask"),
        ({"config_network__timeout__connect": "0"}, "greater than 0"),
        ({"config_network__tls__verify": "false"}, "Give it again"),
    ],
)
async def test_what_is_wrong_with_it_is_told_in_the_form(browser: Browser, fields: dict[str, str], said: str) -> None:
    row = await add(base_url=URL, api_key=CANARY)
    page = await browser.submit(await page_of(), **fields)
    assert said in page.text
    assert (await stored()).override == row.override


async def test_an_edit_of_one_setting_is_forgotten_by_itself(browser: Browser) -> None:
    await db(service.apply, entry(base_url=URL, network={"timeout": {"connect": 3, "read": 30}}))
    fields = {"config_network__timeout__read": "60", "config_network__limits__max_connections": "4"}
    await browser.submit(await page_of(), **fields)
    edited = {"timeout": {"read": 60.0}, "limits": {"max_connections": 4}}
    assert (await stored()).override["config"] == {"network": edited}
    await browser.submit(await page_of(), reset_network__timeout__read="on")
    assert (await stored()).override["config"] == {"network": {"limits": {"max_connections": 4}}}
    await browser.submit(await page_of(), config_network__limits__max_connections="")
    assert (await stored()).override["config"] == {}
    assert (await stored()).merged["config"]["network"] == {"timeout": {"connect": 3, "read": 30}}


async def test_only_a_superuser_of_the_admin_sees_the_form(browser: Browser) -> None:
    await add(base_url=URL, network=SECTION)
    await db(User.objects.filter(username="ada").update, is_superuser=False)
    assert (await browser.open(await page_of())).status_code in (403, 200)
    assert not found(browser.pages[-1].text)
