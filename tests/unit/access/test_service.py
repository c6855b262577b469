"""Who asks, and where a call goes: pure functions over a snapshot."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.access.models import digest
from apps.access.service import admit, authenticate
from llamastack.apis import Api
from llamastack.call import ANONYMOUS_ADMIN, Call, Principal
from llamastack.errors import AuthenticationError, BadRequest, NotFound, Unavailable
from llamastack.snapshot import Changes, Home, KeyRecord, ModelRecord, ProviderRecord, Snapshot

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


def several(key: int, identifier: str, *homes: Home, tenant: str = "*", **fields: Any) -> ModelRecord:
    return model(key, identifier, tenant, homes=homes, **fields)


def two_down() -> tuple[ProviderRecord, ...]:
    return provider(1, unavailable="torch is missing"), replace(provider(2), provider_id="q", unavailable="no key")


def test_a_model_with_one_home_goes_there() -> None:
    only = admit(Call(MAYA), snapshot(model(1, "m")), "m", "llm").only
    assert (str(only), only and only.provider.key) == ("p/inner", 1)


def test_a_home_that_is_down_is_left_out_as_long_as_another_is_there() -> None:
    known = snapshot(several(1, "m", Home("p", "x"), Home("q", "y")), providers=(provider(1), two_down()[1]))
    route = admit(Call(MAYA), known, "m", "llm")
    assert (route.only, [str(place) for place in route.in_order("blue", None)]) == (None, ["p/x"])


def test_all_homes_down_names_the_reason_of_each() -> None:
    homes = Home("p", "x"), Home("q", "y"), Home("gone", "z"), Home(model="lost"), Home(model="inner")
    inner = several(2, "inner", Home("nowhere", "n"), Home("p", "x"))
    with pytest.raises(Unavailable) as caught:
        admit(Call(MAYA), snapshot(several(1, "m", *homes), inner, providers=two_down()), "m", "llm")
    assert caught.value.message.removesuffix(".").split("; ") == [
        "Provider 'p' of model 'm' is unavailable: torch is missing",
        "Provider 'q' of model 'm' is unavailable: no key",
        "Provider 'gone' of model 'm' is not registered or is disabled",
        "Model 'lost', a home of model 'm', is not registered or cannot stand there",
        "Provider 'nowhere' of model 'inner' is not registered or is disabled",
        "Provider 'p' of model 'inner' is unavailable: torch is missing",
    ]


def test_another_models_homes_stand_in_its_place() -> None:
    inner = several(1, "inner", Home("p", "b", order=1), Home("p", "a"))
    known = snapshot(inner, several(2, "m", Home("p", "c", order=1), Home(model="inner"), Home("p", "b", order=2)))
    places = admit(Call(MAYA), known, "m", "llm").in_order("blue", None)
    assert [str(place) for place in places] == ["p/a", "p/b", "p/c"]


@pytest.mark.parametrize(
    ("home", "reason"),
    [
        (Home(model="gone"), "is not registered"),
        (Home(model="vectors"), "is of type 'embedding'"),
        (Home(model="m"), "leads back to it"),
        (Home(model="blue-one"), "is not registered"),
    ],
)
def test_a_home_that_leads_nowhere_is_skipped_and_told(
    home: Home, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    others = model(2, "vectors", model_type="embedding"), model(3, "blue-one", "blue")
    known = snapshot(several(1, "m", home, Home("p", "x")), *others)
    assert [str(place) for place in admit(Call(MAYA), known, "m", "llm").in_order("blue", None)] == ["p/x"]
    assert f"Model m goes without its home '{home.model}', which {reason}" in caplog.text


def test_a_home_that_leads_nowhere_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    known = snapshot(several(1, "m", Home(model="gone"), Home("p", "x")))
    following = known.after(Changes(2, models=(several(2, "n", Home(model="lost")), model(3, "o"))))
    there = following.after(Changes(3, models=(model(4, "gone"),)))
    there.after(Changes(4, gone={"model": frozenset({4})}))
    assert [record.getMessage() for record in caplog.records] == [
        "Model m goes without its home 'gone', which is not registered",
        "Model n goes without its home 'lost', which is not registered",
        "Model m goes without its home 'gone', which is not registered",
    ]


def test_sessions_of_other_models_and_tenants_are_spread_on_their_own() -> None:
    homes = [Home("p", str(number)) for number in range(8)]
    known = snapshot(several(1, "m", *homes), several(2, "n", *homes))

    def firsts(name: str, tenant: str) -> list[str]:
        route = admit(Call(MAYA), known, name, "llm")
        return [str(route.in_order(tenant, str(session))[0]) for session in range(20)]

    assert firsts("m", "blue") == firsts("m", "blue")
    assert len({tuple(firsts(name, tenant)) for name in ("m", "n") for tenant in ("blue", "red")}) == 4


def test_models_that_lead_to_each_other_keep_their_own_homes(caplog: pytest.LogCaptureFixture) -> None:
    one = several(1, "one", Home(model="two"), Home("p", "x"))
    two = several(2, "two", Home(model="one"), Home("p", "y"))
    known = snapshot(one, two, several(3, "all", Home(model="one")))
    for name, place in (("one", "p/x"), ("two", "p/y")):
        assert [str(found) for found in admit(Call(MAYA), known, name, "llm").in_order("blue", None)] == [place]
    with pytest.raises(Unavailable):  # it is as deep as they are
        admit(Call(MAYA), known, "all", "llm")
    assert caplog.text.count("leads back") == 3


def test_a_chain_of_models_has_an_end() -> None:
    chain = [several(number, f"m{number}", Home(model=f"m{number + 1}")) for number in range(1, 2000)]
    known = snapshot(*chain, model(2000, "m2000"))
    assert [place.provider.key for place in admit(Call(MAYA), known, "m1996", "llm").in_order("blue", None)] == [1]
    with pytest.raises(Unavailable):
        admit(Call(MAYA), known, "m1995", "llm")


def test_models_of_models_of_models_are_no_work_without_end() -> None:
    layers = [
        several(16 * layer + place, f"m{layer}-{place}", *(Home(model=f"m{layer + 1}-{other}") for other in range(16)))
        for layer in range(4)
        for place in range(16)
    ]
    ends = [several(1000 + place, f"m4-{place}", Home("p", str(place))) for place in range(16)]
    known = snapshot(*layers, *ends)
    assert len(admit(Call(MAYA), known, "m0-0", "llm").in_order("blue", "session")) == 16
    assert len(known.models_of("blue")) == 5 * 16
    with pytest.raises(Unavailable) as caught:
        admit(Call(MAYA), snapshot(*layers, *ends, providers=two_down()), "m0-0", "llm")
    assert len(caught.value.message) < 2000


def test_names_mean_to_a_shared_models_homes_what_they_mean_to_all() -> None:
    own, shared = model(1, "inner", "blue"), several(2, "inner", Home("p", "shared"))
    known = snapshot(
        own, shared, several(3, "m", Home(model="inner")), several(4, "n", Home(model="inner"), tenant="blue")
    )
    assert [str(place) for place in admit(Call(MAYA), known, "m", "llm").in_order("blue", None)] == ["p/shared"]
    [place] = admit(Call(MAYA), known, "n", "llm").in_order("blue", None)
    assert (str(place), place.provider.tenant) == ("p/inner", "blue")


def test_a_shared_model_is_served_by_no_tenants_provider_not_even_for_that_tenant() -> None:
    with pytest.raises(Unavailable, match="'p' of model 'm' is not registered or is disabled"):
        admit(Call(MAYA), snapshot(several(3, "m", Home("p")), providers=(provider(2, "blue"),)), "m", "llm")


def test_a_model_is_listed_as_long_as_a_provider_of_its_homes_is_there() -> None:
    gone, there = several(1, "gone", Home("nowhere", "x")), several(2, "there", Home("nowhere", "x"), Home("q", "y"))
    known = snapshot(gone, there, several(3, "through", Home(model="there")), providers=two_down())
    assert [found.identifier for found in known.models_of("blue")] == ["there", "through"]


def test_a_very_long_name_is_not_repeated_whole() -> None:
    with pytest.raises(NotFound) as caught:
        admit(Call(MAYA), snapshot(), "x" * 10_000, "llm")
    assert len(caught.value.message) < 300
