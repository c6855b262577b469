"""Chat models on this machine, in safetensors or GGUF, run by this server itself."""

import asyncio
import json
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from apps.inference.local_models import installed, resolve
from apps.inference.protocol import ChatReply, CompletionReply
from apps.inference.providers.inline.loads import Loads
from apps.inference.providers.inline.meta_reference import images
from apps.inference.providers.inline.meta_reference.config import MetaReferenceConfig
from apps.inference.providers.inline.meta_reference.fetching import Fetching
from apps.inference.schemas import (
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    ProviderModel,
    RerankRequest,
    RerankResponse,
)
from llamastack.call import Call
from llamastack.egress.fetch import fetcher
from llamastack.errors import NotFound, NotSupported
from llamastack.providers import Health, Provider

if TYPE_CHECKING:
    from apps.inference.providers.inline.meta_reference.loader import LoadedModel


class MetaReference(Provider):
    """One engine a model; calls that come while it loads wait for it."""

    config_class = MetaReferenceConfig
    config: MetaReferenceConfig

    def __init__(self, provider_id: str, config: Any, **services: Any) -> None:
        super().__init__(provider_id, config, **services)
        self._loads: Loads[LoadedModel] = Loads(self._load)
        self._looking = asyncio.Semaphore(1)  # images are large while they are decoded: those of one request at a time

    @cached_property
    def fetching(self) -> Fetching:
        return Fetching(fetcher())

    async def start(self) -> None:
        self.fetching  # noqa: B018 - a setting that cannot be read is told now
        if self.config.model:
            await self._loaded(self.config.model)

    async def stop(self) -> None:
        for loaded in await self._loads.take_all():
            await asyncio.to_thread(loaded.engine.stop)

    async def health(self) -> Health:
        return self._loads.health(self.config.model)

    async def post_chat_completion(self, call: Call, request: ChatCompletionRequest) -> ChatReply:
        from apps.inference.providers.inline.meta_reference import answers, completion, parameters, prompt
        from apps.inference.providers.inline.meta_reference.tool_forms import lark
        from apps.inference.providers.inline.meta_reference.tool_forms import talk as talks

        request = parameters.honoured(request, self.config)
        if found := images.places(request.messages):
            await asyncio.to_thread(self._require_sight, request.model, found)
            images.check(found)
        sampling = parameters.sampling(request, self.config.temperature, self.config.max_tokens)
        loaded = await self._loaded(request.model)
        parameters.refuse_foreign_tokens(sampling, loaded.vocabulary)
        talk = replace(talks.talk(loaded.tokenizer, request, self.config), longest_text=loaded.longest_text)
        if loaded.eyes:
            async with self.fetching.fetched(found) as fetched, self._looking if found else nullcontext():
                tokens = await asyncio.to_thread(loaded.eyes.encode, request.messages, talk, fetched)
        else:
            tokens = await asyncio.to_thread(prompt.encode, loaded.tokenizer, request.messages, talk)
        loaded.engine.room(tokens)
        talk = talk.prompted(loaded.tokenizer, tokens)
        sampling = replace(sampling, constraint=lark.constraint(talk, sampling.constraint))
        job = answers.Answers(loaded, [tokens], sampling, request.choices, marks=talk.marks(loaded.tokenizer))
        if request.stream:
            return completion.stream_chat(job, talk, request.model, request.wants_usage)
        return await completion.whole_chat(job, talk, request.model)

    async def post_completion(self, call: Call, request: CompletionRequest) -> CompletionReply:
        from apps.inference.providers.inline.meta_reference import answers, completion, parameters, prompt

        request = parameters.honoured(request, self.config)
        sampling = parameters.sampling(request, self.config.temperature, parameters.COMPLETION_TOKENS)
        loaded = await self._loaded(request.model)
        parameters.refuse_foreign_tokens(sampling, loaded.vocabulary)
        prompts = await asyncio.to_thread(
            prompt.encode_prompts, loaded.tokenizer, request, loaded.vocabulary, loaded.longest_text
        )
        for tokens in prompts:
            loaded.engine.room(tokens, "prompt", least=0 if sampling.max_tokens == 0 else 1)
        echoes = prompt.echoes(loaded.tokenizer, request)
        job = answers.Answers(loaded, prompts, sampling, request.choices, echoes)
        if request.stream:
            return completion.stream_text(job, request.model, request.wants_usage)
        return await completion.whole_text(job, request.model)

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        raise NotSupported("inline::meta-reference does not embed; use a model of inline::sentence-transformers.")

    async def rerank(self, call: Call, request: RerankRequest) -> RerankResponse:
        raise NotSupported("inline::meta-reference does not rerank; use a model of another provider.")

    async def get_models(self, call: Call) -> list[ProviderModel]:
        return await asyncio.to_thread(self._models)

    def _models(self) -> list[ProviderModel]:
        names = [model.name for model in installed() if model.type == "llm"]
        if self.config.model:
            names = [self.config.model]
        return [ProviderModel(provider_model_id=name, metadata=self._facts(name)) for name in names]

    def _facts(self, name: str) -> dict[str, JsonValue]:
        """What is known of a model without loading it. A model that sees has `input_modalities`, as OpenRouter's do."""
        path = self._path(name)
        facts: dict[str, JsonValue] = {"context_length": self._context_length(path)}
        return facts | {"input_modalities": ["text", "image"]} if images.sees(path) else facts

    def _context_length(self, path: Path) -> int:
        """The smaller of what is configured and what the model was made for."""
        settings = path / "config.json"
        if not settings.is_file():
            return self.config.max_seq_len
        config = json.loads(settings.read_text())
        longest: int = config.get("text_config", config).get("max_position_embeddings", self.config.max_seq_len)
        return min(self.config.max_seq_len, longest)

    def _require_served(self, model: str) -> None:
        if self.config.model and model != self.config.model:
            raise NotFound(f"This provider serves '{self.config.model}' and no model '{model}'.", param="model")

    def _require_sight(self, model: str, found: list[images.Place]) -> None:
        self._require_served(model)
        if not images.sees(self._path(model)):
            images.refuse(found, model)

    def _path(self, model: str) -> Path:
        return resolve(self.config.checkpoint_dir or model)

    async def _loaded(self, name: str) -> "LoadedModel":
        self._require_served(name)
        return await self._loads.get(name)

    def _load(self, name: str) -> "LoadedModel":
        from apps.inference.providers.inline.meta_reference import loader  # torch is needed here

        return loader.load(name, self.config)
