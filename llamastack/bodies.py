"""What a client may send as JSON, whichever door it comes in by, and what is said of a body that is wrong."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from llamastack.errors import BadRequest

MAX_DEPTH = 64
SHOWN = 200


def json_object(data: bytes) -> dict[str, Any]:
    """A JSON object, nested at most 64 deep."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The request body is not valid JSON: {error}.", code="invalid_json") from error
    if not isinstance(body, dict):
        raise BadRequest("The request body must be a JSON object.", code="invalid_json")
    refuse_deep(body)
    return body


def refuse_deep(body: Any) -> None:
    if depth(body) > MAX_DEPTH:
        raise BadRequest(f"The request body is nested more than {MAX_DEPTH} deep.", code="invalid_json")


def depth(value: Any) -> int:
    """How deep lists and objects are nested. Level by level, so that no depth can exhaust the stack."""
    levels, level = 0, [value] if isinstance(value, dict | list) else []
    while level:
        below = (value.values() if isinstance(value, dict) else value for value in level)
        level = [item for items in below for item in items if isinstance(item, dict | list)]
        levels += 1
    return levels


def invalid(errors: Sequence[Any], body: Any) -> BadRequest:
    """What is wrong with a request, naming the field as a client writes it. `errors` are pydantic's.

    Of the errors of one field, as a union gives them, the one that reached furthest into the input is told,
    and one about what a value says before one about its type.
    """
    told = [(written(part["loc"], body, part["type"] == "missing"), part) for part in errors]
    top = told[0][0][:1]
    of_field = (item for item in told if item[0][:1] == top)
    where, worst = max(of_field, key=lambda item: (len(item[0]), not item[1]["type"].endswith("_type")))
    field = spelt(where)[:SHOWN]
    message = str(worst["msg"]).removeprefix("Value error, ")  # pydantic's words before those of a validator of ours
    return BadRequest(f"'{field}': {message[:SHOWN]}.", param=field)


def refuse_unknown(given: Iterable[str], known: Sequence[str]) -> None:
    """A filter that is none would list everything, as if it had been honoured."""
    for name in given:
        if name not in known:
            raise BadRequest(
                f"There is no parameter '{name[:SHOWN]}'. There are: {', '.join(known)}.", param=name[:SHOWN]
            )


def spelt(parts: Sequence[str | int]) -> str:
    """`messages[0].content`: names and places as OpenAI spells them."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")


def written(location: Sequence[Any], body: Any, missing: bool) -> list[str | int]:
    """pydantic's location in a body without what does not stand there: the tags of unions. A query has no body."""
    if body is None:
        return list(location) or ["body"]
    found: list[str | int] = []
    for part in location:
        if isinstance(body, dict) and (part in body or (missing and part == location[-1])):
            body = body.get(part)
        elif isinstance(body, list) and isinstance(part, int) and part < len(body):
            body = body[part]
        else:
            continue
        found.append(part)
    return found or ["body"]
