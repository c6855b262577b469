"""Context lengths and prices: who says them, in which order, at which door, and where they are shown."""

from typing import Any

import httpx
import pytest
from django.core.exceptions import ObjectDoesNotExist

from apps.registry import service
from apps.registry.facts import facts_in, facts_of, facts_of_row
from apps.registry.known_models import known_model
from apps.registry.models import Model, Provider
from apps.registry.schemas import ProviderModel
from llamastack.config import ConfigError
from llamastack.db import db
from llamastack.model_facts import ModelFacts, Prices
from llamastack.model_facts import facts_in as facts_in_metadata
from llamastack.snapshot import ModelRecord
from llamastack.stack import LlamaStack
from tests.unit.pages import Browser
from tests.unit.registry.test_admin_models import page_of
from tests.upstream import Upstream

MODELS = "/v1/models"
PAGE = "https://developers.openai.com/api/docs/pricing"
CLAUDE = "global.anthropic.claude-sonnet-4-5-20250929-v1:0"
BAD = [
    ({"context_length": "8k"}, "metadata.context_length", "a valid integer"),
    ({"context_length": 0}, "metadata.context_length", "greater than or equal to 1"),
    ({"context_length": True}, "metadata.context_length", "a valid integer"),
    ({"max_output_tokens": 8.5}, "metadata.max_output_tokens", "a valid integer"),
    ({"prices": 3}, "metadata.prices", "a valid dictionary"),
    ({"prices": {"input": -1}}, "metadata.prices.input", "greater than or equal to 0"),
    ({"prices": {"output": "cheap"}}, "metadata.prices.output", "a valid number"),
    ({"prices": {"inptu": 1}}, "metadata.prices.inptu", "There is no such price; there are input,"),
    ({"prices": {"long": [{"input": 1}]}}, "metadata.prices.long.0.above", "Field required"),
]


def record(stated: dict[str, Any] | None = None, listed: dict[str, Any] | None = None) -> ModelRecord:
    said, heard = facts_in_metadata(stated or {}), facts_in_metadata(listed or {})
    return ModelRecord(1, "*", "system", "sky", "openai", "gpt-4o", "llm", 0, "admin", stated=said, listed=heard)


def test_an_operator_comes_before_a_listing_and_a_listing_before_what_is_known() -> None:
    facts = facts_of(record(), "remote::openai", "gpt-4o")
    assert (facts.context_length, facts.sources["context_length"]) == (128_000, PAGE)
    facts = facts_of(record(listed={"context_length": 64_000}), "remote::openai", "gpt-4o")
    assert (facts.context_length, facts.sources["context_length"]) == (64_000, "provider")
    facts = facts_of(record({"context_length": 32_000}, {"context_length": 64_000}), "remote::openai", "gpt-4o")
    assert (facts.context_length, facts.sources["context_length"]) == (32_000, "operator")
    assert (facts.max_output_tokens, facts.sources["prices"], facts.checked != "") == (16_384, PAGE, True)


def test_an_operators_prices_are_taken_as_a_whole() -> None:
    """A price of theirs beside one of the vendor's would be a bill that nobody writes."""
    facts = facts_of(record({"prices": {"input": 1}}), "remote::openai", "gpt-4o")
    assert facts.prices == Prices(input=1)
    assert facts_of(record({"prices": {}}), "remote::openai", "gpt-4o").prices == Prices()


def test_nothing_is_known_of_a_model_of_ones_own() -> None:
    facts = facts_of(record(), "remote::vllm", "gpt-4o")
    assert (facts.context_length, facts.prices, facts.sources, facts.checked) == (None, None, {}, "")


def test_a_home_has_the_prices_of_its_own_vendor() -> None:
    here, there = facts_of(record(), "remote::openai", "gpt-4o"), facts_of(record(), "remote::bedrock", CLAUDE)
    assert (here.prices and here.prices.input, there.prices and there.prices.input) == (2.5, 3)


def test_a_model_with_several_homes_is_shown_as_on_the_first_of_them() -> None:
    homes = [
        {"provider_id": "aws", "provider_model_id": CLAUDE, "order": 1},
        {"provider_id": "openai", "provider_model_id": "gpt-4o"},
    ]
    row = Model(identifier="sky", declared={"homes": homes})
    types = {("*", "aws"): "remote::bedrock", ("*", "openai"): "remote::openai"}
    assert facts_of_row(row, types).context_length == 128_000


def test_a_listings_odd_words_are_not_known() -> None:
    said = {"context_length": "many", "max_output_tokens": 4096, "prices": {"input": "1"}}
    assert facts_in_metadata(said) == ModelFacts(max_output_tokens=4096)


async def test_models_show_what_is_known_of_them(client: httpx.AsyncClient, sky: Provider) -> None:
    given = {"model_id": "mine", "provider_id": "sky", "provider_model_id": "gpt-4o"}
    made = (await client.post(MODELS, json=given)).json()
    assert (made["context_length"], made["max_output_tokens"]) == (128_000, 16_384)
    assert {name: made["prices"][name] for name in ("input", "cached_input", "output")} == {
        "input": 2.5,
        "cached_input": 1.25,
        "output": 10,
    }
    assert set(made["sources"].values()) == {PAGE}
    assert (await client.get(f"{MODELS}/mine")).json() == made
    listed = {model["id"]: model for model in (await client.get(MODELS)).json()["data"]}
    assert listed["mine"] == made
    assert (listed["sky/sky-1"]["context_length"], listed["sky/sky-1"]["prices"]) == (None, None)
    assert listed["sky/sky-1"]["sources"] == {}


async def test_what_an_operator_sets_is_shown_at_once_and_goes_again(client: httpx.AsyncClient, sky: Provider) -> None:
    prices = {"input": 0.5, "output": 1.5, "long": [{"above": 200_000, "input": 1}]}
    edited = (await client.patch(f"{MODELS}/sky/sky-1", json={"metadata": {"prices": prices}})).json()
    assert (edited["prices"]["input"], edited["prices"]["cached_input"]) == (0.5, None)
    assert edited["prices"]["long"][0]["above"] == 200_000
    assert edited["sources"] == {"prices": "operator"}
    edited = (await client.patch(f"{MODELS}/sky/sky-1", json={"metadata": {}})).json()
    assert (edited["prices"], edited["sources"]) == (None, {})


async def test_what_a_provider_lists_holds_for_every_name_of_its_model(
    client: httpx.AsyncClient, sky: Provider, running: LlamaStack
) -> None:
    await client.post(MODELS, json={"model_id": "mine", "provider_id": "sky", "provider_model_id": "sky-1"})
    told = {"context_length": 4096, "max_output_tokens": "all"}
    listing = [ProviderModel(provider_model_id="sky-1", metadata=told)]
    await db(service.record_listing, sky.pk, listing)
    await client.post(MODELS, json={"model_id": "later", "provider_id": "sky", "provider_model_id": "sky-1"})
    for name in ("mine", "later", "sky/sky-1"):
        shown = (await client.get(f"{MODELS}/{name}")).json()
        assert (shown["context_length"], shown["max_output_tokens"]) == (4096, None), name
        assert shown["sources"] == {"context_length": "provider"}, name
    moved = (await client.patch(f"{MODELS}/mine", json={"provider_model_id": "sky-9"})).json()
    assert (moved["context_length"], moved["sources"]) == (None, {})
    await client.patch(f"{MODELS}/later", json={"aliases": ["late"]})
    assert (await client.get(f"{MODELS}/late")).json()["context_length"] == 4096
    await db(service.record_listing, sky.pk, [])
    await running.live.refresh()
    assert (await client.get(f"{MODELS}/later")).json()["context_length"] is None


async def test_a_listed_model_answers_to_its_other_names_and_is_registered_once(
    client: httpx.AsyncClient, sky: Provider, running: LlamaStack
) -> None:
    both = ProviderModel(provider_model_id="flash", other_names=["models/flash"])
    assert await db(service.record_listing, sky.pk, [both]) == 1
    assert await db(service.record_listing, sky.pk, [both]) == 0
    await running.live.refresh()
    found = [(await client.get(f"{MODELS}/{name}")).json()["id"] for name in ("sky/flash", "sky/models/flash")]
    assert found == ["sky/flash", "sky/flash"]


async def test_what_was_found_by_another_name_stays_what_it_was(sky: Provider) -> None:
    await db(service.record_listing, sky.pk, [ProviderModel(provider_model_id="models/flash")])
    newer = ProviderModel(provider_model_id="flash", other_names=["models/flash"], metadata={"context_length": 7})
    assert [await db(service.record_listing, sky.pk, [newer]) for _ in range(3)] == [0, 0, 0]
    row = await db(lambda: Model.objects.get(identifier="sky/models/flash"))
    assert (row.gone, row.declared["metadata"]) == (False, {"context_length": 7})


async def test_an_edit_of_a_listed_value_is_the_operators(client: httpx.AsyncClient, sky: Provider) -> None:
    listing = [ProviderModel(provider_model_id="sky-1", metadata={"context_length": 4096, "note": 1})]
    await db(service.record_listing, sky.pk, listing)
    edited = (await client.patch(f"{MODELS}/sky/sky-1", json={"metadata": {"context_length": 1024, "note": 1}})).json()
    assert (edited["context_length"], edited["sources"]) == (1024, {"context_length": "operator"})


@pytest.mark.parametrize(("metadata", "field", "message"), BAD)
async def test_a_bad_value_is_refused_over_http(
    client: httpx.AsyncClient, sky: Provider, metadata: dict[str, Any], field: str, message: str
) -> None:
    registered = {"model_id": "mine", "provider_id": "sky", "metadata": metadata}
    for refused in (
        await client.post(MODELS, json=registered),
        await client.patch(f"{MODELS}/sky/sky-1", json={"metadata": metadata}),
        await client.post("/manage/models", json=registered),
        await client.patch("/manage/models/sky/sky-1", json={"metadata": metadata}),
    ):
        error = refused.json()["error"]
        assert (refused.status_code, error["param"]) == (400, field)
        assert message in error["message"]
    with pytest.raises(ObjectDoesNotExist):
        await db(Model.objects.get, identifier="mine")


@pytest.mark.parametrize(("metadata", "field", "message"), BAD)
def test_a_bad_value_in_the_yaml_stops_the_start(
    apply: Any, metadata: dict[str, Any], field: str, message: str
) -> None:
    model = {"model_id": "mine", "provider_id": "sky", "metadata": metadata}
    with pytest.raises(ConfigError) as refused:
        apply([{"provider_id": "sky", "provider_type": "remote::openai", "config": {}}], [model])
    assert field in str(refused.value)
    assert message in str(refused.value)


def test_a_value_of_the_yaml_may_come_from_the_environment(
    apply: Any, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKY_CONTEXT", "8192")
    model = {"model_id": "mine", "provider_id": "sky", "metadata": {"context_length": "${env.SKY_CONTEXT}"}}
    apply([{"provider_id": "sky", "provider_type": "remote::openai", "config": {}}], [model])
    assert Model.objects.get(identifier="mine").declared["metadata"] == {"context_length": "${env.SKY_CONTEXT}"}


async def test_the_admin_refuses_a_bad_value_at_its_field(browser: Browser, sky: Provider) -> None:
    page = await browser.submit(await page_of("sky/sky-1"), metadata='{"prices": {"input": -1}}')
    assert "metadata.prices.input&#x27;: Input should be greater" in page.text


async def test_the_admin_shows_context_and_prices_with_who_says_so(
    client: httpx.AsyncClient, browser: Browser, sky: Provider
) -> None:
    await browser.submit("/admin/registry/model/add/", identifier="mine", **{"homes-1-name": "gpt-4o"})
    listed = (await browser.open("/admin/registry/model/")).text
    assert "128,000" in listed
    assert "2.5 in, 10 out" in listed
    page = (await browser.open(await page_of("mine"))).text
    assert "context_length: 128,000 tokens" in page
    assert f'<a href="{PAGE}" rel="noreferrer">developers.openai.com</a>, checked 20' in page
    assert "Nothing is known." in (await browser.open(await page_of("sky/sky-1"))).text
    page = (await browser.submit(await page_of("mine"), metadata='{"prices": {"input": 0.1, "output": 1e-7}}')).text
    assert "0.1 in, 0.0000001 out" in page
    assert (
        "prices: input 0.1, output 0.0000001 ($ for a million tokens) – from its metadata"
        in (await browser.open(await page_of("mine"))).text
    )


async def test_manage_shows_them_and_takes_them_back_unread(client: httpx.AsyncClient, sky: Provider) -> None:
    given = {"model_id": "mine", "provider_id": "sky", "provider_model_id": "gpt-4o"}
    made = (await client.post("/manage/models", json=given)).json()
    assert (made["context_length"], made["max_output_tokens"], made["prices"]["input"]) == (128_000, 16_384, 2.5)
    assert made["sources"]["prices"] == PAGE
    assert (await client.put("/manage/models/mine", json=made)).json() == made
    assert not (await db(Model.objects.get, identifier="mine")).override["metadata"]
    rows = (await client.get("/manage/models")).json()["results"]
    assert {row["model_id"]: row["context_length"] for row in rows}["mine"] == 128_000


async def test_a_tenants_model_on_a_shared_provider_has_its_facts(running: LlamaStack, upstream: Upstream) -> None:
    def made() -> None:
        service.edit_provider(Provider(identifier="ours", provider_type="remote::openai"), {}, enabled=True)
        row = Model(identifier="mine", tenant="blue")
        service.edit_model(row, {"provider_id": "ours", "provider_model_id": "gpt-4o"})

    await db(made)
    await running.live.refresh()
    mine = running.live.snapshot.model("blue", "mine")
    assert mine is not None
    known = known_model("remote::openai", "gpt-4o")
    assert known is not None
    assert facts_in(running.live.snapshot, mine).prices == known.facts.prices
