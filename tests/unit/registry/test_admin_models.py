"""The admin's pages of models, by their real forms."""

import re

import pytest
from django.contrib.auth.models import Permission

from apps.access.models import User
from apps.registry import service
from apps.registry.models import Model, Origin, Provider
from llamastack.config import ModelEntry, StackConfig
from llamastack.config.sections import RegisteredResources
from llamastack.db import db
from llamastack.snapshot import Home
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
    page = await browser.submit(ADD, identifier="blue", **{"homes-1-name": "sky-1"}, aliases="azure\nazure\n\ncyan")
    assert "was added successfully" in page.text
    blue = running.live.snapshot.model("default", "cyan")
    assert blue is not None
    assert (blue.identifier, blue.provider_id, blue.provider_model_id) == ("blue", "sky", "sky-1")
    assert blue.aliases == ("azure", "cyan")
    assert "Also azure, cyan" in (await browser.open(LIST)).text
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
        ({"homes-1-place": "provider:nobody"}, "Home 1: Select a valid choice"),
        ({"homes-1-place": ""}, "A model needs at least one home"),
        ({"homes-1-remove": "on"}, "A model needs at least one home"),
        ({"homes-1-weight": "heavy"}, "Home 1: its weight is a whole number"),
        ({"homes-1-weight": "0"}, "Home 1: Input should be greater than or equal to 1"),
        ({"homes-1-order": "101"}, "Home 1: Input should be less than or equal to 100"),
        ({"homes-2-place": "model:"}, "Home 2: "),
        ({"homes-2-place": "model:", "homes-2-name": "nobody"}, "Home 2: there is no model &#x27;nobody&#x27;"),
        ({"homes-2-place": "model:", "homes-2-name": "new"}, "Home 2: &#x27;new&#x27; is this model itself"),
        ({"homes-2-place": "provider:sky"}, "Home 2: the same as homes[0]"),
        ({"homes-2-name": "sky-1"}, "Home 2: choose a provider"),
        ({"affinity": "two words"}, "Name one field of a request"),
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
    assert len(re.findall(r">\s*Disabled\s*<", (await browser.open(LIST)).text)) == 2
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


SECOND = {"homes-2-place": "provider:sky", "homes-2-name": "sky-2", "homes-2-weight": "3", "homes-2-order": "1"}


async def test_a_second_home_is_added_by_the_empty_line_and_taken_away_again(
    browser: Browser, sky: Provider, running: LlamaStack
) -> None:
    await browser.submit(ADD, identifier="blue", **{"homes-1-name": "sky-1"})
    page = await browser.submit(await page_of("blue"), affinity="user", **SECOND)
    assert "was changed successfully" in page.text
    homes = [{"provider_id": "sky", "provider_model_id": "sky-1"}]
    second = {"provider_id": "sky", "provider_model_id": "sky-2", "weight": 3, "order": 1}
    assert (await stored("blue")).override["homes"] == [*homes, second]
    blue = running.live.snapshot.model("default", "blue")
    assert blue is not None
    assert (blue.homes, blue.affinity) == ((Home("sky", "sky-1"), Home("sky", "sky-2", weight=3.0, order=1)), "user")
    assert "sky + 1" in (await browser.open(LIST)).text
    unchanged = (await stored("blue")).override
    await browser.submit(await page_of("blue"))
    assert (await stored("blue")).override == unchanged
    await browser.submit(await page_of("blue"), **{"homes-1-remove": "on"})
    assert (await stored("blue")).override["homes"] == [second]


async def test_a_circle_is_refused_at_the_homes_of_the_form(browser: Browser, sky: Provider) -> None:
    await db(service.edit_model, Model(identifier="outer"), {"homes": [{"model": "sky/sky-1"}]})
    page = await browser.submit(await page_of("sky/sky-1"), **{"homes-2-place": "model:", "homes-2-name": "outer"})
    assert "Home 2: sky/sky-1 -&gt; outer -&gt; sky/sky-1 goes round in a circle" in page.text
    assert 'value="outer"' in page.text
    assert not (await stored("sky/sky-1")).override


async def test_homes_of_the_environment_are_read_only(
    browser: Browser, sky: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEST", "sky-1")
    homes = [{"provider_id": "sky", "provider_model_id": "${env.BEST}"}, {"provider_id": "lost"}]
    row = Model(identifier="mine", origin=Origin.yaml, declared={"homes": homes})
    await db(row.save)
    page = await browser.open(await page_of("mine"))
    assert "Set by the environment: change it there." in page.text
    assert "lost (not registered)" in page.text
    await browser.submit(await page_of("mine"), aliases="own", **{"homes-1-name": "sky-2"})
    assert (await stored("mine")).override == {"aliases": ["own"]}


async def test_what_is_disabled_or_deleted_tells_whom_it_leaves_without_a_home(browser: Browser, sky: Provider) -> None:
    await db(service.edit_model, Model(identifier="outer"), {"homes": [{"model": "sky/sky-1"}]})
    page = await browser.submit(await page_of("sky/sky-1"), enabled=None)
    assert "It is the only home of &#x27;outer&#x27;" in page.text
    assert not (await stored("sky/sky-1")).enabled
    address = f"/admin/registry/provider/{sky.pk}/"
    page = await browser.submit(f"{address}delete/")
    assert "It is the only home of &#x27;outer&#x27;" in page.text
    assert (await browser.open(f"{address}change/")).status_code == 200
    page = await browser.submit(f"{address}change/", enabled=None)
    assert "was changed successfully" in page.text


async def test_a_model_that_nobody_would_answer_for_says_so(browser: Browser, sky: Provider) -> None:
    await db(service.edit_model, Model(identifier="outer"), {"homes": [{"model": "sky/sky-1"}]})
    assert "is not registered" not in (await browser.open(await page_of("outer"))).text
    await db(service.edit_provider, sky, {}, False)
    page = await browser.open(await page_of("outer"))
    assert "Provider &#x27;sky&#x27; of model &#x27;sky/sky-1&#x27; is not registered or is disabled." in page.text
    await db(service.edit_model, await stored("outer"), {"enabled": False})
    assert "is disabled." not in (await browser.open(await page_of("outer"))).text


async def test_the_form_of_a_model_names_what_its_tenant_may(browser: Browser, sky: Provider) -> None:
    def add() -> None:
        for tenant in ("red", "blue"):
            row = Provider(identifier=f"of-{tenant}", provider_type="remote::openai", tenant=tenant)
            service.edit_provider(row, {"base_url": "http://127.0.0.1:9/v1"}, enabled=True)
        service.edit_model(Model(identifier="mine", tenant="red"), {"provider_id": "of-red"})

    await db(add)
    assert "of-red" not in (await browser.open(ADD)).text
    page = (await browser.open(await page_of("mine"))).text
    assert ("of-red (remote::openai)" in page, "of-blue" in page, "sky (remote::openai)" in page) == (True, False, True)


async def test_who_may_only_look_sees_the_homes(browser: Browser, sky: Provider) -> None:
    homes = [{"provider_id": "sky", "weight": 3}, {"model": "sky/sky-2", "order": 1}]
    await db(service.edit_model, await stored("sky/sky-1"), {"homes": homes, "affinity": "user"})

    def restrict() -> None:
        User.objects.update(is_superuser=False, is_staff=True)
        User.objects.get().user_permissions.set(Permission.objects.filter(codename="view_model"))

    await db(restrict)
    page = (await browser.open(await page_of("sky/sky-1"))).text
    assert "sky: sky/sky-1, weight 3, order 0<br>another model here: sky/sky-2, weight 1, order 1" in page
    assert "sky: sky-2, weight 1, order 0" in (await browser.open(await page_of("sky/sky-2"))).text
