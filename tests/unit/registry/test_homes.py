"""The homes of a model, by every door that writes them."""

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from apps.access.models import ApiKey
from apps.registry import service
from apps.registry.effective import model_record, shown_model
from apps.registry.models import Model, Origin, Provider
from apps.registry.schemas import ProviderModel
from llamastack.call import Principal
from llamastack.config import ConfigError, load_config
from llamastack.db import db
from llamastack.errors import BadRequest, Conflict
from llamastack.snapshot import Home
from llamastack.stack import LlamaStack
from tests.unit.inference.test_chat_completions import HELLO, URL
from tests.unit.registry.homes import AROUND, IDS, OTHER, REFUSED, SKY

pytestmark = pytest.mark.django_db
ADDRESS = "http://127.0.0.1:9/v1"


def provider(identifier: str = "sky", tenant: str = "*") -> Provider:
    row = Provider(identifier=identifier, provider_type="remote::openai", tenant=tenant)
    return service.edit_provider(row, {"base_url": ADDRESS}, enabled=True)


def model(identifier: str, tenant: str = "*", **changes: Any) -> Model:
    return service.edit_model(Model(identifier=identifier, tenant=tenant), changes)


def row_of(identifier: str) -> Model:
    row: Model = Model.objects.get(identifier=identifier)
    return row


def edit(identifier: str, **changes: Any) -> Model:
    return service.edit_model(row_of(identifier), changes)


@pytest.fixture
def around(db: None) -> None:
    """`fast` on sky, and the models that refused lists speak of."""
    provider(), provider("other")
    model("fast", provider_id="sky", aliases=["quick"])
    for identifier, changes in AROUND.items():
        model(identifier, **changes)


# --- the service ---


@pytest.mark.parametrize(("homes", "place", "said"), REFUSED, ids=IDS)
def test_the_service_refuses(around: None, homes: Any, place: str, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        edit("fast", homes=homes)
    assert refused.value.param == place
    assert said in refused.value.message
    assert row_of("fast").override == {"provider_id": "sky", "aliases": ["quick"]}


def test_homes_are_kept_as_short_as_they_may_be(around: None) -> None:
    given = [{"provider_id": "sky", "provider_model_id": "fast", "weight": 1}, {"model": "there", "order": 3}]
    assert edit("fast", homes=given).override["homes"] == [{"provider_id": "sky"}, {"model": "there", "order": 3}]
    assert shown_model(row_of("fast"))["homes"] == [
        {"provider_id": "sky", "weight": 1, "order": 0},
        {"model": "there", "weight": 1, "order": 3},
    ]


def test_a_circle_is_found_whichever_of_its_models_is_saved_last(around: None) -> None:
    model("a", homes=[SKY])
    model("b", homes=[{"model": "a"}])
    model("c", homes=[{"model": "b"}])
    with pytest.raises(BadRequest, match="a -> c -> b -> a"):
        edit("a", homes=[{"model": "c"}])


def test_a_new_name_of_the_tenant_cannot_close_a_circle(around: None) -> None:
    """A reference to a shared model would lead to the tenant's own of that name from now on."""
    model("mine", tenant="blue", homes=[{"model": "there"}])
    with pytest.raises(BadRequest, match="there -> mine -> there"):
        model("there", tenant="blue", homes=[{"model": "mine"}])
    model("more", tenant="blue", homes=[SKY, {"model": "mine"}])
    with pytest.raises(BadRequest, match="more -> mine -> more goes round"):
        service.edit_model(Model.objects.get(tenant="blue", identifier="more"), {"aliases": ["there"]})


def test_embeddings_of_other_dimensions_cannot_stand_for_each_other(around: None) -> None:
    edit("small", homes=[SKY, OTHER])
    with pytest.raises(BadRequest, match="'large' gives 4 dimensions, and this model 3") as refused:
        edit("small", homes=[SKY, {"model": "large"}])
    assert refused.value.param == "homes[1].model"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model_type": "llm"}, "model_type"),
        ({"metadata": {"embedding_dimension": 5}}, "metadata"),
    ],
)
def test_a_home_of_others_stays_what_they_need(around: None, changes: dict[str, Any], param: str) -> None:
    model("top", homes=[{"model": "small"}], model_type="embedding", metadata={"embedding_dimension": 3})
    with pytest.raises(BadRequest, match="'top' has this model as a home") as refused:
        edit("small", **changes)
    assert refused.value.param == param


def test_references_lead_through_four_models_at_most(around: None) -> None:
    model("m0", homes=[SKY])
    for number in range(1, 5):
        model(f"m{number}", homes=[{"model": f"m{number - 1}"}])
    with pytest.raises(BadRequest, match="more than 4 models"):
        model("m5", homes=[{"model": "m4"}])
    with pytest.raises(BadRequest, match="more than 4 models"):
        edit("m0", homes=[{"model": "there"}])


def test_references_reach_sixty_four_homes_at_most(around: None) -> None:
    many = [{"provider_id": "sky", "provider_model_id": f"m{number}"} for number in range(16)]
    for name in "abcde":
        model(name, homes=many)
    model("top", homes=[{"model": name} for name in "abcd"])
    with pytest.raises(BadRequest, match="would reach 80 homes") as refused:
        edit("top", homes=[{"model": name} for name in "abcde"])
    assert refused.value.param == "homes"


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"homes": [SKY, OTHER], "provider_id": "other"}, "provider_id"),
        ({"homes": [SKY, OTHER], "provider_model_id": "m"}, "provider_model_id"),
        ({"homes": [{"model": "there"}], "provider_id": "sky"}, "provider_id"),
        ({"homes": [{**SKY, "order": 1}, OTHER], "provider_id": "sky"}, "provider_id"),
    ],
)
def test_a_provider_beside_homes_is_that_of_the_first(around: None, given: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest, match="it is the first home's") as refused:
        model("new", **given)
    assert refused.value.param == param
    model("new", **given | {"provider_id": "sky", "provider_model_id": "new", "homes": [SKY, OTHER]})
    assert row_of("new").override == {"homes": [SKY, OTHER]}


def test_a_model_needs_a_provider_or_homes(around: None) -> None:
    with pytest.raises(BadRequest, match="or list its 'homes'") as refused:
        model("nowhere")
    assert refused.value.param == "provider_id"
    model("listed", homes=[SKY])
    with pytest.raises(BadRequest, match="or list its 'homes'"):
        edit("listed", homes=None)
    edit("listed", homes=None, provider_id="other")
    assert (shown_model(row_of("listed"))["homes"], shown_model(row_of("listed"))["provider_id"]) == (None, "other")


def test_what_is_gone_is_told_when_the_homes_are_changed_and_not_before(around: None) -> None:
    model("top", homes=[{"model": "there"}, OTHER])
    service.delete_model(row_of("there"))
    edit("top", aliases=["summit"])
    with pytest.raises(BadRequest, match="no model 'there'"):
        edit("top", homes=[{"model": "there"}, OTHER, SKY])


# --- what is deleted, and what is found ---


def test_what_is_a_models_only_home_is_not_deleted(around: None) -> None:
    model("top", homes=[{"model": "there"}])
    with pytest.raises(Conflict, match="the only home of 'top'"):
        service.delete_model(row_of("there"))
    edit("top", homes=[{"model": "their"}, OTHER])
    service.delete_model(row_of("there"))
    model("lone", homes=[OTHER])
    with pytest.raises(Conflict, match="the only home of 'lone'"):
        service.delete_provider(Provider.objects.get(identifier="other"))
    service.delete_model(row_of("lone"))
    model("twice", homes=[SKY, OTHER])
    edit("top", homes=[SKY, OTHER])
    service.delete_provider(Provider.objects.get(identifier="other"))
    assert model_record(row_of("twice")).homes == (Home("sky", "twice"), Home("other", "twice"))


def test_a_provider_goes_with_what_was_found_on_it_unless_that_has_a_home_elsewhere(around: None) -> None:
    sky = Provider.objects.get(identifier="sky")
    for name in AROUND:
        Model.objects.filter(identifier=name).delete()
    Model.objects.filter(identifier="fast").delete()
    service.record_listing(sky.pk, [ProviderModel(provider_model_id=name) for name in ("a", "b", "c")])
    edit("sky/b", homes=[{"provider_id": "sky", "provider_model_id": "b"}, OTHER])
    model("top", homes=[{"model": "sky/c"}])
    with pytest.raises(Conflict, match="'top'"):
        service.delete_provider(sky)
    service.delete_model(row_of("top"))
    service.delete_provider(sky)
    assert [row.identifier for row in Model.objects.all()] == ["sky/b"]


def test_a_listing_knows_the_homes_on_its_provider(around: None) -> None:
    other = Provider.objects.get(identifier="other")
    model("mine", homes=[SKY, {"provider_id": "other", "provider_model_id": "a"}])
    listing = [ProviderModel(provider_model_id=name) for name in ("a", "b")]
    assert service.record_listing(other.pk, listing) == 1
    edit("other/b", homes=[SKY])
    for listings in (1, 2, 3):
        assert service.record_listing(other.pk, []) == 0
        assert (row_of("other/b").missed, row_of("other/b").gone) == (listings, False)
    assert service.record_listing(other.pk, listing) == 0
    assert {row.identifier for row in service.models_on(other)} == {"mine"}


# --- tenants ---


def test_a_tenants_model_names_its_own_and_what_all_share(around: None) -> None:
    provider("theirs", tenant="red"), provider("ours", tenant="blue")
    model("their-model", tenant="red", provider_id="theirs")
    model("our-model", tenant="blue", provider_id="ours")
    mine = [{"provider_id": "ours"}, SKY, {"model": "our-model"}, {"model": "there"}]
    model("mine", tenant="blue", homes=mine)
    for home, place in (({"provider_id": "theirs"}, "provider_id"), ({"model": "their-model"}, "model")):
        with pytest.raises(BadRequest, match="there is no") as refused:
            model("other-mine", tenant="blue", homes=[home])
        assert refused.value.param == f"homes[0].{place}"
    for home in ({"provider_id": "ours"}, {"model": "our-model"}):
        with pytest.raises(BadRequest, match="there is no"):
            model("for-all", homes=[home])


# --- YAML ---


def entries(*models: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"model_type": "llm", **model} for model in models]


def providers(*identifiers: str) -> list[dict[str, Any]]:
    config = {"base_url": ADDRESS}
    return [{"provider_id": name, "provider_type": "remote::openai", "config": config} for name in identifiers]


def test_homes_of_the_yaml_hold_until_they_are_edited_and_come_back(apply: Any) -> None:
    listed = entries({"model_id": "fast", "homes": [SKY, {"provider_id": "other", "weight": 3}], "affinity": "user"})
    apply(providers("sky", "other"), listed)
    assert model_record(row_of("fast")).homes == (Home("sky", "fast"), Home("other", "fast", weight=3.0))
    assert model_record(row_of("fast")).affinity == "user"
    edit("fast", homes=[OTHER])
    apply(providers("sky", "other"), listed)
    assert row_of("fast").declared["homes"] == listed[0]["homes"]
    assert model_record(row_of("fast")).homes == (Home("other", "fast"),)


def test_homes_that_the_environment_sets_are_read_only(apply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEST", "sky-1")
    written = [{"provider_id": "sky", "provider_model_id": "${env.BEST}"}, OTHER]
    apply(providers("sky", "other"), entries({"model_id": "fast", "homes": written}))
    with pytest.raises(BadRequest) as refused:
        service.model_changes(row_of("fast"), {"homes": [OTHER]})
    assert (refused.value.param, refused.value.code) == ("homes", "read_only")
    shown = shown_model(row_of("fast"))
    assert shown["homes"][0]["provider_model_id"] == "sky-1"
    assert service.model_changes(row_of("fast"), shown) == {}


def test_a_circle_that_an_edit_and_the_yaml_make_together_is_told(apply: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    apply(providers("sky"), entries({"model_id": "a", "homes": [SKY]}, {"model_id": "b", "homes": [SKY]}))
    edit("b", homes=[SKY, {"model": "a"}])
    apply(
        providers("sky"), entries({"model_id": "a", "homes": [SKY, {"model": "b"}]}, {"model_id": "b", "homes": [SKY]})
    )
    assert "Model 'a' passes over a home: homes[1].model: a -> b -> a goes round" in caplog.text
    assert row_of("a").enabled
    assert not edit("a", enabled=False).enabled


@pytest.mark.parametrize(("homes", "place", "said"), REFUSED, ids=IDS)
def test_the_yaml_refuses(tmp_path: Path, homes: Any, place: str, said: str) -> None:
    around = [{"model_id": name, **changes} for name, changes in AROUND.items()]
    fast = {"model_id": "fast", "aliases": ["quick"], "homes": homes}
    run = {
        "version": 2,
        "image_name": "test",
        "providers": {"inference": providers("sky", "other")},
        "registered_resources": {"models": entries(*around, fast)},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run, sort_keys=False))
    with pytest.raises(ConfigError) as refused:
        load_config(path)
    told = [problem for problem in refused.value.problems if f"models[{len(around)}]" in str(problem)]
    assert any(f"models[{len(around)}].{place}: " in str(problem) and said in problem.message for problem in told)
    begins = path.read_text().partition("model_id: fast")[0].count("\n")
    assert all(problem.line and problem.line >= begins and problem.file == str(path) for problem in told)


# --- HTTP ---


@pytest.fixture
async def placed(sky: Provider, running: LlamaStack) -> None:
    """The same models as `around` gives, on the provider that runs."""

    def add() -> None:
        provider("other")
        model("fast", provider_id="sky", provider_model_id="sky-1", aliases=["quick"])
        for identifier, changes in AROUND.items():
            model(identifier, **changes)

    await db(add)
    await running.live.refresh()


@pytest.mark.parametrize("path", ["/v1/models/fast", "/manage/models/fast"])
@pytest.mark.parametrize(("homes", "place", "said"), REFUSED, ids=IDS)
async def test_an_edit_over_http_is_refused(
    client: httpx.AsyncClient, placed: None, path: str, homes: Any, place: str, said: str
) -> None:
    refused = await client.patch(path, json={"homes": homes})
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, place), refused.text
    assert said in error["message"]
    assert "homes" not in (await db(row_of, "fast")).override


@pytest.mark.parametrize("path", ["/v1/models", "/manage/models"])
async def test_a_model_with_homes_is_made_changed_and_taken_back_to_one(
    client: httpx.AsyncClient, placed: None, path: str
) -> None:
    homes = [{"provider_id": "sky", "provider_model_id": "sky-1"}, {"model": "there", "order": 1}]
    made = await client.post(path, json={"model_id": "best", "homes": homes, "affinity": "user"})
    assert made.status_code in (200, 201), made.text
    assert (made.json()["provider_id"], made.json()["affinity"]) == ("sky", "user")
    assert made.json()["homes"] == [{**homes[0], "weight": 1, "order": 0}, {**homes[1], "weight": 1}]
    shown = (await client.get("/v1/models/best")).json()
    assert (shown["provider_resource_id"], shown["homes"]) == ("sky-1", made.json()["homes"])
    assert (await client.post(URL, json={"model": "best", "messages": HELLO})).status_code == 200
    edited = await client.patch(f"{path}/best", json={"homes": [{"provider_id": "sky", "provider_model_id": "sky-2"}]})
    assert [home["provider_model_id"] for home in edited.json()["homes"]] == ["sky-2"]
    wrong = await client.patch(f"{path}/best", json={"provider_id": "other"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "provider_id")
    plain = await client.patch(f"{path}/best", json={"homes": None, "provider_id": "sky"})
    assert plain.status_code == 200, plain.text
    assert (await db(row_of, "best")).override["provider_id"] == "sky"
    [home] = (await client.get("/v1/models/best")).json()["homes"]
    assert home == {"provider_id": "sky", "provider_model_id": "best", "weight": 1, "order": 0}


async def test_what_manage_shows_of_homes_comes_back_without_a_change(client: httpx.AsyncClient, placed: None) -> None:
    address = "/manage/models/fast"
    await client.patch(address, json={"homes": [{"provider_id": "sky", "provider_model_id": "sky-1"}, OTHER]})
    before = (await db(row_of, "fast")).override
    shown = (await client.get(address)).json()
    assert (await client.put(address, json=shown)).json() == shown
    assert (await db(row_of, "fast")).override == before
    found = (await client.get("/manage/models", params={"provider_id": "other"})).json()["results"]
    assert [row["model_id"] for row in found] == ["fast"]


async def test_a_bad_affinity_is_refused(client: httpx.AsyncClient, placed: None) -> None:
    for path in ("/v1/models/fast", "/manage/models/fast"):
        for affinity in ("two words", "x" * 81, "9", 5):
            refused = await client.patch(path, json={"affinity": affinity})
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "affinity"), (path, affinity)


async def test_of_another_tenant_nothing_is_known(client: httpx.AsyncClient, placed: None, running: LlamaStack) -> None:
    _, secret = await db(ApiKey.issue, "ops", "bob", admin=True, tenant="blue")
    await db(lambda: provider("theirs", tenant="red"))
    await running.live.refresh()
    headers = {"Authorization": f"Bearer {secret}"}
    for path in ("/v1/models", "/manage/models"):
        given = {"model_id": "mine", "homes": [SKY, {"provider_id": "theirs"}]}
        refused = await client.post(path, json=given, headers=headers)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "homes[1].provider_id")


def test_the_owner_of_a_registered_model_with_homes_is_its_caller(around: None) -> None:
    from apps.registry.schemas import RegisterModel

    asked = RegisterModel.model_validate({"model_id": "best", "homes": [SKY, OTHER]})
    service.register_model(Principal("maya", "blue", frozenset({"admin"})), None, asked)
    row = row_of("best")
    assert (row.tenant, row.owner, row.origin, row.override) == ("blue", "maya", Origin.api, {"homes": [SKY, OTHER]})
