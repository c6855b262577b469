"""Who asks, and until when: the first argument of every protocol method."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llamastack.ids import new_id

DEFAULT_TENANT = "default"
SHARED_TENANT = "*"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `tenant` is a hard partition; `name` becomes the owner of rows it creates."""

    name: str
    tenant: str = DEFAULT_TENANT
    scopes: frozenset[str] = frozenset()

    @property
    def is_admin(self) -> bool:
        return "admin" in self.scopes


ANONYMOUS_ADMIN = Principal("anonymous", scopes=frozenset({"admin"}))


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way through the stack.

    `deadline` is a `time.monotonic()` value or None; `provider_data` are the caller's own vendor keys and never carry
    identity.
    """

    principal: Principal
    request_id: str = field(default_factory=lambda: new_id("req_"))
    provider_data: Mapping[str, Any] = field(default_factory=dict)
    deadline: float | None = None
