"""A snapshot that follows another one is what one of all the rows would be, and costs what has changed."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamastack.apis import Api
from llamastack.call import SHARED_TENANT, Principal
from llamastack.config.homes import DEEPEST
from llamastack.near import LOOKED_AT
from llamastack.snapshot import Changes, Home, KeyRecord, ModelRecord, Option, Place, ProviderRecord, Snapshot

TENANTS = (SHARED_TENANT, "blue")
NAMES = [f"m{number}" for number in range(12)]
PLACES = [(tenant, name) for tenant in TENANTS for name in ("p", "q")]


def provider(key: int, revision: str = "1", unavailable: str | None = None) -> ProviderRecord:
    tenant, provider_id = PLACES[key % len(PLACES)]
    return ProviderRecord(key, tenant, provider_id, Api.inference, "remote::openai", None, {}, revision, unavailable)


def model(key: int, identifier: str, tenant: str = SHARED_TENANT, **fields: Any) -> ModelRecord:
    kind = fields.pop("model_type", "llm")
    return ModelRecord(key, tenant, "system", identifier, "p", f"inner-{key}", kind, 0, "yaml", **fields)


def key_of(key: int, owner: str = "maya") -> KeyRecord:
    return KeyRecord(key, f"digest-{key}", Principal(owner, "blue"))


homes = st.one_of(
    st.builds(Home, provider_id=st.sampled_from(["p", "q", "gone"]), provider_model_id=st.sampled_from(["x", "y"])),
    st.builds(Home, model=st.sampled_from(NAMES)),
)
models = st.builds(
    model,
    st.integers(1, 16),
    st.sampled_from(NAMES),
    st.sampled_from(TENANTS),
    aliases=st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
    homes=st.lists(homes, max_size=2).map(tuple),
    default=st.booleans(),
    model_type=st.sampled_from(["llm", "llm", "llm", "embedding"]),
)
providers = st.builds(
    provider, st.integers(0, 3), st.sampled_from(["1", "2"]), st.sampled_from([None, "its key is missing"])
)
keys = st.builds(key_of, st.integers(1, 4), st.sampled_from(["maya", "noah"]))


def some(records: Any, most: int) -> Any:
    return st.lists(records, max_size=most, unique_by=lambda record: record.key).map(tuple)


changes = st.builds(
    lambda *found: Changes(0, *found[:3], dict(zip(("provider", "model", "apikey"), found[3:], strict=True))),
    some(providers, 2),
    some(models, 4),
    some(keys, 2),
    st.frozensets(st.integers(0, 3), max_size=2),
    st.frozensets(st.integers(1, 16), max_size=2),
    st.frozensets(st.integers(1, 4), max_size=2),
)


def everything(snapshot: Snapshot) -> Any:
    """All that anybody can look up in it."""
    found: dict[Any, Any] = {}
    for tenant in (*TENANTS, "green"):
        found |= {(tenant, name): snapshot.model(tenant, name) for name in NAMES}
        found |= {(tenant, name): snapshot.provider(tenant, name, Api.inference) for name in ("p", "q")}
        found[tenant] = snapshot.models_of(tenant), snapshot.near(tenant, "m1")
    found |= {key: snapshot.options(model) for key, model in snapshot.models.items()}
    found |= {digest: snapshot.api_key(digest) for digest in map("digest-{}".format, range(6))}
    return found, snapshot.lookups.problems


def whole(snapshot: Snapshot) -> Snapshot:
    """One of the same rows, in another order."""
    tables = (snapshot.providers, snapshot.models, snapshot.keys)
    backwards: Any = [dict(sorted(table.items(), reverse=True)) for table in tables]
    return Snapshot(snapshot.version, *backwards)


@settings(max_examples=300)
@given(st.lists(changes, min_size=1, max_size=6), st.booleans())
def test_any_changes_one_after_another_lead_to_what_the_rows_say(steps: list[Changes], looked_at: bool) -> None:
    snapshot = Snapshot()
    for step in steps:
        if looked_at:
            everything(snapshot)
        snapshot = snapshot.after(step)
    assert everything(snapshot) == everything(whole(snapshot))
    assert {key: snapshot.options(model) for key, model in snapshot.models.items()} == by_rounds(snapshot)


def by_rounds(snapshot: Snapshot) -> Mapping[int, tuple[Option, ...]]:
    """The options of all models, found in a plain way: those first that lead to no other, then those that lead there.

    What then remains leads back to itself, or too deep.
    """
    found: dict[int, tuple[Option, ...]] = {}

    def other(one: ModelRecord, home: Home) -> ModelRecord | None:
        return snapshot.model(one.tenant, home.model) if home.model else None

    def option(one: ModelRecord, home: Home) -> Option:
        if not home.model:
            there = snapshot.provider(one.tenant, home.provider_id, Api.inference)
            return Option(home, Place(there, home.provider_model_id) if there else None)
        named = other(one, home)
        problem = f"leads back to it, or through more than {DEEPEST} models"
        if named is None:
            problem = "is not registered"
        elif named.model_type != one.model_type:
            problem = f"is of type '{named.model_type}'"
        elif named.key in found:
            return Option(home, model=named, options=found[named.key])
        return Option(home, problem=f"Model {one.identifier} goes without its home '{home.model}', which {problem}")

    def options(one: ModelRecord) -> tuple[Option, ...]:
        return tuple(option(one, home) for home in one.homes)

    waiting = list(snapshot.models.values())
    for _ in range(DEEPEST):
        named = [(one, [other(one, home) for home in one.homes]) for one in waiting]
        ready = [one for one, others in named if all(each is None or each.key in found for each in others)]
        found |= {one.key: options(one) for one in ready}
        waiting = [one for one in waiting if one.key not in found]
    return found | {one.key: options(one) for one in waiting}


def chain(length: int, end: Home) -> list[ModelRecord]:
    ways = [model(number, f"c{number}", homes=(Home(model=f"c{number + 1}"),)) for number in range(1, length)]
    return [*ways, model(length, f"c{length}", homes=(end,))]


def test_a_change_at_the_end_of_a_chain_is_felt_by_all_that_lead_there(caplog: pytest.LogCaptureFixture) -> None:
    snapshot = Snapshot().after(Changes(1, (provider(0),), tuple(chain(DEEPEST, Home("p", "x")))))
    assert all(option.usable for one in snapshot.models.values() for option in snapshot.options(one))
    longer = chain(DEEPEST + 2, Home("p", "y"))
    snapshot = snapshot.after(Changes(2, (), tuple(longer[DEEPEST - 1 :])))
    deep = [one.key for one in longer if not all(option.usable for option in snapshot.options(one))]
    assert deep == [1]
    assert caplog.text.count("through more than") == 1
    assert {key: snapshot.options(one) for key, one in snapshot.models.items()} == by_rounds(snapshot)
    snapshot = snapshot.after(Changes(3, (), (longer[-1], replace(longer[-2], homes=(Home("p", "z"),)))))
    assert {key: snapshot.options(one) for key, one in snapshot.models.items()} == by_rounds(snapshot)


def test_a_problem_is_told_once_and_again_when_it_came_back(caplog: pytest.LogCaptureFixture) -> None:
    lost, found = model(1, "through", homes=(Home(model="late"),)), model(2, "late")
    snapshot = Snapshot().after(Changes(1, (), (lost,)))
    snapshot = snapshot.after(Changes(2, (provider(0),)))
    snapshot = snapshot.after(Changes(3, (), (model(3, "other"),)))
    assert caplog.text.count("is not registered") == 1
    snapshot = snapshot.after(Changes(4, (), (found,)))
    snapshot.after(Changes(5, (), (), (), {"model": frozenset({2})}))
    assert caplog.text.count("is not registered") == 2


def test_of_two_models_that_claim_a_name_its_own_goes_first_and_then_the_older() -> None:
    young, old, own = model(3, "a", aliases=("x",)), model(2, "b", aliases=("x",)), model(9, "x")
    for order in ((young, old, own), (own, old, young)):
        snapshot = Snapshot().after(Changes(1, (), order))
        assert snapshot.model("blue", "x") == own
        snapshot = snapshot.after(Changes(2, (), (), (), {"model": frozenset({9})}))
        assert snapshot.model("blue", "x") == old
        snapshot = snapshot.after(Changes(3, (), (), (), {"model": frozenset({2})}))
        assert snapshot.model("blue", "x") == young


def test_a_key_replaced_by_another_row_of_its_digest_is_that_row() -> None:
    snapshot = Snapshot().after(Changes(1, (), (), (key_of(1),)))
    again = replace(key_of(2), digest="digest-1")
    snapshot = snapshot.after(Changes(2, (), (), (again,), {"apikey": frozenset({1})}))
    assert snapshot.api_key("digest-1") == again


def lines(work: Callable[[], object]) -> int:
    """How many lines of Python, each turn of a loop counted, a piece of work is."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def of_size(count: int) -> Snapshot:
    rows = [model(number, f"maker/model-{number:05}", aliases=(f"alias-{number}",)) for number in range(count)]
    rows += [model(count + number, f"r{number}", homes=(Home(model=rows[number].identifier),)) for number in range(50)]
    return Snapshot().after(Changes(1, (provider(0),), tuple(rows), tuple(map(key_of, range(count)))))


CHANGES = {
    "a model more": Changes(2, (), (model(90_000, "late", aliases=("later",)),)),
    "a model otherwise": Changes(2, (), (model(7, "maker/model-00007", metadata={"note": "new"}),)),
    "a model less": Changes(2, gone={"model": frozenset({7})}),
    "a key more": Changes(2, (), (), (key_of(90_000),)),
    "a key less": Changes(2, gone={"apikey": frozenset({7})}),
    "a provider otherwise": Changes(2, (provider(0, "2"),)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_costs_as_much_in_a_large_registry_as_in_a_small_one(name: str) -> None:
    small, large = of_size(100), of_size(2_000)
    assert lines(partial(large.after, CHANGES[name])) == lines(partial(small.after, CHANGES[name]))


def test_a_name_is_looked_for_among_as_many_in_a_large_registry_as_in_a_small_one() -> None:
    looked_at = [len(of_size(size).lookups.neighbours[SHARED_TENANT].around("modl-00007")) for size in (1_000, 2_000)]
    assert looked_at == [2 * LOOKED_AT, 2 * LOOKED_AT]
    assert "maker/model-00007" in of_size(2_000).near("blue", "modl-00007")


def test_what_has_not_changed_is_shared() -> None:
    before = of_size(100)
    one = before.models[3]
    before.options(one)
    after = before.after(Changes(2, (), (), (key_of(500),)))
    assert after.models is before.models
    assert after.options(one) is before.options(one)
    after = after.after(CHANGES["a model more"])
    assert after.options(one) is before.options(one)
    assert after.keys is not before.keys
    assert before.api_key("digest-500") is None


def test_nothing_is_made_anew_for_rows_that_nobody_held() -> None:
    before = of_size(100)
    after = before.after(Changes(2, gone={"model": frozenset({77_777}), "provider": frozenset({77})}))
    assert (after.version, after.models is before.models, after.providers is before.providers) == (2, True, True)
