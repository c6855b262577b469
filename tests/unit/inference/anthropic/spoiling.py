"""JSON with something else at one place of it."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything within."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def spoilt(value: Any, where: int, by: Any) -> Any:
    """`where` may be any number: each place has some."""
    made = deepcopy(value)
    paths = list(places(made))
    *path, last = paths[where % len(paths)]
    inside = made
    for key in path:
        inside = inside[key]
    inside[last] = by
    return made
