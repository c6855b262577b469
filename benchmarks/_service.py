"""How fast the service stores in one process, without HTTP: benchmarks/stored.py starts this with DATABASE_URL set."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import django

django.setup()

from apps.access.service import Route  # noqa: E402
from apps.inference.models import StoredCompletion  # noqa: E402
from apps.inference.pace import Pace  # noqa: E402
from apps.inference.schemas import ChatCompletion, ChatCompletionRequest  # noqa: E402
from apps.inference.service import InferenceService  # noqa: E402
from benchmarks import _echo  # noqa: E402
from llamastack.apis import Api  # noqa: E402
from llamastack.call import ANONYMOUS_ADMIN, Call  # noqa: E402
from llamastack.db import db  # noqa: E402
from llamastack.flusher import Flusher  # noqa: E402
from llamastack.snapshot import ModelRecord, Option, Place, ProviderRecord  # noqa: E402

COMPLETIONS = 5000
CLIENTS = 64


class Echo:
    """A provider, and all that the service needs of the registry and of the pool of providers."""

    model = ModelRecord(1, "*", "system", _echo.MODEL, "echo", _echo.MODEL, "llm", 0, "yaml")
    place = Place(ProviderRecord(1, "*", "echo", Api.inference, "remote::openai", None, {}, "1"), _echo.MODEL)

    @property
    def pool(self) -> "Echo":
        return self

    async def admitted(self, *_: Any) -> Route:
        return Route(self.model, (Option(self.model.homes[0], self.place),))

    @asynccontextmanager
    async def use(self, _: Any) -> AsyncIterator["Echo"]:
        yield self

    async def post_chat_completion(self, call: Call, request: ChatCompletionRequest) -> ChatCompletion:
        return ChatCompletion.model_validate(_echo.whole(f"You said: {request.messages[-1].content}"))


async def main() -> None:
    flusher = Flusher()
    flusher.start()
    service = InferenceService(Echo(), flusher, Pace())  # type: ignore[arg-type]
    numbers = iter(range(COMPLETIONS))
    ids = []

    async def client() -> None:
        for number in numbers:
            said = {"messages": [{"role": "user", "content": f"number {number}"}], "metadata": {"number": str(number)}}
            request = ChatCompletionRequest.model_validate({"model": _echo.MODEL, "store": True, **said})
            reply: Any = await service.post_chat_completion(Call(ANONYMOUS_ADMIN), request)
            ids.append(reply.id)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    seconds = time.perf_counter() - began
    await flusher.stop()
    found = await db(StoredCompletion.objects.filter(pk__in=ids).count)
    print(f"{COMPLETIONS / seconds:.0f} {found == COMPLETIONS}")


if __name__ == "__main__":
    asyncio.run(main())
