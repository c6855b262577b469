"""The admin's pages of models, by their real forms."""

import pytest

from apps.registry import service
from apps.registry.models import Model, Origin, Provider
from llamastack.config import ModelEntry, StackConfig
from llamastack.config.sections import RegisteredResources
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.pages import Browser

LIST = "/admin/registry/model/"
ADD = f"{LIST}add/"


async def stored(identifier: str) -> Model:
    return await db(lambda: Model.objects.get(identifier=identifier))


async def page_of(identifier: str) -> str:
    return f"{LIST}{(await stored(identifier)).pk}/change/"


def names(running: LlamaStack) -> list[str]:
    return [model.identifier for model in running.live.snapshot.models_of("default")]


async def test_an_added_model_answers_at_once(browser: Browser, sky: Provider, running: LlamaStack) -> None:
    page = await browser.submit(ADD, identifier="blue", provider_model_id="sky-1", aliases="azure\nazure\n\ncyan")
    assert "was added successfully" in page.text
    blue = running.live.snapshot.model("default", "cyan")
    assert blue is not None
    assert (blue.identifier, blue.provider_id, blue.provider_model_id) == ("blue", "sky", "sky-1")
    assert blue.aliases == ("azure", "cyan")
    assert (await stored("blue")).owner == "ada"


async def test_only_what_was_changed_is_laid_over_a_discovered_model(browser: Browser, sky: Provider) -> None:
    page = await browser.submit(await page_of("sky/sky-1"), aliases="blue")
    assert "was changed successfully" in page.text
    row = await stored("sky/sky-1")
    assert (row.origin, row.override) == (Origin.discovered, {"aliases": ["blue"]})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"identifier": "sky/sky-1"}, "&#x27;sky/sky-1&#x27; exists already"),
        ({"identifier": "azure"}, "&#x27;azure&#x27; is a name of the model &#x27;sky/sky-2&#x27;"),
        ({"aliases": "azure"}, "&#x27;azure&#x27; is a name of the model &#x27;sky/sky-2&#x27;"),
        ({"aliases": "sky/sky-1"}, "&#x27;sky/sky-1&#x27; is a name of the model &#x27;sky/sky-1&#x27;"),
        ({"model_type": "embedding"}, "needs &#x27;embedding_dimension&#x27;"),
        ({"metadata": "[1]"}, "This is not a JSON object"),
        ({"metadata": "{"}, "This is not JSON"),
        ({"provider_id": "nobody"}, "Select a valid choice"),
        ({"identifier": ""}, "This field is required"),
    ],
)
async def test_a_bad_value_is_told_at_its_field(
    browser: Browser, sky: Provider, fields: dict[str, str], message: str
) -> None:
    await db(service.edit_model, await stored("sky/sky-2"), {"aliases": ["azure"]})
    page = await browser.submit(ADD, **{"identifier": "new", **fields})
    assert page.status_code == 200
    assert message in page.text
    assert await db(Model.objects.count) == 2


async def test_an_alias_may_not_be_taken_by_an_edit(browser: Browser, sky: Provider) -> None:
    page = await browser.submit(await page_of("sky/sky-1"), aliases="sky/sky-2")
    assert "is a name of the model" in page.text
    assert not (await stored("sky/sky-1")).override


async def test_metadata_loses_the_keys_that_were_removed(browser: Browser, sky: Provider, running: LlamaStack) -> None:
    declared = {"model_id": "mini", "provider_id": "sky", "metadata": {"a": 1, "b": 2}}
    entry = ModelEntry(model_id="mini", provider_id="sky", provider_model_id="sky-1", declared=declared)
    resources = RegisteredResources(models=[entry])
    await db(service.apply, StackConfig(image_name="test", registered_resources=resources))
    await browser.submit(await page_of("mini"), metadata='{"b": 3}')
    mini = running.live.snapshot.model("default", "mini")
    assert mini is not None
    assert dict(mini.metadata) == {"b": 3}
    page = await browser.submit((await page_of("mini")).replace("change", "delete"))
    assert "disable it instead" in page.text


async def chosen(browser: Browser, action: str, *identifiers: str) -> str:
    for identifier in identifiers:
        row = await stored(identifier)
        page = await browser.submit(LIST, action=action, _selected_action=str(row.pk))
    return page.text


async def test_there_is_one_default_of_a_type(browser: Browser, sky: Provider, running: LlamaStack) -> None:
    await chosen(browser, "make_default", "sky/sky-1")
    assert names(running)[0] == "sky/sky-1"
    assert "sky/sky-2: made default" in await chosen(browser, "make_default", "sky/sky-2")
    assert [model.default for model in running.live.snapshot.models_of("default")] == [True, False]
    assert names(running)[0] == "sky/sky-2"


async def test_models_are_disabled_and_enabled(browser: Browser, sky: Provider, running: LlamaStack) -> None:
    await chosen(browser, "disable", "sky/sky-1", "sky/sky-2")
    assert names(running) == []
    await browser.submit(await page_of("sky/sky-1"), enabled="on")
    await chosen(browser, "enable", "sky/sky-2")
    assert names(running) == ["sky/sky-1", "sky/sky-2"]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("model_type=llm", ["sky/sky-1", "sky/sky-2", "plain"]),
        ("model_type=embedding", ["mini"]),
        ("provider_id=sky", ["sky/sky-1", "sky/sky-2", "mini"]),
        ("enabled=no", ["sky/sky-2"]),
        ("enabled=yes", ["sky/sky-1", "mini", "plain"]),
        ("origin__exact=discovered", ["sky/sky-1", "sky/sky-2"]),
        ("q=azure", ["mini"]),
    ],
)
async def test_models_are_filtered_by_what_holds(browser: Browser, sky: Provider, query: str, shown: list[str]) -> None:
    mini = {
        "provider_id": "sky",
        "model_type": "embedding",
        "metadata": {"embedding_dimension": 3},
        "aliases": ["azure"],
    }
    await db(service.edit_model, Model(identifier="mini"), mini)
    await db(service.edit_model, Model(identifier="plain"), {"provider_id": "other"})
    await db(service.edit_model, await stored("sky/sky-2"), {"enabled": False})
    page = (await browser.open(f"{LIST}?{query}")).text
    everything = ["sky/sky-1", "sky/sky-2", "mini", "plain"]
    assert [name for name in everything if f">{name}</a>" in page] == shown
