"""The admin's pages of providers, by their real forms."""

import asyncio

import httpx
import pytest
from django.contrib.auth.models import Permission

from apps.access.models import User
from apps.registry import service
from apps.registry.effective import opened
from apps.registry.models import Model, Origin, Provider
from apps.registry.secrets import MASK
from apps.registry.shown import built_types
from llamastack.apis import Api
from llamastack.config import ProviderEntry, StackConfig
from llamastack.db import db
from llamastack.providers import load, specs
from llamastack.stack import LlamaStack
from tests.unit.inference.test_chat_completions import HELLO, URL
from tests.unit.pages import Browser
from tests.upstream import Upstream

ADD = "/admin/registry/provider/add/?api=inference&provider_type=remote::openai"
LIST = "/admin/registry/provider/"
SECRET = "sk-very-secret-1"


async def stored(identifier: str) -> Provider:
    return await db(lambda: Provider.objects.get(identifier=identifier))


async def page_of(identifier: str) -> str:
    return f"{LIST}{(await stored(identifier)).pk}/change/"


async def added(browser: Browser, upstream: Upstream, **fields: str) -> httpx.Response:
    wanted = {"identifier": "sky", "config_base_url": upstream.url, "config_api_key": SECRET, **fields}
    return await browser.submit(ADD, **wanted)


async def test_the_type_is_asked_before_the_form(browser: Browser) -> None:
    page = await browser.open("/admin/registry/provider/add/")
    assert "remote::vllm" in page.text
    assert "provider_type=remote%3A%3Aopenai" in page.text


@pytest.mark.parametrize(("api", "kind"), [(kind.api, kind.provider_type) for kind in built_types()])
async def test_every_type_is_added_by_its_form(browser: Browser, api: Api, kind: str) -> None:
    """With the values that its class gives as a sample, written as a person would."""
    spec = specs(api)[kind]
    sample = {name: value for name, value in load(spec).config_class.sample_run_config().items() if value is not True}
    fields = {f"config_{name}": str(value) for name, value in sample.items()}
    path = f"/admin/registry/provider/add/?api={api}&provider_type={kind}"
    page = await browser.submit(path, identifier="one", enabled=None, **fields)
    assert "was added successfully" in page.text
    row = await stored("one")
    assert opened(row.merged["config"]).items() <= sample.items()
    page = await browser.submit(await page_of("one"))
    assert "was changed successfully" in page.text
    assert (await stored("one")).override == row.override


@pytest.mark.parametrize(
    ("typed", "kept"), [("false", False), ("/etc/ca.pem", "/etc/ca.pem"), ("", None), ("true", None), ('"a"', "a")]
)
async def test_a_field_of_several_types_takes_json_or_text(browser: Browser, typed: str, kept: object) -> None:
    path = "/admin/registry/provider/add/?api=inference&provider_type=remote::vllm"
    await browser.submit(path, identifier="one", config_base_url="http://127.0.0.1:9/v1", config_tls_verify=typed)
    assert (await stored("one")).merged["config"].get("tls_verify") == kept
    await browser.submit(await page_of("one"))
    assert (await stored("one")).merged["config"].get("tls_verify") == kept


async def test_who_may_only_look_sees_no_secret(browser: Browser, upstream: Upstream) -> None:
    await added(browser, upstream)

    def demote() -> None:
        ada = User.objects.get(username="ada")
        ada.is_superuser = False
        ada.save()
        ada.user_permissions.set(Permission.objects.filter(codename="view_provider"))

    await db(demote)
    page = await browser.open(await page_of("sky"))
    assert page.status_code == 200
    assert SECRET not in page.text
    assert "_save" not in page.text


async def test_an_added_provider_answers_at_once(browser: Browser, upstream: Upstream, running: LlamaStack) -> None:
    page = await added(browser, upstream)
    assert "was added successfully" in page.text
    assert [record.provider_id for record in running.live.snapshot.providers.values()] == ["sky"]
    async with asyncio.timeout(10):
        while len(running.live.snapshot.models) < 2:
            await asyncio.sleep(0.01)
    row = await stored("sky")
    assert (row.owner, row.origin) == ("ada", Origin.admin)


async def test_a_silent_provider_holds_up_no_other(browser: Browser, upstream: Upstream, running: LlamaStack) -> None:
    await added(browser, upstream, identifier="silent", config_api_key="held")
    async with asyncio.timeout(10):
        while not upstream.headers:
            await asyncio.sleep(0.01)
    await added(browser, upstream)
    async with asyncio.timeout(10):
        while len(running.live.snapshot.models) < 2:
            await asyncio.sleep(0.01)


async def test_a_secret_is_encrypted_in_the_database_and_never_shown(browser: Browser, upstream: Upstream) -> None:
    await added(browser, upstream)
    await browser.open(await page_of("sky"))
    await browser.submit(await page_of("sky"), config_base_url="not a url")
    await browser.open(LIST)
    await browser.open(f"{await page_of('sky')}".replace("change", "history"))
    assert not [page.url for page in browser.pages if SECRET in page.text or "enc:v1:" in page.text]
    assert (await stored("sky")).override["config"]["api_key"].startswith("enc:v1:")


async def test_an_edit_keeps_the_secret_that_shows_as_a_mask(browser: Browser, upstream: Upstream) -> None:
    await added(browser, upstream)
    before = (await stored("sky")).override["config"]["api_key"]
    assert f'value="{MASK}"' in (await browser.open(await page_of("sky"))).text
    await browser.submit(await page_of("sky"), config_allowed_models="sky-1\nsky-3\n")
    row = await stored("sky")
    assert row.override["config"] == {
        "base_url": upstream.url,
        "api_key": before,
        "allowed_models": ["sky-1", "sky-3"],
    }


async def test_a_secret_is_asked_for_again_where_the_address_changes(browser: Browser, upstream: Upstream) -> None:
    await added(browser, upstream)
    page = await browser.submit(await page_of("sky"), config_base_url="http://127.0.0.1:9/v1")
    assert "was given for another address" in page.text
    assert (await stored("sky")).override["config"]["base_url"] == upstream.url
    page = await browser.submit(await page_of("sky"), config_base_url="enc:v1:stolen", config_api_key=SECRET)
    assert "no value may begin with" in page.text


async def test_a_new_secret_replaces_the_old_one(browser: Browser, upstream: Upstream, running: LlamaStack) -> None:
    await added(browser, upstream)
    await browser.submit(await page_of("sky"), config_api_key="sk-other")
    [record] = running.live.snapshot.providers.values()
    assert record.config["api_key"] == "sk-other"


async def test_only_what_differs_is_saved(browser: Browser) -> None:
    await browser.submit(ADD, identifier="plain")
    assert (await stored("plain")).override == {"config": {}, "enabled": True}


async def test_an_emptied_field_goes_back_to_its_default(
    browser: Browser, upstream: Upstream, running: LlamaStack
) -> None:
    await added(browser, upstream)
    await browser.submit(await page_of("sky"), config_api_key="")
    [record] = running.live.snapshot.providers.values()
    assert "api_key" not in record.config


@pytest.mark.parametrize(
    ("provider_type", "fields", "message"),
    [
        ("remote::vllm", {}, "This field is required"),
        ("remote::vllm", {"config_base_url": "http://x/v1", "config_max_tokens": "0"}, "greater than or equal to 1"),
        ("remote::vllm", {"config_base_url": "http://x/v1", "config_max_tokens": "many"}, "whole number"),
        ("remote::openai", {"identifier": "a/b"}, "Use letters, digits"),
        ("remote::openai", {"identifier": ""}, "This field is required"),
        ("inline::meta-reference", {"config_quantization": "{"}, "This is not JSON"),
        ("inline::meta-reference", {"config_quantization": '{"type": "int1"}'}, "type: Input should be"),
    ],
)
async def test_a_bad_value_is_told_at_its_field(
    browser: Browser, provider_type: str, fields: dict[str, str], message: str
) -> None:
    path = f"/admin/registry/provider/add/?api=inference&provider_type={provider_type}"
    page = await browser.submit(path, **{"identifier": "bad", **fields})
    assert page.status_code == 200
    assert message in page.text
    assert not await db(Provider.objects.count)


async def test_a_taken_identifier_is_told_at_its_field(browser: Browser, upstream: Upstream) -> None:
    await added(browser, upstream)
    page = await added(browser, upstream)
    assert "exists already; choose another identifier" in page.text
    assert await db(Provider.objects.count) == 1


def from_yaml(**config: str) -> StackConfig:
    """What `llama stack run` applies."""
    entry = ProviderEntry(api="inference", provider_id="sky", provider_type="remote::openai", declared=config)
    return StackConfig(image_name="test", providers={"inference": [entry]})


async def test_what_the_environment_sets_is_read_only(
    browser: Browser, running: LlamaStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKY_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("SKY_KEY", SECRET)
    await db(service.apply, from_yaml(base_url="${env.SKY_URL}", api_key="${env.SKY_KEY}"))
    page = await browser.open(await page_of("sky"))
    assert "Environment: SKY_URL" in page.text
    assert "http://127.0.0.1:9/v1" in page.text
    assert SECRET not in page.text
    await browser.submit(await page_of("sky"), config_base_url="http://elsewhere/v1", config_api_key="sk-mine")
    assert (await stored("sky")).override["config"] == {}
    [record] = running.live.snapshot.providers.values()
    assert (record.config["base_url"], record.config["api_key"]) == ("http://127.0.0.1:9/v1", SECRET)


async def test_the_environment_wins_over_an_older_edit(
    browser: Browser, running: LlamaStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db(service.apply, from_yaml(base_url="${env.SKY_URL:=http://127.0.0.1:8/v1}"))
    await browser.submit(await page_of("sky"), config_base_url="http://127.0.0.1:7/v1")
    monkeypatch.setenv("SKY_URL", "http://127.0.0.1:9/v1")
    assert (await stored("sky")).merged["config"]["base_url"] == "${env.SKY_URL:=http://127.0.0.1:8/v1}"


async def test_an_edit_can_be_taken_back_to_the_yaml(browser: Browser, running: LlamaStack) -> None:
    await db(service.apply, from_yaml(base_url="http://127.0.0.1:9/v1"))
    page = await browser.submit(await page_of("sky"), config_base_url="http://127.0.0.1:8/v1")
    assert (await stored("sky")).merged["config"]["base_url"] == "http://127.0.0.1:8/v1"
    page = await browser.open(await page_of("sky"))
    assert "Back to the YAML" in page.text
    await browser.submit(await page_of("sky"), reset_base_url="on")
    assert (await stored("sky")).override["config"] == {}
    [record] = running.live.snapshot.providers.values()
    assert record.config["base_url"] == "http://127.0.0.1:9/v1"


async def test_the_connection_is_tested(browser: Browser, upstream: Upstream) -> None:
    await added(browser, upstream)
    path = await page_of("sky")
    page = await browser.submit(path, to=path.replace("change", "test"))
    assert "Provider &#x27;sky&#x27; answers: 2 models" in page.text
    assert "Healthy" in page.text
    await browser.submit(path, config_base_url="http://127.0.0.1:9/v1", config_api_key=SECRET)
    page = await browser.submit(path, to=path.replace("change", "test"))
    assert "Provider &#x27;sky&#x27; does not answer" in page.text
    assert "Failing" in page.text


async def test_models_are_discovered_by_a_button(browser: Browser, upstream: Upstream, running: LlamaStack) -> None:
    await added(browser, upstream)
    path = await page_of("sky")
    await browser.submit(path, to=path.replace("change", "discover"))
    async with asyncio.timeout(30):
        while len(upstream.headers) < 3:  # it is listed and checked by itself, too, and only once
            await asyncio.sleep(0.01)
    upstream.models.append("sky-3")
    page = await browser.submit(path, to=path.replace("change", "discover"))
    assert "has 3 models, 1 of them new" in page.text
    assert "sky/sky-3" in [model.identifier for model in running.live.snapshot.models.values()]


async def test_the_buttons_want_a_post_with_its_token(browser: Browser, upstream: Upstream) -> None:
    await added(browser, upstream)
    path = (await page_of("sky")).replace("change", "discover")
    assert (await browser.open(path)).status_code == 405
    assert (await browser.http.post(path)).status_code == 403


async def test_a_disabled_provider_says_so_when_it_is_tested(
    browser: Browser, upstream: Upstream, running: LlamaStack
) -> None:
    await added(browser, upstream)
    path = await page_of("sky")
    await browser.submit(path, enabled=None)
    assert not running.live.snapshot.providers
    page = await browser.submit(path, to=path.replace("change", "discover"))
    assert "This provider is not running: enable it first." in page.text


async def test_an_unavailable_provider_shows_its_reason(browser: Browser) -> None:
    await db(service.apply, from_yaml(base_url="http://127.0.0.1:9/v1", api_key="${env.NO_SUCH_VARIABLE}"))
    for path in (LIST, await page_of("sky")):
        page = await browser.open(path)
        assert "Unavailable" in page.text
        assert "NO_SUCH_VARIABLE is not set" in page.text
    page = await browser.submit(await page_of("sky"), to=(await page_of("sky")).replace("change", "test"))
    assert "is unavailable" in page.text


async def test_what_the_yaml_declares_can_be_disabled_but_not_deleted(browser: Browser, running: LlamaStack) -> None:
    await db(service.apply, from_yaml(base_url="http://127.0.0.1:9/v1"))
    delete = (await page_of("sky")).replace("change", "delete")
    page = await browser.submit(delete)
    assert "disable it instead" in page.text
    selected = {"action": "delete_selected", "_selected_action": str((await stored("sky")).pk), "post": "yes"}
    page = await browser.submit(LIST, **selected)
    assert "disable it instead" in page.text
    await browser.submit(await page_of("sky"), enabled=None)
    assert not (await stored("sky")).enabled


async def test_discovered_models_go_with_their_provider(
    browser: Browser, upstream: Upstream, running: LlamaStack
) -> None:
    await added(browser, upstream)
    path = await page_of("sky")
    await browser.submit(path, to=path.replace("change", "discover"))
    page = await browser.open(path.replace("change", "delete"))
    assert "sky/sky-1" in page.text
    await browser.submit(path.replace("change", "delete"))
    assert not await db(Model.objects.count)
    assert not running.live.snapshot.providers


async def test_a_changed_key_is_sent_from_then_on_and_calls_under_way_end(
    browser: Browser, upstream: Upstream, running: LlamaStack
) -> None:
    await added(browser, upstream, config_allowed_models="held\nsky-1")
    upstream.models = ["held", "sky-1"]
    path = await page_of("sky")
    await browser.submit(path, to=path.replace("change", "discover"))
    under_way = asyncio.create_task(browser.http.post(URL, json={"model": "sky/held", "messages": HELLO}))
    async with asyncio.timeout(10):
        while not upstream.requests:
            await asyncio.sleep(0.01)
    page = await browser.submit(path, config_api_key="sk-other")
    assert "was changed successfully" in page.text
    after = await browser.http.post(URL, json={"model": "sky/sky-1", "messages": HELLO})
    upstream.released.set()
    assert ((await under_way).status_code, after.status_code) == (200, 200)
    sent = [headers["Authorization"] for headers in upstream.headers if "Content-Type" in headers]
    assert sent == [f"Bearer {SECRET}", "Bearer sk-other"]
