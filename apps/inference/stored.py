"""Stored chat completions: how they become rows, and what is done with the rows: that needs `db()`."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import TypeAdapter

from apps.inference.models import StoredCompletion, StoredRow
from apps.inference.schemas import ChatCompletionRequest, Message
from llamastack.call import Principal
from llamastack.errors import NotFound
from llamastack.pagination import NewestFirst, OldestFirst, Page, unknown_cursor

JSON = dict[str, Any]
SCHEMA = 1
PAGE_CHARACTERS = 16 * 1024 * 1024  # chats may hold images: a page ends sooner then, and says that there is more
SHOWN_PARTS = ("text", "image_url")
MESSAGES = TypeAdapter(list[Message])


def row(principal: Principal, request: ChatCompletionRequest, completion_id: str, completion: bytes) -> StoredRow:
    """The row of an answer, given as the JSON of a `ChatCompletion`."""
    messages = MESSAGES.dump_json(request.messages, exclude_unset=True)
    metadata = orjson.dumps(request.metadata or {})
    return row_of_bytes(principal, completion_id, request.model, metadata, messages, completion)


def row_of_bytes(
    principal: Principal, completion_id: str, model: str, metadata: bytes, messages: bytes, completion: bytes
) -> StoredRow:
    """The same of what is JSON already: an object, a list of messages, and a `ChatCompletion`."""
    return StoredRow(
        completion_id,
        principal.tenant,
        principal.name,
        datetime.now(UTC),
        model,
        metadata.decode(),
        messages.decode(),
        f'{{"schema":{SCHEMA},{completion.lstrip()[1:].decode()}',
    )


def listed(
    principal: Principal, paging: NewestFirst, model: str | None = None, metadata: Mapping[str, str] | None = None
) -> Page[JSON]:
    known = rows = StoredCompletion.objects.visible_to(principal)
    if model is not None:
        rows = rows.of_model(model)
    if metadata:
        rows = rows.with_metadata(metadata)
    found, has_more = rows.after(paging.after, paging.order, known).page(paging.limit, PAGE_CHARACTERS)
    return page([shown(row) for row in found], has_more)


def got(principal: Principal, completion_id: str) -> JSON:
    return shown(_row(principal, completion_id))


def messages(principal: Principal, completion_id: str, paging: OldestFirst) -> Page[JSON]:
    """The messages that were answered. Their ids are the completion's and their place."""
    said = orjson.loads(_row(principal, completion_id).input_messages)
    items = [shown_message(f"{completion_id}-{place}", message) for place, message in enumerate(said)]
    if paging.order == "desc":
        items.reverse()
    if paging.after is not None:
        ids = [item["id"] for item in items]
        if paging.after not in ids:
            raise unknown_cursor(paging.after)
        items = items[ids.index(paging.after) + 1 :]
    return page(items[: paging.limit], len(items) > paging.limit)


def updated(principal: Principal, completion_id: str, metadata: Mapping[str, str]) -> JSON:
    """Give a completion other metadata."""
    row = _row(principal, completion_id)
    row.metadata = dict(metadata)
    row.save(update_fields=["metadata"])
    return shown(row)


def deleted(principal: Principal, completion_id: str) -> None:
    _row(principal, completion_id).delete()


def _row(principal: Principal, completion_id: str) -> StoredCompletion:
    row: StoredCompletion | None = StoredCompletion.objects.visible_to(principal).filter(pk=completion_id).first()
    if row is None:
        raise NotFound(
            f"There is no stored chat completion '{completion_id[:200]}'. GET /v1/chat/completions lists them."
        )
    return row


def page(items: list[JSON], has_more: bool) -> Page[JSON]:
    ids = [item["id"] for item in items] or [""]
    return Page(data=items, first_id=ids[0], last_id=ids[-1], has_more=has_more)


def shown(row: StoredCompletion) -> JSON:
    """The completion with its metadata (as OpenAI has it) and the messages it answered (as Llama Stack has it)."""
    completion: JSON = read(row.completion)
    del completion["schema"]
    return completion | {"metadata": row.metadata, "input_messages": orjson.loads(row.input_messages)}


def read(completion: str) -> Any:
    """A vendor's own fields are stored as they came: of a number too large for a double, null is shown."""
    try:
        return orjson.loads(completion)
    except orjson.JSONDecodeError:
        return json.loads(completion)


def shown_message(message_id: str, message: JSON) -> JSON:
    """A message as OpenAI's list has it: content that came in parts is in `content_parts`, and `content` is null."""
    content = message.get("content")
    parts = [part for part in content if part["type"] in SHOWN_PARTS] if isinstance(content, list) else None
    shape = {"content": None if parts is not None else content, "content_parts": parts}
    return {"id": message_id, "refusal": None, **message, **shape}
