"""An Ollama server.

It chats by the OpenAI-compatible API; its own API says what each model can do, and pulls a model that it lacks.

Format: https://github.com/ollama/ollama/blob/main/docs/api.md (`/api/show`, `/api/pull`).
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic import Field, SecretStr

from apps.inference.dialect import Stream
from apps.inference.providers.pulling import Pulls
from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig
from apps.inference.providers.remote.translation import R, Request, Translation
from apps.inference.schemas import RerankRequest
from apps.registry.schemas import ProviderModel
from llamastack.call import Call
from llamastack.errors import UpstreamRejected
from llamastack.providers import Health

AT_ONCE = 4


class OllamaConfig(OpenAICompatibleConfig):
    """An Ollama server: its address, and which of its models are offered here."""

    base_url: str = Field("http://localhost:11434/v1", description="Its address, with or without /v1 at the end")
    api_key: SecretStr | None = Field(None, description="A bearer token for a proxy in front of it")
    pull_missing: bool = Field(False, description="Pull a registered model that it lacks, when it is first asked for")

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"url": "http://localhost:11434"}


class Ollama(OpenAICompatible):
    config_class = OllamaConfig
    config: OllamaConfig
    api_path = "/v1"
    renamed = {"max_completion_tokens": "max_tokens"}  # https://github.com/ollama/ollama/issues/7125
    developer_role = False  # it leaves such messages out: https://github.com/earendil-works/pi/pull/140
    # What its compatibility page leaves unticked (https://docs.ollama.com/api/openai-compatibility), and openai.go does
    # not read; of `tool_choice` also https://github.com/ollama/ollama/issues/17921. `user` changes no answer.
    ignored = {"best_of": (0, 1), "echo": (False,), "logit_bias": ({},), "n": (1,), "tool_choice": ("auto",)}

    def __init__(self, provider_id: str, config: Any, **services: Any) -> None:
        super().__init__(provider_id, config, **services)
        self.pulls = Pulls(self.upstream, self.lines_of_pull)

    async def start(self) -> None:
        """Pulls have an egress of their own: their silence says nothing of chats, and they take no room from them."""
        await super().start()
        self.pulling = self.open_egress(self.url(), self.egress.headers)

    async def stop(self) -> None:
        await self.pulls.stop()
        await super().stop()

    async def health(self) -> Health:
        health = await super().health()
        if pulls := self.pulls.under_way():
            return Health(health.ok, f"{health.message}; pulling {', '.join(pulls)}")
        return health

    async def answer(self, call: Call, translation: Translation) -> Any:
        try:
            return await super().answer(call, translation)
        except UpstreamRejected as error:
            await self._obtain(translation.request, error)
        return await super().answer(call, translation)

    async def chunks(self, call: Call, kind: type[R], translation: Translation, stream: Stream) -> AsyncGenerator[R]:
        try:
            async with aclosing(super().chunks(call, kind, translation, stream)) as chunks:
                async for chunk in chunks:
                    yield chunk
                return
        except UpstreamRejected as error:  # which comes before the first chunk
            await self._obtain(translation.request, error)
        async with aclosing(super().chunks(call, kind, translation, stream)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _obtain(self, request: Request, refused: UpstreamRejected) -> None:
        """Have a model pulled that the server lacks. Raises the refusal where it means something else."""
        if refused.status != 404 or isinstance(request, RerankRequest):
            raise refused
        if not self.config.pull_missing:
            advice = f"Set 'pull_missing: true' in the provider's config, or run 'ollama pull {request.model}'."
            raise UpstreamRejected(
                f"{refused.message}. {advice}", 404, param="model", code="model_not_found"
            ) from refused
        await self.pulls.wait_for(request.model)

    def lines_of_pull(self, model: str) -> AsyncGenerator[Any, None]:
        return self.pulling.lines("../api/pull", {"model": model, "stream": True})

    async def get_models(self, call: Call) -> list[ProviderModel]:
        """Each model's type, dimension and context length, from `/api/show`."""
        gate = asyncio.Semaphore(AT_ONCE)
        return await asyncio.gather(*(self._shown(model, gate) for model in await super().get_models(call)))

    async def _shown(self, model: ProviderModel, gate: asyncio.Semaphore) -> ProviderModel:
        async with gate:
            shown = await self.egress.post("../api/show", {"model": model.provider_model_id})
        info = shown.get("model_info", {})
        lengths = {key.rpartition(".")[2]: value for key, value in info.items() if isinstance(value, int)}
        metadata = {"context_length": lengths["context_length"]} if "context_length" in lengths else {}
        if "embedding" not in shown.get("capabilities", ()):
            return model.model_copy(update={"metadata": metadata})
        metadata["embedding_dimension"] = lengths.get("embedding_length", 0)
        return model.model_copy(update={"model_type": "embedding", "metadata": metadata})
