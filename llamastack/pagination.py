"""Lists in pages: a cursor is the id of the last item that the caller has seen, as OpenAI's lists have it."""

from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from llamastack.errors import BadRequest

MAX_ITEMS = 100
SHOWN = 100
Order = Literal["asc", "desc"]
T = TypeVar("T")


class Paging(BaseModel):
    """Which page of a list is asked for: the one that follows `after`, of `limit` items."""

    after: str | None = Field(None, description="The id of the last item of the page before")
    limit: int = Field(20, ge=1, le=MAX_ITEMS)


class NewestFirst(Paging):
    order: Order = "desc"


class OldestFirst(Paging):
    order: Order = "asc"


class Page(BaseModel, Generic[T]):
    """A page. `first_id` and `last_id` are empty where `data` is."""

    object: Literal["list"] = "list"
    data: Sequence[T]
    first_id: str
    last_id: str
    has_more: bool


def page(data: Sequence[Any], has_more: bool) -> Page[Any]:
    """Of items that have an `id`."""
    first, last = (data[0].id, data[-1].id) if data else ("", "")
    return Page(data=data, first_id=first, last_id=last, has_more=has_more)


def unknown_cursor(cursor: str, param: Literal["after", "before"] = "after") -> BadRequest:
    told = "the `last_id` of the page before" if param == "after" else "the `first_id` of the page after"
    return BadRequest(
        f"'{param}' is '{cursor[:SHOWN]}', which is no item of this list. Give {told}.",
        param=param,
        code="invalid_cursor",
    )
