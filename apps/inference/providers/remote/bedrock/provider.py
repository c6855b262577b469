"""Amazon Bedrock: Converse and its OpenAI-compatible API, embeddings, reranking, and the list of models.

Formats: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/inference-chat-completions.html (the OpenAI-compatible API),
…/APIReference/API_ListFoundationModels.html, …/API_ListInferenceProfiles.html
"""

import asyncio
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from pydantic import SecretStr

from apps.inference.providers import reranking, vectors
from apps.inference.providers.remote.bedrock import invoked
from apps.inference.providers.remote.bedrock.answer import Converse
from apps.inference.providers.remote.bedrock.config import BedrockConfig
from apps.inference.providers.remote.bedrock.credentials import searching
from apps.inference.providers.remote.translation import JSON, Translation, parsed
from apps.inference.providers.remote.vendor import Vendor
from apps.inference.schemas import (
    ChatCompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    RerankRequest,
    RerankResponse,
)
from apps.registry.schemas import ProviderModel
from llamastack.call import Call
from llamastack.egress.aws import Credentials, Signer
from llamastack.egress.network import NetworkConfig, sent
from llamastack.errors import AuthenticationError, UpstreamError, UpstreamRejected
from llamastack.provider_data import HEADER, ApiKey

logger = logging.getLogger(__name__)
OPENAI = "openai/v1"
SERVICE = "bedrock"  # as signatures name it, whichever of its hosts is asked
AT_ONCE = 8  # texts that Titan is asked for at a time, of one request
PAGE_SIZE = 1000
MOST_PAGES = 20
BEARER_VARIABLES = ("AWS_BEARER_TOKEN_BEDROCK", "AWS_BEDROCK_BEARER_TOKEN")  # AWS's name, and OGX's


class Bedrock(Vendor):
    """A request carries a key of Bedrock's as a bearer token, its caller's or the configured one, or is signed."""

    config_class = BedrockConfig
    config: BedrockConfig
    data_key = "aws_bearer_token_bedrock"
    other_data_key = "aws_bedrock_bearer_token"  # OGX's
    credentials: Credentials | None = None

    async def start(self) -> None:
        if self.api_key() is None:
            self.credentials = Credentials(searching(self.config))
        await super().start()
        self.listing = self.open_egress(self.models_url(), sent(self.network, self.headers()))
        if self.credentials is not None:
            await self._seek(self.credentials)

    async def _seek(self, credentials: Credentials) -> None:
        """Credentials may come later: they are looked for again with each call that needs them."""
        try:
            await credentials.sought()
        except UpstreamError as error:
            logger.warning("%s has no AWS credentials yet: %s", self.upstream, error.message)

    def url(self) -> str:
        return self.config.base_url.rstrip("/") or f"https://bedrock-runtime.{self.config.region}.amazonaws.com"

    def models_url(self) -> str:
        """Beside the address of its models, if that is not a configured one."""
        return self.config.models_url.rstrip("/") or (
            self.config.base_url.rstrip("/") or f"https://bedrock.{self.config.region}.amazonaws.com"
        )

    def network_config(self) -> NetworkConfig:
        return self.config.reached

    def api_key(self) -> SecretStr | None:
        """Without one, and without credentials, in the config: the environment's, as AWS's own clients do."""
        configured = self.config
        own = configured.aws_access_key_id, configured.aws_role_arn, configured.profile_name
        if configured.api_key or any(own):
            return configured.api_key
        found = next(filter(None, map(os.environ.get, BEARER_VARIABLES)), None)
        return SecretStr(found) if found else None

    def signer(self) -> Signer | None:
        return Signer(self.credentials, SERVICE, self.config.region, self.keyless) if self.credentials else None

    @property
    def lacks_key(self) -> bool:
        return self.credentials is not None and self.credentials.missing

    @classmethod
    def reads(cls) -> Mapping[str, Any]:
        return {cls.data_key: ApiKey, cls.other_data_key: ApiKey}

    async def call_headers(self, call: Call) -> Mapping[str, str]:
        """The caller's own key. Without one the request is signed, if credentials have come to be meanwhile."""
        key = call.provider_data.read(self.data_key, ApiKey) or call.provider_data.read(self.other_data_key, ApiKey)
        return {} if key is None else self.authorization(key.get_secret_value())

    def keyless(self) -> AuthenticationError:
        return AuthenticationError(
            f"{self.upstream} has neither an API key nor AWS credentials. Set api_key, or aws_access_key_id and its "
            "secret, or a profile or role in its config, or send your own key in the header "
            f'{HEADER} as {{"{self.data_key}": "…"}}.',
            code="no_provider_key",
        )

    def translated(self, request: ChatCompletionRequest) -> Translation:
        if request.model not in (self.config.openai_models or ()):
            return Converse(request, self.upstream, self.config)
        body = request.model_dump(exclude_unset=True, exclude={"store", "metadata"})
        return Translation(request, f"{OPENAI}/chat/completions", body)

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        bodies = list(invoked.embedding_bodies(request, self.upstream, self.config))
        answers = await self._invoked(call, request.model, bodies)
        found, tokens = self._vectors(answers, cohere="texts" in bodies[0])
        return vectors.response(request, found, tokens, self.upstream)

    def _vectors(self, answers: list[Any], *, cohere: bool) -> tuple[list[list[float]], int | None]:
        """And how many tokens they took, which Cohere's answers do not tell."""
        if cohere:
            read = [parsed(invoked.CohereVectors, answer, self.upstream) for answer in answers]
            return [vector for one in read for vector in one.embeddings.float], None
        titans = [parsed(invoked.TitanVector, answer, self.upstream) for answer in answers]
        return [one.embedding for one in titans], sum(one.inputTextTokenCount for one in titans)

    async def rerank(self, call: Call, request: RerankRequest) -> RerankResponse:
        answer = await self._invoke(call, request.model, invoked.rerank_body(request, self.upstream))
        return reranking.ranked(parsed(reranking.Results, answer, self.upstream).results, request, self.upstream)

    async def _invoked(self, call: Call, model: str, bodies: list[JSON]) -> list[Any]:
        """Some at a time. The first that fails ends the others."""
        room = asyncio.Semaphore(AT_ONCE)

        async def asked(body: JSON) -> Any:
            async with room:
                return await self._invoke(call, model, body)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(asked(body)) for body in bodies]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _invoke(self, call: Call, model: str, body: JSON) -> Any:
        return await self.egress.post(f"model/{quote(model, safe='')}/invoke", body, await self.call_headers(call))

    async def listed(self) -> list[JSON]:
        """What is asked by its own id, and the inference profiles of what can only be asked by those."""
        if self.lacks_key:
            raise self.keyless()
        answer = await self.listing.get("foundation-models")
        models = self._items(answer, "modelSummaries", "modelId")
        profiles = await self._profiles()
        return [*_on_demand(models), *_by_profile(models, profiles)]

    async def _profiles(self) -> list[JSON]:
        """A key may be allowed to list models and not profiles, of which there are none then."""
        found: list[JSON] = []
        token = None
        for _ in range(MOST_PAGES):
            query = urlencode({"maxResults": PAGE_SIZE} | ({"nextToken": token} if token else {}))
            try:
                page = await self.listing.get(f"inference-profiles?{query}")
            except UpstreamRejected as error:
                if error.status == 403:
                    return found
                raise
            found += self._items(page, "inferenceProfileSummaries", "inferenceProfileId")
            token = page.get("nextToken")
            if not token:
                break
        return found

    def _items(self, answer: Any, name: str, key: str) -> list[JSON]:
        items = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(items, list):
            raise UpstreamError(f"{self.upstream} answered with something that is not a list of models.")
        return self.checked([item | {"id": item.get(key)} if isinstance(item, dict) else item for item in items])

    def described(self, item: JSON) -> ProviderModel | None:
        """By what it puts out; a profile's, by what its model does."""
        kinds = item.get("outputModalities") or ()
        size = invoked.dimension(item.get("modelId") or item["id"])
        if "rerank" in item["id"]:
            return ProviderModel(provider_model_id=item["id"], model_type="rerank")
        if "EMBEDDING" in kinds:
            return (
                ProviderModel(
                    provider_model_id=item["id"], model_type="embedding", metadata={"embedding_dimension": size}
                )
                if size
                else None
            )
        return ProviderModel(provider_model_id=item["id"], model_type="llm") if "TEXT" in kinds else None


def _on_demand(models: Iterable[JSON]) -> Iterator[JSON]:
    return (model for model in models if "ON_DEMAND" in (model.get("inferenceTypesSupported") or ()))


def _by_profile(models: Iterable[JSON], profiles: Iterable[JSON]) -> Iterator[JSON]:
    """The profiles that are active, each with what is said of its model."""
    known = {model["id"]: model for model in models}
    for profile in profiles:
        parts = [part for part in profile.get("models") or () if isinstance(part, dict)]
        ids = [str(part.get("modelArn")).rpartition("/")[2] for part in parts]
        model = next((known[name] for name in ids if name in known), None)
        if model is not None and profile.get("status") == "ACTIVE":
            own = profile["id"] if profile.get("type") == "SYSTEM_DEFINED" else profile.get("inferenceProfileArn")
            yield model | {"id": own or profile["id"]}
