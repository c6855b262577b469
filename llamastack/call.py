"""Who asks, and until when: the first argument of every protocol method."""

from dataclasses import dataclass, field

from llamastack.ids import new_id
from llamastack.provider_data import ProviderData

DEFAULT_TENANT = "default"
SHARED_TENANT = "*"
SERVED_BY = "X-LlamaStack-Served-By"


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


@dataclass(slots=True)
class Served:
    """Who has answered a call, as `provider_id/provider_model_id`: said by the service that routes it, once known."""

    by: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way through the stack.

    `deadline` is a `time.monotonic()` value or None; `provider_data` holds the caller's own vendor keys and never
    carries identity. `served` is for whoever shapes the answer.
    """

    principal: Principal
    request_id: str = field(default_factory=lambda: new_id("req_"))
    provider_data: ProviderData = field(default_factory=ProviderData, repr=False)
    deadline: float | None = None
    served: Served = field(default_factory=Served, compare=False)
