"""Which provider keeps a new vector store."""

import pytest

from apps.vector_io.indexes import Indexes
from llamastack.apis import Api
from llamastack.call import SHARED_TENANT
from llamastack.errors import Unavailable
from llamastack.snapshot import ProviderRecord, Snapshot

UNBUILT = "not built yet"


class Registry:
    """All that is asked of `Live`."""

    def __init__(self, *records: ProviderRecord) -> None:
        self.snapshot = Snapshot(1, {record.key: record for record in records})


def record(key: int, name: str, tenant: str = SHARED_TENANT, unavailable: str | None = None) -> ProviderRecord:
    return ProviderRecord(key, tenant, name, Api.vector_io, "inline::faiss", None, {}, "1", unavailable)


def chosen(default: str | None, *records: ProviderRecord, named: str | None = None) -> str:
    indexes = Indexes(Registry(*records), default)  # type: ignore[arg-type]
    return indexes.chosen("acme", named).provider_id


def test_the_default_goes_before_the_first() -> None:
    assert chosen("two", record(1, "one"), record(2, "two")) == "two"
    assert chosen(None, record(1, "one"), record(2, "two")) == "one"


def test_the_one_that_is_named_goes_before_the_default() -> None:
    assert chosen("two", record(1, "one"), record(2, "two"), named="one") == "one"


def test_a_tenants_own_goes_before_the_default() -> None:
    assert chosen("two", record(1, "one"), record(2, "two"), record(3, "own", "acme")) == "own"
    assert chosen("two", record(1, "one"), record(2, "two"), record(3, "own", "acme", UNBUILT)) == "two"


def test_a_default_that_cannot_serve_is_told_and_no_other_is_taken_for_it() -> None:
    with pytest.raises(Unavailable, match=UNBUILT):
        chosen("two", record(1, "one"), record(2, "two", unavailable=UNBUILT))


def test_a_default_that_was_switched_off_leaves_the_first() -> None:
    assert chosen("two", record(1, "one")) == "one"
