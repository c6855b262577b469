"""Vector stores as the admin's pages show them: their files, their chunks, and a search in each mode."""

from collections.abc import Callable, Coroutine
from typing import Any

from django.db.models import Q
from django.utils.safestring import SafeString

from apps.jobs.models import Job
from apps.jobs.shown import moment, page_of
from apps.registry.models import VectorStore
from apps.vector_io import stores
from apps.vector_io.models import VectorStoreFile
from apps.vector_io.schemas.search import Mode, SearchRequest
from apps.vector_io.schemas.stores import ContentFilter
from llamastack import stack
from llamastack.admin import badge
from llamastack.call import DEFAULT_TENANT, SHARED_TENANT, Call, Principal
from llamastack.errors import StackError

MODES: tuple[Mode, ...] = ("vector", "keyword", "hybrid")
MOODS = {"in_progress": "note", "completed": "good", "failed": "bad", "cancelled": "doubtful", "expired": "bad"}
MOST_FILES, MOST_FOUND, MOST_CHUNKS = 200, 5, 200
WAITS_SECONDS = 30.0
LONGEST_QUERY = 1000


def state(word: str) -> SafeString:
    return badge(word.replace("_", " "), MOODS[word])


def caller(name: str, store: VectorStore) -> Call:
    """A person in the admin, as whoever owns the store."""
    tenant = DEFAULT_TENANT if store.tenant == SHARED_TENANT else store.tenant
    return Call(Principal(name, tenant, frozenset({"admin"})))


def of_store(store: VectorStore, call: Call, query: str) -> dict[str, Any]:
    """The context of `admin/vector_io/store.html`."""
    rows = VectorStoreFile.objects.shown().filter(store=store).in_order("desc")[:MOST_FILES]
    shown = stores.shown([store])[0]
    days = store.expires_after_days
    return {
        "store": store,
        "store_state": state(shown.status),
        "counts": [(name.replace("_", " "), count) for name, count in shown.file_counts],
        "facts": [
            ("Provider", store.provider_id),
            ("Embedding model", f"{store.embedding_model} ({store.embedding_dimension})"),
            ("Bytes", f"{shown.usage_bytes:,}"),
            ("Last used", moment(store.last_active_at)),
            ("Expires after", "never" if days is None else f"{days} days without use"),
        ],
        "files": [(row, page_of(row), state(row.state), row.reason if row.state == "failed" else "") for row in rows],
        "query": query,
        "searches": [searched(store, call, query, mode) for mode in MODES] if query else [],
        "ingestion": ingestion(store),
    }


def ingestion(store: VectorStore) -> Job | None:
    """The latest job that reads files of the store."""
    of_store = Q(vectorstorefile__store=store) | Q(filebatch__store=store)
    job: Job | None = Job.objects.filter(of_store).order_by("-created_at", "-id").first()
    return job


def searched(store: VectorStore, call: Call, query: str, mode: Mode) -> dict[str, Any]:
    """What a search finds in this mode, or why it finds nothing."""
    request = SearchRequest(query=query[:LONGEST_QUERY], search_mode=mode, max_num_results=MOST_FOUND)
    answer, error = asked(lambda running: running.vector_io.search(call, store.identifier, request))
    return {"mode": mode, "results": answer.data if answer else [], "error": error}


def of_file(row: VectorStoreFile, call: Call) -> dict[str, Any]:
    """The context of `admin/vector_io/file.html`."""
    content, error = None, row.reason if row.state == "failed" else ""
    if row.state == "completed":
        wanted = ContentFilter(include_metadata=True)
        content, error = asked(
            lambda running: running.vector_io.content(call, row.store.identifier, row.file_id, wanted)
        )
    chunks = content.data if content else []
    return {
        "file": row,
        "file_state": state(row.state),
        "store_page": page_of(row.store),
        "error": error,
        "chunks": [(chunk.text, chunk.metadata or {}, chunk.chunk_metadata or {}) for chunk in chunks[:MOST_CHUNKS]],
        "left_out": max(0, len(chunks) - MOST_CHUNKS),
    }


def asked(work: Callable[[stack.LlamaStack], Coroutine[Any, Any, Any]]) -> tuple[Any, str]:
    """What the stack answers, or the sentence of its error."""
    try:
        return stack.run(work, WAITS_SECONDS), ""
    except StackError as error:
        return None, error.message
