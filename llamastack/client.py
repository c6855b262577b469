"""The library clients: the official ones of Llama Stack and OpenAI, straight into our own ASGI application, no port.

    from llamastack import LlamaStackAsLibraryClient

    with LlamaStackAsLibraryClient("starter") as client:
        client.models.list()

The Stack runs in a thread of its own (embedded.py), so all of this works in a script, in a notebook and under pytest.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

try:
    import httpx
    from llama_stack_client import AsyncLlamaStackClient, LlamaStackClient
except ImportError as error:
    # On Python 3.11 pip takes llama-stack-client 0.2.12, which imports fire and requests and does not ask for them.
    needed = "pip install llama-stack-client fire requests"
    raise ImportError(f"The library client needs packages that are not here ({error.name}): {needed}") from error

from llamastack.transport import AsyncLent, AsyncTransport, Lent, Transport

if TYPE_CHECKING:
    import openai

BASE_URL = "http://localhost"
PROVIDER_DATA = "X-LlamaStack-Provider-Data"


class LlamaStackAsLibraryClient(LlamaStackClient):
    """llama-stack-client's own client of a Stack in this process.

    `config` is a distribution's name or a run.yaml; `options` are the official client's, such as `timeout`.
    The Stack has started when this returns. Raises ConfigError, or EnvironmentFault where this program cannot hold it.
    """

    def __init__(
        self,
        config: str | Path,
        *,
        provider_data: Mapping[str, Any] | None = None,
        transport: Transport | None = None,
        **options: Any,
    ) -> None:
        self._config, self._provider_data = config, provider_data
        self._transport = transport or Transport(config)
        defaults: dict[str, Any] = {"base_url": BASE_URL}
        try:
            if transport is None:
                defaults["http_client"] = _http(self._transport)
            super().__init__(provider_data=provider_data, **(defaults | options))
        except BaseException:
            if transport is None:
                self._transport.close()
            raise

    def initialize(self) -> bool:
        """Nothing is left to do; code written for Llama Stack calls it."""
        return True

    def copy(self, **options: Any) -> Self:
        return super().copy(_extra_kwargs=_kept(self), **options)

    with_options = copy

    def as_openai(self, **options: Any) -> "openai.OpenAI":
        """OpenAI's own client of the same Stack. It ends with this one; `options` are its own."""
        made: openai.OpenAI = _openai().OpenAI(
            http_client=_http(Lent(self._transport)), **_openai_options(self, options)
        )
        return made


class AsyncLlamaStackAsLibraryClient(AsyncLlamaStackClient):
    """The same for callers on a loop, whichever. The Stack starts at `create`, `initialize` or the first request."""

    def __init__(
        self,
        config: str | Path,
        *,
        provider_data: Mapping[str, Any] | None = None,
        transport: AsyncTransport | None = None,
        **options: Any,
    ) -> None:
        self._config, self._provider_data = config, provider_data
        self._transport = transport or AsyncTransport(config)
        defaults: dict[str, Any] = {"base_url": BASE_URL, "http_client": _async_http(self._transport)}
        super().__init__(provider_data=provider_data, **(defaults | options))

    @classmethod
    async def create(cls, config: str | Path, **options: Any) -> Self:
        """A client whose Stack has started."""
        client = cls(config, **options)
        try:
            await client.initialize()
        except BaseException:
            await client.close()
            raise
        return client

    async def initialize(self) -> bool:
        """Start the Stack; harmless to repeat."""
        await self._transport.start()
        return True

    def copy(self, **options: Any) -> Self:
        return super().copy(_extra_kwargs=_kept(self), **options)

    with_options = copy

    def as_openai(self, **options: Any) -> "openai.AsyncOpenAI":
        """OpenAI's own client of the same Stack. It ends with this one; `options` are its own."""
        http_client = _async_http(AsyncLent(self._transport))
        made: openai.AsyncOpenAI = _openai().AsyncOpenAI(http_client=http_client, **_openai_options(self, options))
        return made


def _openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise ImportError("as_openai() needs an optional package: pip install openai") from error
    return openai


def _openai_options(client: Any, options: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's client insists on a key; where the Stack asks for none, any will do."""
    data = client._provider_data
    headers = {} if data is None else {PROVIDER_DATA: json.dumps(data)}
    return {
        "base_url": f"{BASE_URL}/v1",
        "api_key": client.api_key or "none",
        **options,
        "default_headers": headers | (options.get("default_headers") or {}),
    }


def _kept(client: Any) -> dict[str, Any]:
    """What a copy has from its original, beside what the official class hands over."""
    return {
        "config": client._config,
        "provider_data": client._provider_data,
        "transport": client._transport,
    }


def _http(transport: httpx.BaseTransport) -> httpx.Client:
    return httpx.Client(transport=transport, base_url=BASE_URL, follow_redirects=True, trust_env=False)


def _async_http(transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=transport, base_url=BASE_URL, follow_redirects=True, trust_env=False)
