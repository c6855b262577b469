"""What the batches service does, and what a provider says of how batches are done here."""

import asyncio
from typing import Protocol

from apps.batches.schemas import BatchObject, BatchRequest
from llamastack.call import Call
from llamastack.pagination import Page, Paging


class Batches(Protocol):
    """Every method raises NotFound for a batch that the caller may not see."""

    async def create(self, call: Call, request: BatchRequest) -> BatchObject:
        """The batch, which is done from now on, whatever is killed. One of the same idempotency key is returned as it
        is; Conflict where that is another one."""
        ...

    async def list(self, call: Call, paging: Paging) -> Page[BatchObject]: ...

    async def get(self, call: Call, batch_id: str) -> BatchObject: ...

    async def cancel(self, call: Call, batch_id: str) -> BatchObject:
        """The batch, which is `cancelling` or `cancelled`. Raises Conflict where it has ended otherwise."""
        ...


class BatchLimits(Protocol):
    """A provider. The lines are answered by `stack.inference`, wherever they lead."""

    @property
    def places(self) -> asyncio.Semaphore:
        """For the batches that are done at once."""
        ...

    @property
    def lines_at_once(self) -> int: ...

    @property
    def most_under_way(self) -> int:
        """Batches of one tenant that are queued or running; one more is refused."""
        ...

    @property
    def keeps_provider_data(self) -> bool:
        """Whether vendor keys that come with a batch may be kept until it ends."""
        ...
