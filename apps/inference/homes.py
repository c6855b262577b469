"""A model with several homes: they are asked one after another, until one answers."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import asdict
from pydantic import BaseModel

from apps.inference.schemas import EmbeddingResponse
from llamastack.call import Call
from llamastack.egress.retries import replaceable
from llamastack.errors import StackError, Unavailable, UnsupportedParameter, UpstreamError
from llamastack.pool import ProviderPool
from llamastack.snapshot import ModelRecord, Place

DIMENSION = "embedding_dimension"
AFFINITY = "prompt_cache_key"  # what OpenAI has for this
OF_METADATA = "metadata."
LONGEST_VALUE = 1000
OF_CREDENTIALS = (401, 403, 404)
T = TypeVar("T")
logger = logging.getLogger(__name__)


class Homes:
    """The homes to ask in this order for one call, by `ask`."""

    def __init__(self, call: Call, pool: ProviderPool, places: Sequence[Place]) -> None:
        self.call = call
        self.pool = pool
        self.places = places

    async def answer(self, ask: Callable[[Place], Awaitable[T]]) -> T:
        """What the first home answers that does. Where none does, the error of the last one."""
        failed: list[StackError] = []
        places = sorted(self.places, key=lambda place: place.name not in self.call.tried)
        for number, place in enumerate(places, 1):
            try:
                if all(self.pool.refuses(other.provider.key) for other in places[number:]):
                    return await ask(place)
                if place.name in self.call.tried:
                    raise self.call.tried[place.name]
                with replaceable():
                    await self._refuse_unstarted(place)
                    return await ask(place)
            except StackError as error:
                if not self._moves_on(error, place):
                    raise
                logger.info("%s did not answer %s: %s", place, self.call.request_id, error.message)
                failed.append(error)
        if len(failed) == 1:
            raise failed[0]
        raise last_of(failed) from failed[-1]

    async def _refuse_unstarted(self, place: Place) -> None:
        """Who loads a model for minutes is waited for where nobody else is there."""
        if not await self.pool.starts_soon(place.provider.key):
            raise Unavailable(f"Provider '{place.provider.provider_id}' has not started yet.", retry_after=1)

    def _moves_on(self, error: StackError, place: Place) -> bool:
        """Whether another home may answer all the same: not where the request is at fault, or its caller's own key."""
        if error.status in OF_CREDENTIALS:
            return not self.pool.uses(place.provider.key, self.call.provider_data)
        return error.status >= 500 or error.status == 429 or isinstance(error, UnsupportedParameter)


def last_of(failed: Sequence[StackError]) -> StackError:
    """The last error of several; where it asks for a pause, for the shortest that any home has asked for."""
    last = failed[-1]
    pauses = [error.retry_after for error in failed if error.retry_after is not None]
    pause = None if last.retry_after is None else min(pauses)
    return last.but(f"{last.message} This was the last of {len(failed)} homes of the model that were tried.", pause)


def affinity(model: ModelRecord, request: BaseModel | Struct) -> str | None:
    """The value by which a request stays with a home: that of the field which the model names."""
    field = model.affinity or AFFINITY
    fields = asdict(request) if isinstance(request, Struct) else {**(request.model_extra or {}), **vars(request)}
    if field.startswith(OF_METADATA):
        metadata = fields.get("metadata")
        value = metadata.get(field.removeprefix(OF_METADATA)) if isinstance(metadata, dict) else None
    else:
        value = fields.get(field)
    return value[:LONGEST_VALUE] if isinstance(value, str) and value else None


def check_dimension(reply: EmbeddingResponse, dimension: object, place: Place) -> None:
    """Vectors of another length than the model's are of another model, whatever its name: they cannot be compared."""
    for item in reply.data:
        length = vector_length(item.embedding)
        if isinstance(dimension, int) and length != dimension:
            raise UpstreamError(f"{place} answered vectors of length {length}; the model's have {dimension}.")


def vector_length(embedding: list[float] | str) -> int:
    """Base64 holds 4 bytes a number."""
    if isinstance(embedding, str):
        return (len(embedding) * 3 // 4 - embedding[-2:].count("=")) // 4
    return len(embedding)
