"""Homes where a tenant's names and those that all share are the same."""

from typing import Any

import pytest

from apps.registry import service
from apps.registry.models import Model, Provider
from apps.registry.schemas import ProviderModel
from llamastack.apis import Api
from llamastack.errors import BadRequest, Conflict
from tests.unit.registry.homes import OTHER
from tests.unit.registry.test_homes import model, provider, row_of

pytestmark = pytest.mark.django_db


def edit(identifier: str, tenant: str, **changes: Any) -> None:
    service.edit_model(Model.objects.get(identifier=identifier, tenant=tenant), changes)


@pytest.fixture
def shared(db: None) -> None:
    """`best`, which all share, at home on `there`, which all share too."""
    provider(), provider("other")
    model("there", provider_id="sky")
    model("best", homes=[{"model": "there"}])


def test_a_tenants_own_model_may_have_the_name_of_a_shared_ones_home(shared: None) -> None:
    model("there", tenant="red", homes=[{"model": "best"}, OTHER])
    model("mine", tenant="red", homes=[{"model": "there"}])
    with pytest.raises(BadRequest, match="there -> mine -> there goes round in a circle"):
        edit("there", "red", homes=[{"model": "mine"}])


def test_a_tenants_own_model_may_be_of_another_type_than_the_shared_home_of_its_name(shared: None) -> None:
    fields = {"model_type": "embedding", "metadata": {"embedding_dimension": 3}}
    model("there", tenant="red", provider_id="sky", **fields)


def test_a_tenant_is_refused_a_shared_model_for_its_own_type(shared: None) -> None:
    model("there", tenant="red", provider_id="sky", model_type="rerank")
    with pytest.raises(BadRequest, match="'best' is of type 'llm'"):
        model("mine", tenant="red", model_type="rerank", homes=[{"model": "best"}])


def test_what_a_tenant_has_under_the_same_name_keeps_no_shared_one(shared: None) -> None:
    provider("other", tenant="red")
    model("mine", tenant="red", homes=[OTHER])
    model("ours", tenant="red", provider_id="other")
    service.delete_provider(Provider.objects.get(identifier="other", tenant="*"))


def test_a_provider_of_another_api_is_no_home_and_takes_no_models_along(shared: None) -> None:
    service.record_listing(Provider.objects.get(identifier="other").pk, [ProviderModel(provider_model_id="found")])
    model("mine", homes=[OTHER])
    same = Provider(identifier="other", api=Api.safety, provider_type="inline::llama-guard")
    same.save()
    assert list(service.models_on(same)) == []
    service.delete_provider(same)
    assert (row_of("mine").gone, row_of("other/found").gone) == (False, False)


def test_who_deletes_what_is_shared_learns_no_names_of_other_tenants(shared: None) -> None:
    model("secret-plan", tenant="red", homes=[OTHER])
    with pytest.raises(Conflict) as refused:
        service.delete_provider(Provider.objects.get(identifier="other"))
    assert "the only home of 1 of the tenants' models:" in refused.value.message
    model("lone", homes=[OTHER])
    with pytest.raises(Conflict) as refused:
        service.delete_provider(Provider.objects.get(identifier="other"))
    assert "the only home of 'lone' and of 1 of the tenants' models:" in refused.value.message
