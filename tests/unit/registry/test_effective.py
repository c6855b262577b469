"""What a row of a model means: the homes it lists."""

import logging
from typing import Any

import pytest
from django.utils import timezone

from apps.registry.effective import model_record
from apps.registry.models import Model, Origin
from llamastack.call import SHARED_TENANT
from llamastack.snapshot import Home, ModelRecord


def record(**declared: Any) -> ModelRecord:
    row = Model(
        pk=1,
        tenant=SHARED_TENANT,
        identifier="best",
        origin=Origin.yaml,
        declared=declared,
        created_at=timezone.now(),
    )
    return model_record(row)


def test_a_model_on_one_provider_has_one_home() -> None:
    plain = record(provider_id="sky", provider_model_id="sky-1")
    assert (plain.homes, plain.affinity) == ((Home("sky", "sky-1"),), "")
    assert record(provider_id="sky").homes == (Home("sky", "best"),)


def test_homes_stand_for_the_provider_and_the_first_by_order_is_shown() -> None:
    homes = [
        {"model": "other", "order": -1},
        {"provider_id": "late", "order": 2, "weight": 3},
        {"provider_id": "early", "provider_model_id": "e-1", "order": 1, "weight": 0.5},
    ]
    found = record(homes=homes, affinity="user")
    assert found.homes == (
        Home(model="other", order=-1),
        Home("late", "best", weight=3.0, order=2),
        Home("early", "e-1", weight=0.5, order=1),
    )
    assert (found.provider_id, found.provider_model_id, found.affinity) == ("early", "e-1", "user")


def test_a_model_of_references_alone_is_shown_on_no_provider() -> None:
    found = record(homes=[{"model": "a"}, {"model": "b"}])
    assert (found.provider_id, found.provider_model_id, len(found.homes)) == ("", "best", 2)


@pytest.mark.parametrize(
    "wrong", ["sky", {}, {"provider_id": "sky", "weight": "${env.W}"}, {"model": "m", "weight": 0}, {"order": []}]
)
def test_a_home_that_cannot_be_read_is_left_out_and_told(wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert record(homes=[wrong, {"provider_id": "sea"}]).homes == (Home("sea", "best"),)
    assert "Home 0 of model best cannot be read" in caplog.text
