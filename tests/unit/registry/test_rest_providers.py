"""/manage/providers."""

import asyncio
from typing import Any

import httpx
import pytest

from apps.registry import service
from apps.registry.models import Model, Provider
from apps.registry.secrets import MASK
from llamastack import settings
from llamastack.config import ProviderEntry, StackConfig
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.inference.test_chat_completions import HELLO, URL
from tests.unit.registry.test_rest import NEW, PROVIDERS, key_of
from tests.upstream import Upstream

SKY = f"{PROVIDERS}/inference/sky"
SECRET = "sk-very-secret-1"


async def stored(identifier: str = "sky") -> Provider:
    return await db(lambda: Provider.objects.get(identifier=identifier))


def declared(**config: Any) -> StackConfig:
    """What `llama stack run` applies."""
    entry = ProviderEntry(api="inference", provider_id="sky", provider_type="remote::openai", declared=config)
    return StackConfig(image_name="test", providers={"inference": [entry]})


async def test_a_provider_that_was_added_answers_at_once(
    client: httpx.AsyncClient, running: LlamaStack, upstream: Upstream
) -> None:
    given = NEW | {"config": {"base_url": upstream.url, "api_key": SECRET}}
    made = await client.post(PROVIDERS, json=given)
    assert (made.status_code, made.headers["Location"]) == (201, "/manage/providers/inference/two")
    assert (await client.post(f"{PROVIDERS}/inference/two/test")).json() == {"ok": True, "message": "2 models"}
    found = (await client.post(f"{PROVIDERS}/inference/two/discover")).json()
    assert found["models"] == 2
    assert (await client.post(URL, json={"model": "two/sky-1", "messages": HELLO})).status_code == 200
    assert (await client.get(f"{PROVIDERS}/inference/two")).json()["state"] == "healthy"


async def test_a_secret_is_encrypted_and_never_read_back(client: httpx.AsyncClient) -> None:
    given = NEW | {"config": {"base_url": "http://127.0.0.1:9/v1", "api_key": SECRET}}
    made = await client.post(PROVIDERS, json=given)
    address = f"{PROVIDERS}/inference/two"
    answers = [made, await client.get(address), await client.get(PROVIDERS)]
    answers.append(await client.get(address, headers={"Accept": "text/html"}))
    for answer in answers:
        assert not [secret for secret in (SECRET, "enc:v1:") if secret in answer.text]
    assert made.json()["config"]["api_key"] == MASK
    assert (await stored("two")).override["config"]["api_key"].startswith("enc:v1:")


async def test_what_was_shown_and_comes_back_changes_nothing(client: httpx.AsyncClient, sky: Provider) -> None:
    await client.patch(SKY, json={"config": {"base_url": "http://u:pass-word@127.0.0.1:9/v1", "api_key": None}})
    before = await stored()
    shown = (await client.get(SKY)).json()
    assert shown["config"]["base_url"] == "http://127.0.0.1:9/v1"
    for method in ("PUT", "PATCH"):
        answer = await client.request(method, SKY, json=shown)
        assert (answer.status_code, answer.json()["version"]) == (200, shown["version"])
    assert (await stored()).override == before.override


async def test_put_forgets_what_it_does_not_name(client: httpx.AsyncClient, sky: Provider) -> None:
    shown = (await client.get(SKY)).json()
    await client.patch(SKY, json={"config": {"allowed_models": ["sky-1"]}})
    wanted = {name: shown[name] for name in ("provider_id", "provider_type")}
    kept = {name: shown["config"][name] for name in ("base_url", "api_key")}
    replaced = (await client.put(SKY, json=wanted | {"config": kept})).json()
    assert replaced["config"]["allowed_models"] is None
    assert set((await stored()).override["config"]) == {"base_url", "api_key"}
    assert (await client.post(f"{SKY}/test")).json()["ok"]


async def test_an_edit_lies_over_the_yaml_until_it_is_reset(client: httpx.AsyncClient, running: LlamaStack) -> None:
    await db(service.apply, declared(base_url="http://127.0.0.1:9/v1"))
    edited = (await client.patch(SKY, json={"config": {"base_url": "http://127.0.0.1:8/v1"}})).json()
    assert (edited["origins"]["base_url"], edited["config"]["base_url"]) == ("Admin", "http://127.0.0.1:8/v1")
    reset = (await client.patch(SKY, json={"reset": ["base_url"]})).json()
    assert (reset["origins"]["base_url"], reset["config"]["base_url"]) == ("YAML", "http://127.0.0.1:9/v1")
    both = await client.patch(SKY, json={"reset": ["api_key"], "config": {"api_key": "sk"}})
    assert (both.status_code, both.json()["error"]["param"]) == (400, "reset")


async def test_what_the_environment_sets_is_read_only_and_says_so(
    client: httpx.AsyncClient, running: LlamaStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKY_KEY", SECRET)
    await db(service.apply, declared(base_url="http://127.0.0.1:9/v1", api_key="${env.SKY_KEY}"))
    shown = (await client.get(SKY)).json()
    assert (shown["locked"], shown["origins"]["api_key"]) == (["api_key"], "Environment: SKY_KEY")
    assert shown["config"]["api_key"] == MASK
    refused = (await client.patch(SKY, json={"config": {"api_key": "sk-mine"}})).json()["error"]
    assert (refused["param"], refused["code"], "SKY_KEY" in refused["message"]) == ("config.api_key", "read_only", True)
    assert (await client.put(SKY, json=shown)).status_code == 200


async def test_only_a_superuser_may_have_a_provider_read_the_environment(client: httpx.AsyncClient) -> None:
    given = NEW | {"config": {"base_url": "http://127.0.0.1:9/v1", "api_key": "${env.HOME}"}}
    refused = await client.post(PROVIDERS, json=given)
    assert (refused.status_code, await db(Provider.objects.count)) == (403, 0)


async def test_a_secret_goes_to_the_address_that_it_was_given_for(
    client: httpx.AsyncClient, sky: Provider, upstream: Upstream
) -> None:
    elsewhere = {"base_url": "http://127.0.0.1:9/v1"}
    for given in ({"config": elsewhere}, {"reset": ["base_url"]}, {"config": elsewhere | {"api_key": MASK}}):
        refused = (await client.patch(SKY, json=given)).json()["error"]
        assert (refused["param"], "Give it again" in refused["message"]) == ("config.api_key", True)
    assert (await client.patch(SKY, json={"config": {"base_url": f"{upstream.url}/more"}})).status_code == 200
    assert (await client.patch(SKY, json={"config": elsewhere | {"api_key": SECRET}})).status_code == 200
    assert (await client.patch(SKY, json={"reset": ["base_url", "api_key"]})).status_code == 200


async def test_the_secret_of_the_yaml_comes_back_with_its_address_alone(
    client: httpx.AsyncClient, running: LlamaStack
) -> None:
    await db(service.apply, declared(base_url="http://127.0.0.1:9/v1", api_key=SECRET))
    mine = {"base_url": "http://127.0.0.1:8/v1", "api_key": "sk-mine"}
    assert (await client.patch(SKY, json={"config": mine})).status_code == 200
    refused = (await client.patch(SKY, json={"reset": ["api_key"]})).json()["error"]
    assert (refused["param"], SECRET in str(refused)) == ("config.api_key", False)
    assert (await client.patch(SKY, json={"reset": ["api_key", "base_url"]})).status_code == 200


async def test_only_a_superuser_may_have_what_the_environment_holds_sent_elsewhere(
    client: httpx.AsyncClient, running: LlamaStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db(service.apply, declared(base_url="http://127.0.0.1:9/v1", api_key="${env.SKY_KEY:=}"))
    elsewhere = {"config": {"base_url": "http://127.0.0.1:8/v1"}}
    assert (await client.patch(SKY, json=elsewhere)).status_code == 200
    assert (await client.patch(SKY, json={"reset": ["base_url"]})).status_code == 200
    monkeypatch.setenv("SKY_KEY", SECRET)
    refused = await client.patch(SKY, json=elsewhere)
    assert (refused.status_code, "'api_key' comes from the server's environment" in refused.text) == (403, True)
    assert (await stored()).merged["config"]["base_url"] == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("given", "status", "field"),
    [
        ({"provider_type": "remote::opnai"}, 400, "provider_type"),
        ({"provider_id": None}, 400, "provider_id"),
        ({"provider_id": "a/b"}, 400, "provider_id"),
        ({"provider_id": "x" * 256}, 400, "provider_id"),
        ({"provider_id": "sky"}, 409, "provider_id"),
        ({"api": "smell"}, 400, "api"),
        ({"config": []}, 400, "config"),
        ({"config": {"base_urll": "http://x"}}, 400, "config.base_urll"),
        ({"config": {"refresh_models": "perhaps"}}, 400, "config.refresh_models"),
        ({"config": {"api_key": MASK}}, 400, "config.api_key"),
        ({"config": {"allowed_models": ["x" * 100_001]}}, 400, "config"),
        ({"config": {"base_url": "enc:v1:stolen"}}, 400, "config.base_url"),
        ({"enabled": "perhaps"}, 400, "enabled"),
        ({"configs": {}}, 400, "configs"),
    ],
)
async def test_what_cannot_be_added(
    client: httpx.AsyncClient, sky: Provider, running: LlamaStack, given: Any, status: int, field: str
) -> None:
    await db(Provider.objects.update, tenant="default")
    refused = await client.post(PROVIDERS, json=NEW | given)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, field), refused.text
    assert await db(Provider.objects.count) == 1


async def test_two_names_of_one_setting_with_different_values_are_told_to_be_one(
    client: httpx.AsyncClient, sky: Provider
) -> None:
    answer = await client.patch(SKY, json={"config": {"base_url": "http://a.example/v1", "url": "http://b.example/v1"}})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "'url' is another name of 'base_url': give that one alone."


async def test_an_unknown_name_brings_near_ones(client: httpx.AsyncClient, sky: Provider) -> None:
    for answer, near in (
        (await client.get(f"{PROVIDERS}/inference/skyy"), "'sky'"),
        (await client.post(PROVIDERS, json=NEW | {"provider_type": "remote::opnai"}), "'remote::openai'"),
        (await client.patch(SKY, json={"enabeld": True}), "'enabled'"),
        (await client.patch(SKY, json={"config": {"base_ulr": "x"}}), "'base_url'"),
        (await client.patch(SKY, json={"config": {"network": {"timeout": {"conect": 3}}}}), "'connect'"),
        (await client.get(PROVIDERS, params={"origni": "yaml"}), "'origin'"),
    ):
        assert f"did you mean {near}" in answer.json()["detail"]


async def test_what_a_provider_is_stays_as_it_is(client: httpx.AsyncClient, sky: Provider) -> None:
    for given in ({"provider_id": "other"}, {"provider_type": "remote::vllm"}):
        refused = await client.patch(SKY, json=given)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, *given)


async def test_a_row_that_changed_meanwhile_is_a_conflict(client: httpx.AsyncClient, sky: Provider) -> None:
    read = (await client.get(SKY)).json()
    await client.patch(SKY, json={"config": {"allowed_models": ["sky-1"]}})
    late = await client.put(SKY, json=read)
    assert (late.status_code, late.json()["error"]["param"]) == (409, "version")
    assert (await stored()).override["config"]["allowed_models"] == ["sky-1"]


async def test_one_of_many_who_want_a_name_gets_it(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post(PROVIDERS, json=NEW) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]


async def test_a_provider_is_switched_off_and_on(client: httpx.AsyncClient, sky: Provider) -> None:
    chat = {"model": "sky/sky-1", "messages": HELLO}
    assert (await client.post(f"{SKY}/disable")).json()["state"] == "disabled"
    assert (await client.post(URL, json=chat)).status_code == 503
    assert (await client.post(f"{SKY}/discover")).status_code == 404
    assert (await client.post(f"{SKY}/enable")).json()["enabled"]
    assert (await client.post(URL, json=chat)).status_code == 200


async def test_what_the_yaml_declares_is_disabled_and_not_deleted(
    client: httpx.AsyncClient, running: LlamaStack
) -> None:
    await db(service.apply, declared(base_url="http://127.0.0.1:9/v1"))
    refused = await client.delete(SKY)
    assert (refused.status_code, "disable it instead" in refused.json()["detail"]) == (409, True)
    await db(service.apply, StackConfig(image_name="test"))
    assert (await client.post(f"{SKY}/enable")).status_code == 400
    assert (await client.get(SKY)).json()["state"] == "gone"
    assert (await client.delete(SKY)).status_code == 204


async def test_a_provider_goes_with_what_was_discovered_on_it(client: httpx.AsyncClient, sky: Provider) -> None:
    assert (await client.delete(SKY)).status_code == 204
    assert (await client.get(SKY)).status_code == 404
    assert not await db(Model.objects.count)


async def test_a_provider_that_does_not_answer_says_so(client: httpx.AsyncClient) -> None:
    await client.post(PROVIDERS, json=NEW)
    told = (await client.post(f"{PROVIDERS}/inference/two/test")).json()
    assert (told["ok"], "cannot be reached" in told["message"]) == (False, True)
    failed = await client.post(f"{PROVIDERS}/inference/two/discover")
    assert (failed.status_code, failed.json()["error"]["code"]) == (502, "upstream_error")


async def test_a_provider_of_a_type_that_is_not_built_is_shown_and_can_be_disabled(
    client: httpx.AsyncClient, running: LlamaStack
) -> None:
    written = {"url": "http://x", "api_token": SECRET}
    entry = ProviderEntry(api="inference", provider_id="later", provider_type="remote::thegrid", declared=written)
    await db(service.apply, StackConfig(image_name="test", providers={"inference": [entry]}))
    address = f"{PROVIDERS}/inference/later"
    shown = await client.get(address)
    assert (shown.json()["state"], SECRET in shown.text) == ("unavailable", False)
    assert (await client.post(f"{address}/test")).status_code == 503
    assert (await client.patch(address, json={"config": {"url": "http://y"}})).status_code == 400
    assert (await client.patch(address, json={"enabled": False})).json()["state"] == "disabled"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"provider_type": "remote::openai"}, ["sky", "two"]),
        ({"provider_type": "remote::vllm"}, []),
        ({"api": "inference", "enabled": "false"}, ["two"]),
        ({"enabled": "true"}, ["sky"]),
        ({"origin": "api"}, ["two"]),
        ({"tenant": "*"}, ["sky"]),
        ({"search": "SK"}, ["sky"]),
        ({"gone": "true"}, []),
    ],
)
async def test_a_list_is_filtered_and_searched(
    client: httpx.AsyncClient, sky: Provider, query: dict[str, str], found: list[str]
) -> None:
    await client.post(PROVIDERS, json=NEW | {"enabled": False})
    listed = (await client.get(PROVIDERS, params=query)).json()["results"]
    assert [row["provider_id"] for row in listed] == found


async def test_a_tenants_provider_leads_to_no_private_address(
    client: httpx.AsyncClient, running: LlamaStack, upstream: Upstream
) -> None:
    """As those of the default tenant may, whose admins change what all share."""
    blue = await key_of(running, admin=True, tenant="blue")
    two = NEW | {"config": {"base_url": upstream.url}}
    await client.post(PROVIDERS, json=two, headers=blue)
    refused = await client.post(f"{PROVIDERS}/inference/two/discover", headers=blue)
    assert (refused.status_code, "a tenant's and leads to no public address" in refused.text) == (503, True)
    assert upstream.headers == []
    await client.post(PROVIDERS, json=two)
    assert (await client.post(f"{PROVIDERS}/inference/two/discover")).status_code == 200
    assert upstream.headers


async def test_a_key_of_another_tenant_writes_rows_of_its_own(
    client: httpx.AsyncClient, running: LlamaStack, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "ALLOWED_FETCHES", ["127.0.0.1"])
    blue = await key_of(running, admin=True, tenant="blue")
    await client.post(PROVIDERS, json=NEW | {"config": {"base_url": upstream.url}}, headers=blue)
    await client.post(f"{PROVIDERS}/inference/two/discover", headers=blue)
    chat = {"model": "two/sky-1", "messages": HELLO}
    assert (await client.post(URL, json=chat, headers=blue)).status_code == 200
    assert (await client.post(URL, json=chat)).status_code == 404
