"""Two people change the homes of models at the same time."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction

from apps.access.models import SnapshotVersion
from apps.registry import service
from llamastack.errors import BadRequest, Conflict
from tests.unit.registry.homes import OTHER, SKY
from tests.unit.registry.test_homes import model, provider, row_of

pytestmark = pytest.mark.django_db(transaction=True)


def meanwhile(first: Callable[[], Any], second: Callable[[], Any]) -> "Future[Any]":
    """Have `second` begin on a connection of its own while `first` is not committed yet."""

    def other() -> None:
        try:
            second()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            SnapshotVersion.lock()
            begun = pool.submit(other)
            first()
        return begun


def test_of_two_edits_that_close_a_circle_the_later_one_is_refused() -> None:
    provider(), provider("other")
    one, two = model("one", provider_id="sky"), model("two", provider_id="sky")
    later = meanwhile(
        lambda: service.edit_model(one, {"homes": [{"model": "two"}, OTHER]}),
        lambda: service.edit_model(two, {"homes": [{"model": "one"}, SKY]}),
    )
    with pytest.raises(BadRequest, match="two -> one -> two goes round in a circle"):
        later.result()


def test_what_becomes_the_only_home_of_a_model_is_not_deleted_meanwhile() -> None:
    provider()
    one, two = model("one", provider_id="sky"), model("two", provider_id="sky")
    later = meanwhile(
        lambda: service.edit_model(one, {"homes": [{"model": "two"}]}),
        lambda: service.delete_model(two),
    )
    with pytest.raises(Conflict, match="the only home of 'one'"):
        later.result()
    assert row_of("two")
