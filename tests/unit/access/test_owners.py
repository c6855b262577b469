"""Whether whoever began something may go on with it."""

from typing import Any

import pytest
from django.utils import timezone

from apps.access.models import ApiKey, User, may_act

pytestmark = pytest.mark.django_db


def acts(prefix: str = "", **user: Any) -> bool:
    if user:
        User.objects.create(username="ada", **user)
    return may_act("default", "ada", prefix)


def test_whoever_has_a_key_that_is_not_revoked_may_go_on_with_what_they_began() -> None:
    key, _ = ApiKey.issue("old", "ada", expires_at=timezone.now())
    assert acts(key.prefix)
    key.revoke()
    assert not acts(key.prefix)
    ApiKey.issue("of others", "ada", tenant="other")
    assert not acts(key.prefix)
    ApiKey.issue("new", "ada")
    assert acts(key.prefix)


def test_so_may_an_active_user_and_whoever_was_let_in_without_either() -> None:
    assert acts("lls-gone", tenant="default")
    User.objects.update(is_active=False)
    assert not acts()
    User.objects.all().delete()
    assert acts()
    assert not acts("lls-gone")
