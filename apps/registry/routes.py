"""The routes this server answers, read from the one NinjaAPI's own OpenAPI description."""

import re
from collections.abc import Iterable
from functools import cache

from apps.registry.schemas import RouteInfo
from llamastack.snapshot import ProviderRecord

METHODS = ("get", "post", "put", "patch", "delete")


def routes(providers: Iterable[ProviderRecord]) -> list[RouteInfo]:
    """Every route, with the types of the providers of the API its tag names."""
    types: dict[str, set[str]] = {}
    for provider in providers:
        types.setdefault(provider.api, set()).add(provider.provider_type)
    return [
        RouteInfo(route=path, method=method, provider_types=sorted(types.get(tag, ())))
        for path, method, tag in described()
    ]


@cache
def described() -> tuple[tuple[str, str, str], ...]:
    """(path, METHOD, tag) of every operation, in the order of the paths."""
    from llamastack.api import api  # the composition root, which itself imports this app

    found = [
        (re.sub(r"\{path:", "{", path), method.upper(), operation["tags"][0])
        for path, operations in api.get_openapi_schema(path_prefix="")["paths"].items()
        for method, operation in operations.items()
        if method in METHODS
    ]
    return tuple(sorted(found))
