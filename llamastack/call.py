"""Who asks, and until when: the first argument of every protocol method."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from llamastack.ids import new_id
from llamastack.provider_data import ProviderData

if TYPE_CHECKING:
    from llamastack.errors import StackError
    from llamastack.snapshot import Place

TRIED = "llamastack.tried"  # in a request's scope: see Call
# In a request's scope, of a server that has it: sends a whole answer of status 200, its head's lines and its body.
AT_ONCE = "llamastack.at_once"

DEFAULT_TENANT = "default"
SHARED_TENANT = "*"
SERVED_BY = "X-LlamaStack-Served-By"
LANE = "X-LlamaStack-Lane"  # by which an answer came: fast or django
CLIENT_GONE = 499  # as nginx says it: who asked did not wait for the end

Operation = Literal["chat", "completion", "embedding", "rerank"]
Lane = Literal["django", "fast"]


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `tenant` is a hard partition; `name` becomes the owner of rows it creates.

    `key` is what the API key begins with that told who it is, where one did.
    """

    name: str
    tenant: str = DEFAULT_TENANT
    scopes: frozenset[str] = frozenset()
    key: str = field(default="", compare=False)

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
    carries identity. `served` is for whoever shapes the answer; `background` says that nobody waits for it. `tried` are
    the homes that the fast lane has asked, by their names, and what became of it.
    """

    principal: Principal
    request_id: str = field(default_factory=lambda: new_id("req_"))
    provider_data: ProviderData = field(default_factory=ProviderData, repr=False)
    deadline: float | None = None
    served: Served = field(default_factory=Served, compare=False)
    background: bool = False
    tried: Mapping[str, "StackError"] = field(default_factory=dict, compare=False, repr=False)


@dataclass(slots=True)
class Outcome:
    """How a call went that was admitted: what its usage record is made of, filled in while it goes.

    `model` is the registered name, `place` where the call was sent last. Tokens are None where nobody has told them;
    `estimated` says that they were counted here. It is `whole` once all of the answer has come: one that broke off, or
    whose client has gone, is not. `status` is the answer's, or that of the error that ended it, whose code is `error`.
    """

    operation: Operation
    model: str
    place: "Place | None" = None
    status: int = 200
    error: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    streamed: bool = False
    whole: bool = False
    estimated: bool = False
    seconds: float = 0.0
    lane: Lane = "django"
