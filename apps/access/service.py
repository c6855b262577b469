"""Who asks, and may they: pure functions over the snapshot, the same for every door."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from django.http import HttpRequest
from django.utils import timezone

from apps.access.choice import by_affinity, drawn, in_order
from apps.access.models import UsageRecord, digest
from llamastack.apis import Api
from llamastack.call import ANONYMOUS_ADMIN, Call, Outcome, Principal
from llamastack.errors import AuthenticationError, BadRequest, NotFound, Unavailable
from llamastack.snapshot import KeyRecord, ModelRecord, Option, Place, Snapshot

BEARER = "bearer "
MOST_TOLD = 16
MOST_TOKENS = 2**53  # of one call: whoever tells more, or less than none, has told nothing


class Request(HttpRequest):
    """A request that has been authenticated."""

    auth: Call


@dataclass(frozen=True, slots=True)
class Route:
    """Where a call may go: the model as registered, and its homes, of which one at least can be asked."""

    model: ModelRecord
    options: tuple[Option, ...]

    @property
    def only(self) -> Place | None:
        """The place of a model that has one home."""
        return self.options[0].place if len(self.options) == 1 else None

    def in_order(self, tenant: str, value: str | None) -> list[Place]:
        """Those that can be asked, each once. `value` is the request's for the model's affinity, where it has one."""
        chance = drawn if value is None else by_affinity(tenant, self.model.identifier, value)
        return in_order(self.options, chance)


def secret_in(headers: Mapping[str, str]) -> str | None:
    """The API key a request carries, in `Authorization: Bearer` or `x-api-key`."""
    authorization = headers.get("authorization", "")
    if authorization[: len(BEARER)].lower() == BEARER:
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


def admit(call: Call, snapshot: Snapshot, model: str, model_type: str) -> Route:
    """The route of a call to `model`: 404 names near ones, a model of another type is 400, no provider up is 503."""
    tenant = call.principal.tenant
    found = snapshot.model(tenant, model)
    if found is None:
        raise unknown_model(model, snapshot, tenant)
    if found.model_type != model_type:
        raise BadRequest(
            f"Model '{model}' is of type '{found.model_type}'; this endpoint needs '{model_type}'.", param="model"
        )
    options = snapshot.options(found)
    for option in options:
        if option.usable:
            return Route(found, options)
    raise Unavailable(unserved(model, options))


def unserved(model: str, options: Iterable[Option]) -> str:
    """Why none of the homes of a model can be asked."""
    return _in_one(dict.fromkeys(islice(_problems(model, options), MOST_TOLD)))


def settle(call: Call, outcome: Outcome) -> UsageRecord:
    """The usage record of a call that has ended. Nothing in it is more than its column holds."""
    principal, place = call.principal, outcome.place
    return UsageRecord(
        principal.tenant,
        principal.name,
        principal.key,
        call.request_id,
        datetime.now(UTC),
        outcome.lane,
        outcome.operation,
        outcome.model,
        place.provider.provider_id if place else "",
        place.provider_model_id[:255] if place else "",
        outcome.status,
        _word(outcome.error) if outcome.error else "",
        _count(outcome.input_tokens),
        _count(outcome.output_tokens),
        _count(outcome.cached_tokens),
        _count(outcome.reasoning_tokens),
        outcome.streamed,
        outcome.whole,
        outcome.estimated,
        outcome.seconds,
    )


def _count(tokens: int | None) -> int | None:
    return tokens if tokens is not None and 0 <= tokens < MOST_TOKENS else None


def _word(code: str) -> str:
    """A code may be a vendor's own."""
    return code[:64].replace("\0", "")


def _problems(model: str, options: Iterable[Option]) -> Iterator[str]:
    """Why none of the homes of a model can be asked, a sentence each."""
    for option in options:
        home = option.home
        if option.place is not None:
            reason = option.place.provider.unavailable
            yield f"Provider '{home.provider_id}' of model '{model}' is unavailable: {reason}"
        elif not home.model:
            yield f"Provider '{home.provider_id}' of model '{model}' is not registered or is disabled."
        elif option.model is not None:
            yield from _problems(home.model, option.options)
        else:
            yield f"Model '{home.model}', a home of model '{model}', is not registered or cannot stand there."


def _in_one(sentences: Collection[str]) -> str:
    if len(sentences) > 1:
        return "; ".join(sentence.removesuffix(".") for sentence in sentences) + "."
    return next(iter(sentences))


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
