"""The stack in this process: its own loop, a real database, and a small upstream of the OpenAI dialect."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.utils import timezone

from apps.access.models import User
from apps.registry import service
from apps.registry.models import Provider
from llamastack import asgi, settings, stack
from llamastack.db import db
from tests.unit.pages import Browser
from tests.upstream import Upstream, serving


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serving() as running:
        yield running


@pytest.fixture
async def running(transactional_db: None) -> AsyncIterator[stack.LlamaStack]:
    """The Stack of this process, started on an empty registry."""
    yield await stack.start()
    await stack.stop()


@pytest.fixture
async def client(running: stack.LlamaStack) -> AsyncIterator[httpx.AsyncClient]:
    """HTTP to the application, without a server between."""
    transport = httpx.ASGITransport(asgi.application, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        yield http


def add_provider(provider_id: str, provider_type: str = "remote::openai", **config: Any) -> Provider:
    """What an operator does in the admin."""
    row = Provider(identifier=provider_id, provider_type=provider_type)
    return service.edit_provider(row, config, enabled=True)


@transaction.atomic
def add_listed(provider_id: str, **config: Any) -> Provider:
    """The same of one that is told to be listed and checked already: nobody else does it in the midst of a test."""
    row = add_provider(provider_id, **config)
    row.discovered_at = row.checked_at = timezone.now()
    row.save()
    return row


@pytest.fixture
async def sky(running: stack.LlamaStack, upstream: Upstream) -> Provider:
    """A provider `sky` on the small upstream, with its models discovered."""
    row = await db(add_listed, "sky", base_url=upstream.url, api_key="sk-upstream")
    await running.live.refresh()
    await running.live.discover(row.pk)
    return row


def session_of(user: User) -> str:
    """The key of a session in which the user is logged in. (A log-in by password takes half a second.)"""
    session = SessionStore()
    session.update(
        {
            SESSION_KEY: str(user.pk),
            BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[-1],
            HASH_SESSION_KEY: user.get_session_auth_hash(),
        }
    )
    session.save()
    return str(session.session_key)


@pytest.fixture
async def browser(client: httpx.AsyncClient) -> Browser:
    """A browser in which the superuser `ada` is logged in."""
    user = await db(User.objects.create, username="ada", is_staff=True, is_superuser=True)
    client.cookies.set(settings.SESSION_COOKIE_NAME, await db(session_of, user))
    return Browser(client)
