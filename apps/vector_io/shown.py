"""Vector stores as the admin's pages show them: their files, their chunks, and a search in each mode."""

import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from django.db.models import Count, Q
from django.utils import timezone
from django.utils.safestring import SafeString

from apps.files.schemas import FileFilter, FileObject
from apps.jobs.models import ENDED, Job
from apps.jobs.shown import left, moment, page_of
from apps.registry.models import VectorStore
from apps.vector_io import attached, stores
from apps.vector_io.models import Status, VectorStoreFile
from apps.vector_io.schemas.search import Mode, SearchRequest, SearchResult
from apps.vector_io.schemas.stores import ContentFilter
from llamastack import settings, stack
from llamastack.admin import badge
from llamastack.call import DEFAULT_TENANT, SHARED_TENANT, Call, Principal
from llamastack.errors import StackError

MODES: tuple[Mode, ...] = ("vector", "keyword", "hybrid")
MOODS = {"in_progress": "note", "completed": "good", "failed": "bad", "cancelled": "doubtful", "expired": "bad"}
MOST_FILES, MOST_FOUND, MOST_CHUNKS, MOST_OFFERED, MOST_JOBS = 200, 5, 200, 100, 5
WAITS_SECONDS = 30.0
LONGEST_QUERY = 1000
Query = Mapping[str, str]  # of a page's address


def state(word: str) -> SafeString:
    return badge(word.replace("_", " "), MOODS[word])


def caller(name: str, store: VectorStore) -> Call:
    """A person in the admin, as whoever owns the store."""
    tenant = DEFAULT_TENANT if store.tenant == SHARED_TENANT else store.tenant
    return Call(Principal(name, tenant, frozenset({"admin"})))


def of_store(store: VectorStore, call: Call, asked_for: Query) -> dict[str, Any]:
    """The context of `admin/vector_io/store.html`."""
    query = asked_for.get("query", "").strip()
    days = store.expires_after_days
    return {
        "store": store,
        "facts": [
            ("Name", store.name or "–"),
            ("Provider", store.provider_id),
            ("Embedding model", f"{store.embedding_model} ({store.embedding_dimension})"),
            ("Last used", moment(store.last_active_at)),
            ("Expires after", "never" if days is None else f"{days} days without use"),
        ],
        "query": query,
        "searches": [searched(store, call, query, mode) for mode in MODES] if query else [],
        "largest": settings.MAX_FILE_BYTES,
        **files(store, asked_for),
    }


# --- its files ---


def files(store: VectorStore, asked_for: Query) -> dict[str, Any]:
    """The context of `admin/vector_io/files.html`: how the files are, those of one state where that is asked for."""
    shown = stores.shown([store])[0]
    rows = VectorStoreFile.objects.shown().filter(store=store)
    wanted = asked_for.get("files", "")
    listed = rows.filter(state=wanted) if wanted in Status.values else rows
    taken = list(listed.in_order("desc")[: MOST_FILES + 1])
    room = max(0, attached.MOST_FILES - shown.file_counts.total)
    return {
        "store_state": state(shown.status),
        "counts": [(word, word.replace("_", " "), count) for word, count in shown.file_counts if word != "total"],
        "usage_bytes": shown.usage_bytes,
        "total": shown.file_counts.total,
        "room": room,
        "room_told": f"{room:,}",
        "wanted": wanted,
        "files": [
            (row, page_of(row), state(row.state), row.reason if row.state == Status.failed else "")
            for row in taken[:MOST_FILES]
        ],
        "more": len(taken) > MOST_FILES,
        "again": shown.file_counts.failed + shown.file_counts.cancelled,
        "under_way": under_way(store),
    }


def under_way(store: VectorStore) -> dict[str, Any] | None:
    """How far the jobs are that read files of the store, in all; None where none does."""
    jobs = list(
        Job.objects.filter(vectorstorefile__store=store)
        .exclude(status__in=ENDED)
        .annotate(
            files=Count("vectorstorefile"),
            unread=Count("vectorstorefile", filter=Q(vectorstorefile__status=Status.in_progress)),
        )
        .order_by("created_at", "id")
    )
    total, unread = sum(job.files for job in jobs), sum(job.unread for job in jobs)
    if not unread:
        return None
    times = [job.expected_at for job in jobs if job.unread]
    until = None if None in times else max(time for time in times if time is not None)
    return {
        "done": total - unread,
        "total": total,
        "left": left(until, timezone.now()),
        "jobs": [(job, page_of(job)) for job in jobs[:MOST_JOBS]],
    }


def offered(store: VectorStore, call: Call) -> list[FileObject]:
    """Files that may be attached, the newest first."""
    page, _ = asked(lambda running: running.files.list(call, FileFilter(limit=MOST_OFFERED)))
    data: list[FileObject] = page.data if page else []
    there = VectorStoreFile.objects.filter(store=store, file_id__in=[file.id for file in data])
    attached_before = set(there.values_list("file_id", flat=True))
    return [file for file in data if file.id not in attached_before]


# --- what is found in it ---


def searched(store: VectorStore, call: Call, query: str, mode: Mode) -> dict[str, Any]:
    """What a search finds in this mode and how long it takes, or why it finds nothing."""
    request = SearchRequest(query=query[:LONGEST_QUERY], search_mode=mode, max_num_results=MOST_FOUND)
    began = time.perf_counter()
    answer, error = asked(lambda running: running.vector_io.search(call, store.identifier, request))
    took = 1000 * (time.perf_counter() - began)
    results: list[SearchResult] = answer.data if answer else []
    rows = VectorStoreFile.objects.filter(store=store, file_id__in={result.file_id for result in results})
    pages = {row.file_id: page_of(row) for row in rows}
    found = [(result, pages.get(result.file_id)) for result in results]
    return {"mode": mode, "results": found, "error": error, "milliseconds": round(took)}


def of_file(row: VectorStoreFile, call: Call, asked_for: Query) -> dict[str, Any]:
    """The context of `admin/vector_io/file.html`: its chunks, from the one whose number is asked for."""
    content, error = None, row.reason if row.state == Status.failed else ""
    if row.state == Status.completed:
        wanted = ContentFilter(include_metadata=True)
        content, error = asked(
            lambda running: running.vector_io.content(call, row.store.identifier, row.file_id, wanted)
        )
    chunks = content.data if content else []
    told = asked_for.get("from", "")
    start = min(int(told) - 1, max(0, len(chunks) - 1)) if told.isdecimal() and int(told[:9]) > 0 else 0
    end = min(start + MOST_CHUNKS, len(chunks))
    return {
        "file": row,
        "file_state": state(row.state),
        "store_page": page_of(row.store),
        "error": error,
        "chunks": [
            (number, chunk.text, chunk.metadata or {}, chunk.chunk_metadata or {})
            for number, chunk in enumerate(chunks[start:end], start + 1)
        ],
        "count": len(chunks),
        "before": max(1, start + 1 - MOST_CHUNKS) if start else None,
        "after": end + 1 if end < len(chunks) else None,
    }


def asked(work: Callable[[stack.LlamaStack], Coroutine[Any, Any, Any]]) -> tuple[Any, str]:
    """What the stack answers, or the sentence of its error."""
    try:
        return stack.run(work, WAITS_SECONDS), ""
    except StackError as error:
        return None, error.message
