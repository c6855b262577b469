"""Who asks, and where a call goes: pure functions over a snapshot."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.access.models import digest
from apps.access.service import admit, authenticate
from llamastack.apis import Api
from llamastack.call import ANONYMOUS_ADMIN, Call, Principal
from llamastack.errors import AuthenticationError, BadRequest, NotFound, Unavailable
from llamastack.snapshot import KeyRecord, ModelRecord, ProviderRecord, Snapshot

MAYA = Principal("maya", "blue")
LIVE = KeyRecord(1, digest("lls-live"), MAYA)
OLD = KeyRecord(2, digest("lls-old"), MAYA, timezone.now() - timedelta(seconds=1))
KEYS = Snapshot(keys={1: LIVE, 2: OLD})


@pytest.mark.parametrize(
    "headers",
    [{"authorization": "Bearer lls-live"}, {"authorization": "bearer  lls-live "}, {"x-api-key": "lls-live"}],
)
@pytest.mark.parametrize("required", [True, False])
def test_a_known_key_is_its_principal(headers: dict[str, str], required: bool) -> None:
    assert authenticate(headers, KEYS, required=required) == MAYA


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer lls-other"}, {"authorization": "Bearer lls-old"}, {"authorization": "Basic x"}],
)
def test_any_other_key_is_the_anonymous_admin_only_where_none_is_required(headers: dict[str, str]) -> None:
    assert authenticate(headers, KEYS, required=False) == ANONYMOUS_ADMIN
    with pytest.raises(AuthenticationError) as caught:
        authenticate(headers, KEYS, required=True)
    assert caught.value.status == 401


def provider(key: int, tenant: str = "*", **fields: Any) -> ProviderRecord:
    return ProviderRecord(key, tenant, "p", Api.inference, "remote::openai", None, {}, "1", **fields)


def model(key: int, identifier: str, tenant: str = "*", **fields: Any) -> ModelRecord:
    return ModelRecord(
        key, tenant, "system", identifier, "p", "inner", fields.pop("model_type", "llm"), 0, "yaml", **fields
    )


def snapshot(
    *models: ModelRecord, providers: tuple[ProviderRecord, ...] = (provider(1), provider(2, "blue"))
) -> Snapshot:
    return Snapshot(providers={p.key: p for p in providers}, models={m.key: m for m in models})


def test_a_model_that_a_provider_has_not_listed_leads_to_how_that_is() -> None:
    with pytest.raises(NotFound, match="Provider 'p' has listed no such model; GET /v1/providers"):
        admit(Call(MAYA), snapshot(), "p/llama", "llm")
    with pytest.raises(NotFound, match="GET /v1/models lists them"):
        admit(Call(MAYA), snapshot(), "other/llama", "llm")


def test_the_tenants_own_model_comes_before_a_shared_one() -> None:
    known = snapshot(model(1, "m"), model(2, "m", "blue"))
    assert admit(Call(MAYA), known, "m", "llm").model.key == 2
    assert admit(Call(Principal("x", "red")), known, "m", "llm").model.key == 1


def test_another_tenants_model_is_unknown_and_never_named() -> None:
    known = snapshot(model(1, "secret-model", "blue"))
    with pytest.raises(NotFound) as caught:
        admit(Call(Principal("x", "red")), known, "secret-modal", "llm")
    assert "secret-model" not in caught.value.message


def test_an_identifier_wins_over_an_alias_of_that_name() -> None:
    known = snapshot(model(1, "a", aliases=("b",)), model(2, "b"))
    assert admit(Call(MAYA), known, "b", "llm").model.key == 2


def test_a_wrong_type_is_told_with_both_types() -> None:
    with pytest.raises(BadRequest, match="'embedding'; this endpoint needs 'llm'"):
        admit(Call(MAYA), snapshot(model(1, "m", model_type="embedding")), "m", "llm")


def test_a_provider_that_cannot_run_is_unavailable_with_its_reason() -> None:
    known = snapshot(model(1, "m"), providers=(provider(1, unavailable="torch is missing"),))
    with pytest.raises(Unavailable, match="torch is missing"):
        admit(Call(MAYA), known, "m", "llm")


def test_a_very_long_name_is_not_repeated_whole() -> None:
    with pytest.raises(NotFound) as caught:
        admit(Call(MAYA), snapshot(), "x" * 10_000, "llm")
    assert len(caught.value.message) < 300
