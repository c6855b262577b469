"""Who asks, and may they: pure functions over the snapshot, the same for every door."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.http import HttpRequest
from django.utils import timezone

from apps.access.models import digest
from llamastack.apis import Api
from llamastack.call import ANONYMOUS_ADMIN, Call, Principal
from llamastack.errors import AuthenticationError, BadRequest, NotFound, Unavailable
from llamastack.snapshot import KeyRecord, ModelRecord, ProviderRecord, Snapshot

BEARER = "bearer "


class Request(HttpRequest):
    """A request that has been authenticated."""

    auth: Call


@dataclass(frozen=True, slots=True)
class Route:
    """Where a call goes: the model as registered, and the provider that serves it."""

    model: ModelRecord
    provider: ProviderRecord


def secret_in(headers: Mapping[str, str]) -> str | None:
    """The API key a request carries, in `Authorization: Bearer` or `x-api-key`."""
    authorization = headers.get("authorization", "")
    if authorization.lower().startswith(BEARER):
        return authorization[len(BEARER) :].strip() or None
    return headers.get("x-api-key") or None


def authenticate(headers: Mapping[str, str], snapshot: Snapshot, *, required: bool) -> Principal:
    """The principal of a request. `headers` has lower-case names.

    Where authentication is not required, a key that is absent or unknown is the anonymous admin, and a known key is
    honoured.
    """
    secret = secret_in(headers)
    key = snapshot.api_key(digest(secret)) if secret else None
    if key is not None and not _expired(key):
        return key.principal
    if not required:
        return ANONYMOUS_ADMIN
    if secret is None:
        raise AuthenticationError("No API key was given. Send it as 'Authorization: Bearer <key>'.")
    raise AuthenticationError("The API key is unknown, expired or revoked.")


def admit(call: Call, snapshot: Snapshot, model: str, model_type: str, api: Api = Api.inference) -> Route:
    """The route of a call to `model`: 404 names near ones, a model of another type is 400, a provider down is 503."""
    tenant = call.principal.tenant
    found = snapshot.model(tenant, model)
    if found is None:
        raise unknown_model(model, snapshot, tenant)
    if found.model_type != model_type:
        raise BadRequest(
            f"Model '{model}' is of type '{found.model_type}'; this endpoint needs '{model_type}'.", param="model"
        )
    provider = snapshot.provider(found.tenant, found.provider_id, api)
    if provider is None:
        raise Unavailable(f"Provider '{found.provider_id}' of model '{model}' is not registered or is disabled.")
    if provider.unavailable:
        raise Unavailable(f"Provider '{found.provider_id}' of model '{model}' is unavailable: {provider.unavailable}")
    return Route(found, provider)


def _expired(key: KeyRecord) -> bool:
    return key.expires_at is not None and key.expires_at <= timezone.now()


def unknown_model(model: str, snapshot: Snapshot, tenant: str) -> NotFound:
    """With near names; where there are none, with the provider that the name begins with, which may list none yet."""
    shown = model if len(model) <= 100 else model[:100] + "…"
    provider = snapshot.provider(tenant, model.partition("/")[0], Api.inference)
    if near := snapshot.near(tenant, model):
        advice = f"Did you mean {' or '.join(repr(name) for name in near)}?"
    elif provider:
        advice = f"Provider '{provider.provider_id}' has listed no such model; GET /v1/providers tells how it is."
    else:
        advice = "GET /v1/models lists them."
    return NotFound(f"Model '{shown}' was not found. {advice}", param="model", code="model_not_found")
