"""What is recorded of a call: `settle`."""

from datetime import UTC, datetime, timedelta

import pytest

from apps.access.models import ApiKey
from apps.access.service import settle
from llamastack.apis import Api
from llamastack.call import ANONYMOUS_ADMIN, Call, Outcome, Principal
from llamastack.snapshot import Place, ProviderRecord

SKY = ProviderRecord(1, "*", "sky", Api.inference, "remote::openai", None, {}, "1")
MAYA = Call(Principal("maya", "blue", key="lls-abcdef"), "req_1")


def outcome(**fields: object) -> Outcome:
    return Outcome("chat", "team/small", Place(SKY, "sky-1"), **fields)  # type: ignore[arg-type]


def test_a_record_says_who_asked_who_was_asked_and_how_it_went() -> None:
    told = {"input_tokens": 7, "output_tokens": 2, "cached_tokens": 5, "seconds": 0.25, "whole": True, "streamed": True}
    record = settle(MAYA, outcome(**told, lane="fast"))
    assert (record.tenant, record.owner, record.api_key, record.request_id) == ("blue", "maya", "lls-abcdef", "req_1")
    assert (record.model, record.provider_id, record.provider_model_id) == ("team/small", "sky", "sky-1")
    assert (record.operation, record.lane, record.status, record.error) == ("chat", "fast", 200, "")
    assert {name: getattr(record, name) for name in told} == told
    assert record.reasoning_tokens is None
    assert not record.estimated
    assert abs(record.created_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_call_that_was_sent_nowhere_has_no_place() -> None:
    record = settle(Call(ANONYMOUS_ADMIN), Outcome("embedding", "m", status=503, error="breaker_open"))
    assert (record.owner, record.api_key, record.provider_id, record.provider_model_id) == ("anonymous", "", "", "")
    assert (record.status, record.error, record.whole) == (503, "breaker_open", False)


@pytest.mark.parametrize("tokens", [-1, 2**63, 10**40])
def test_a_count_that_cannot_be_is_none(tokens: int) -> None:
    assert settle(MAYA, outcome(input_tokens=tokens)).input_tokens is None


def test_what_others_named_fits_into_its_column() -> None:
    place = Place(SKY, "m" * 1000)
    record = settle(MAYA, Outcome("chat", "m", place, error="a\0" * 100))
    assert (len(record.provider_model_id), record.error) == (255, "a" * 32)


@pytest.mark.django_db
def test_a_key_is_known_by_what_it_begins_with() -> None:
    key, secret = ApiKey.issue("key", "maya")
    assert secret.startswith(key.principal.key)
    assert settle(Call(key.principal), outcome()).api_key == key.prefix
    assert key.principal == Principal("maya")
