"""`vector_stores` of a run.yaml: which provider a new store is made on, and what of the section has no effect."""

from collections.abc import Iterator

from llamastack.apis import Api
from llamastack.config.expand import Environment
from llamastack.config.sections import ProviderEntry, StackConfig
from llamastack.config.source import Problem
from llamastack.near import did_you_mean

DEFAULT = "default_provider_id"
IN_POSTGRESQL, IN_SQLITE = "remote::pgvector", "inline::faiss"
ON_POSTGRESQL = "DATABASE_IS_POSTGRESQL"
INSTEAD = {
    "default_reranker_model": "a search names its rerank model in ranking_options",
    "rewrite_query_params": "queries are rewritten by the chat model that is the default",
    "file_search_params": "no tool searches files yet",
    "context_prompt_params": "no tool searches files yet",
    "annotation_prompt_params": "no tool searches files yet",
    "file_ingestion_params": "a file says how it is chunked by its chunking_strategy",
    "chunk_retrieval_params": "a search says its mode, and how lists are joined, in search_mode and ranking_options",
    "file_batch_params": "files are read side by side as the embedding model can take them",
    "contextual_retrieval_params": "a file names its model in the chunking_strategy 'contextual'",
}


def with_database(env: Environment) -> Environment:
    """What `${env.DATABASE_IS_POSTGRESQL:+…}` means, so that an entry can depend on it."""
    is_postgresql = env.get("DATABASE_URL", "").startswith(("postgresql:", "postgres:"))
    return {**env, ON_POSTGRESQL: "1" if is_postgresql else ""}


def default_provider(config: StackConfig, *, on_postgresql: bool) -> str | None:
    """The one that is named; else that of the server's database, if it is listed; else the first that can serve."""
    if config.vector_stores is not None and config.vector_stores.default_provider_id:
        return config.vector_stores.default_provider_id
    usable = [entry for entry in config.providers.get(Api.vector_io, []) if entry.unavailable is None]
    wanted = IN_POSTGRESQL if on_postgresql else IN_SQLITE
    chosen = next((entry for entry in usable if entry.provider_type == wanted), usable[0] if usable else None)
    return chosen.provider_id if chosen else None


def check_default(config: StackConfig, providers: dict[str, list[ProviderEntry]]) -> Iterator[Problem]:
    """A default that is none of the providers, where there are any."""
    names = [entry.provider_id for entry in providers.get(Api.vector_io, [])]
    default = config.vector_stores.default_provider_id if config.vector_stores else None
    if default and names and default not in names:
        told = f"'{default}' is no provider of vector_io that is on{did_you_mean(default, set(names))}"
        yield Problem(told, ("vector_stores", DEFAULT))


def notes(config: StackConfig) -> Iterator[str]:
    for name, why in INSTEAD.items():
        if config.vector_stores is not None and getattr(config.vector_stores, name):
            yield f"vector_stores.{name}: has no effect: {why}"
