"""What is asked of Infinispan's REST API, with the password sent (`basic`) or answered for (`digest`)."""

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import orjson
from yarl import URL

from apps.vector_io import checks
from apps.vector_io.protocol import Store
from apps.vector_io.providers.remote.infinispan import entries
from apps.vector_io.providers.remote.infinispan.digest import Challenge, challenges
from apps.vector_io.providers.remote.over_http import OverHTTP, told
from llamastack.errors import Unavailable, UpstreamError, UpstreamRejected
from llamastack.providers import ProviderUnavailable

OLDEST = 15
AT_ONCE = 8
IS_JSON = {"Content-Type": "application/json", "Accept": "application/json"}
IS_TEXT = {"Content-Type": "text/plain", "Accept": "application/json"}
SHOWN = 300
T = TypeVar("T")
R = TypeVar("R")


class Asking(OverHTTP):
    """`_answerable` are challenges that no request is just now answering: none may be answered twice at once."""

    def __init__(self, provider_id: str, config: Any) -> None:
        super().__init__(provider_id, config)
        self._answerable: list[Challenge] = []

    @property
    def login(self) -> tuple[str, str] | None:
        password = self.config.password
        if not self.config.username or password is None:
            return None
        return self.config.username, password.get_secret_value()

    def credentials(self) -> dict[str, str]:
        if self.config.auth_mechanism != "basic" or self.login is None:
            return {}
        return {"Authorization": f"Basic {base64.b64encode(':'.join(self.login).encode()).decode()}"}

    async def greet(self) -> None:
        answer = await self.json("GET", "rest/v2/server")
        said = answer.get("version") if isinstance(answer, dict) else None
        if not isinstance(said, str):
            raise ProviderUnavailable(f"What answers at {self.egress.address} is no Infinispan.")
        release = re.search(r"Infinispan\D*(\d+)\.", said)
        if release and int(release[1]) < OLDEST:
            raise ProviderUnavailable(f"Infinispan 15 or later is needed, and this one is {said[:SHOWN]}.")

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        data = await self.send(method, path, None if body is None else orjson.dumps(body), IS_JSON)
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise UpstreamError(f"Provider '{self.provider_id}' answered with what is no JSON.") from error

    async def send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        """The body of an answer. Raises UpstreamRejected, also for what is not there."""
        if self.login is None or self.config.auth_mechanism == "basic":
            return (await self.egress.whole(method, path, body, headers))[1]
        challenge = self._answerable.pop() if self._answerable else None
        if challenge is not None:
            try:
                return await self._answering(challenge, method, path, body, headers)
            except UpstreamRejected as error:  # such as of a challenge that is too old
                if error.status != 401:
                    raise
        return await self._answering(await self._challenge(), method, path, body, headers)

    async def _answering(
        self, challenge: Challenge | None, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> bytes:
        if challenge is None or self.login is None:
            return (await self.egress.whole(method, path, body, headers))[1]
        uri = URL(f"{self.egress.base_url}/{path}").raw_path_qs
        answer = {"Authorization": challenge.answer(*self.login, method, uri)}
        try:
            _, data = await self.egress.whole(method, path, body, {**headers, **answer})
        except UpstreamRejected as error:
            if error.status != 401:
                self._answerable.append(challenge)
            raise
        self._answerable.append(challenge)
        return data

    async def _challenge(self) -> Challenge | None:
        """What the server asks of who says nothing; None where it asks nothing."""
        reply, _ = await self.egress.exchange("GET", f"{self.egress.base_url}/rest/v2/caches", None, IS_JSON)
        if reply.status != 401:
            return None
        found = next(challenges(reply.headers.get("www-authenticate", "")), None)
        if found is None:
            raise Unavailable(
                f"Provider '{self.provider_id}' does not ask for a digest. Set auth_mechanism to basic, where its "
                "server takes that."
            )
        return found

    async def of_cache(self, store: Store, ask: Callable[[str], Awaitable[T]]) -> T:
        """What is asked of the store's cache, whose path is handed on. Raises NotFound where there is none."""
        try:
            with told():
                return await ask(f"rest/v2/caches/{entries.cache(store)}")
        except UpstreamRejected as error:
            if error.status == 404:
                raise checks.missing(store) from error
            raise

    async def search(self, store: Store, query: str, most: int) -> list[Any]:
        body = {"query": query, "max_results": most}
        answer = await self.of_cache(store, lambda cache: self.json("POST", f"{cache}?action=search", body))
        return [one["hit"] for one in answer["hits"]]

    async def count(self, store: Store) -> int:
        return int(await self.of_cache(store, lambda cache: self.json("GET", f"{cache}?action=size")))


async def each(items: Iterable[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """Some at once; all have ended when the first failure of them is raised."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(item: T) -> R:
        async with room:
            return await work(item)

    found = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
    if failed := next((result for result in found if isinstance(result, BaseException)), None):
        raise failed
    return [result for result in found if not isinstance(result, BaseException)]
