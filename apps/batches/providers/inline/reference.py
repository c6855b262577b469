"""Batches by this server itself: how much of them it does at once."""

import asyncio
from typing import Any

from pydantic import Field

from llamastack.providers import Provider, ProviderConfig


class ReferenceBatchesConfig(ProviderConfig):
    max_concurrent_batches: int = Field(4, ge=1, le=64, description="Batches that one process does at once.")
    max_concurrent_requests_per_batch: int = Field(
        16, ge=1, le=1024, description="Lines of one batch that are answered at once."
    )
    max_batches_per_tenant: int = Field(
        100, ge=1, description="Batches of one tenant that are queued or running. One more is refused (429)."
    )
    store_provider_data: bool = Field(
        True,
        description="Keep the provider data of whoever creates a batch, attaches files to a vector store or deletes "
        "there, encrypted, until that has ended. Else such a request is refused, but for one that deletes: the "
        "configured keys do that.",
    )
    kvstore: dict[str, Any] | None = Field(
        None, description="Where Llama Stack keeps what it knows of a batch. Here that is the one database."
    )

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"max_concurrent_batches": 4, "max_concurrent_requests_per_batch": 16}


class ReferenceBatches(Provider):
    """Satisfies `BatchLimits`."""

    config_class = ReferenceBatchesConfig

    def __init__(self, provider_id: str, config: ReferenceBatchesConfig) -> None:
        super().__init__(provider_id, config)
        self.places = asyncio.Semaphore(config.max_concurrent_batches)
        self.lines_at_once = config.max_concurrent_requests_per_batch
        self.most_under_way = config.max_batches_per_tenant
        self.keeps_provider_data = config.store_provider_data
