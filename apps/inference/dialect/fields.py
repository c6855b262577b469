"""The fields of a vendor's answer, each of the type that the vendor says it has. Malformed where one is not."""

from typing import Any

from apps.inference.dialect.answers import JSON, Malformed


def text_at(holder: JSON, name: str) -> str:
    found = holder.get(name)
    if not isinstance(found, str):
        raise Malformed(f"'{name}' is no text")
    return found


def text_or_none(holder: JSON, name: str) -> str | None:
    return None if holder.get(name) is None else text_at(holder, name)


def number_at(holder: JSON, name: str) -> int:
    found = holder.get(name)
    if not isinstance(found, int):
        raise Malformed(f"'{name}' is no number")
    return found


def count_at(holder: JSON, name: str) -> int:
    """How many there are: none where nothing is said."""
    return 0 if holder.get(name) is None else number_at(holder, name)


def object_at(holder: JSON, name: str) -> JSON:
    found = holder.get(name)
    if not isinstance(found, dict):
        raise Malformed(f"'{name}' is no object")
    return found


def objects_at(holder: JSON, name: str) -> list[JSON]:
    found: Any = holder.get(name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Malformed(f"'{name}' is no list of objects")
    return found
