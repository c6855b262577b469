"""How a model of the snapshot is told to callers, and all of them: the answer of GET /v1/models."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from apps.registry.facts import facts_in
from apps.registry.schemas import ModelInfo
from llamastack.apis import Api
from llamastack.config.homes import ModelHome
from llamastack.snapshot import Home, ModelRecord, Snapshot

SLICE_SECONDS = 0.002
PART_BYTES = 64 * 1024
HEAD, TAIL = b'{"object":"list","data":[', b"]}"


async def sent(parts: list[bytes]) -> AsyncIterator[bytes]:
    """One after another, with others served in between."""
    for part in parts:
        yield part
        await asyncio.sleep(0)


class Told(NamedTuple):
    """A model as it was told of, and from what."""

    model: ModelRecord
    provider_type: str
    json: bytes


class Listing:
    """To write 10,000 models takes 600 ms: it is done in slices, between which the loop serves others. What was written
    of a model is kept until that has changed, or its provider's type."""

    def __init__(self) -> None:
        self.slice_seconds = SLICE_SECONDS
        self._told: dict[int, Told] = {}

    async def of(self, snapshot: Snapshot, tenant: str) -> list[bytes]:
        """Every model the tenant may use, the default ones first: the parts of the JSON, which are not too long."""
        parts, pieces, length = [], [], 0
        until = time.perf_counter() + self.slice_seconds
        for model in snapshot.each_model_of(tenant):
            piece = self._piece(snapshot, model)
            pieces.append(piece)
            length += len(piece)
            if length > PART_BYTES:
                parts.append(b",".join(pieces) + b",")
                pieces, length = [], 0
            if time.perf_counter() > until:
                await asyncio.sleep(0)
                until = time.perf_counter() + self.slice_seconds
        self._forget_others(snapshot)
        last = b",".join(pieces) if pieces else parts.pop()[:-1] if parts else b""
        return [HEAD, *parts, last, TAIL] if parts else [HEAD + last + TAIL]

    def _forget_others(self, snapshot: Snapshot) -> None:
        if len(self._told) > 2 * len(snapshot.models):
            self._told = {key: told for key, told in self._told.items() if key in snapshot.models}

    def _piece(self, snapshot: Snapshot, model: ModelRecord) -> bytes:
        provider = snapshot.provider(model.tenant, model.provider_id, Api.inference)
        provider_type = provider.provider_type if provider else ""
        told = self._told.get(model.key)
        if told is None or told.model is not model or told.provider_type != provider_type:
            info = shown_model(snapshot, model)
            told = self._told[model.key] = Told(model, provider_type, info.__pydantic_serializer__.to_json(info))
        return told.json


def shown_model(snapshot: Snapshot, model: ModelRecord) -> ModelInfo:
    metadata = dict(model.metadata)
    facts = facts_in(snapshot, model)
    return ModelInfo(
        id=model.identifier,
        created=model.created,
        owned_by=model.provider_id,
        identifier=model.identifier,
        provider_id=model.provider_id,
        provider_resource_id=model.provider_model_id,
        model_type=model.model_type,
        metadata=metadata,
        custom_metadata={"model_type": model.model_type, "provider_id": model.provider_id, **metadata},
        aliases=list(model.aliases),
        default=model.default,
        context_length=facts.context_length,
        max_output_tokens=facts.max_output_tokens,
        prices=facts.prices,
        sources=dict(facts.sources),
        homes=[shown_home(home) for home in model.homes],
        affinity=model.affinity,
    )


def shown_home(home: Home) -> ModelHome:
    names = {"provider_id": home.provider_id, "provider_model_id": home.provider_model_id, "model": home.model}
    given: dict[str, Any] = {name: value for name, value in names.items() if value}
    return ModelHome.model_construct(**given, weight=int(home.weight), order=home.order)
