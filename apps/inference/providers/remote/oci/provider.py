"""Oracle's OCI Generative AI: chats by its OpenAI-compatible API, and by its own what that lacks, Cohere's models too.

Format: https://docs.oracle.com/en-us/iaas/Content/generative-ai/chat-completions-api.htm (chats; OGX and Oracle's older
clients ask /20231130/actions/v1 for them), https://docs.oracle.com/en-us/iaas/api/#/en/generative-ai-inference/20231130
(embeddings, rerank), https://docs.oracle.com/en-us/iaas/api/#/en/generative-ai/20231130 (lists). A dedicated cluster
answers below the OCID of its endpoint, as OGX asks it.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from pydantic import Field, SecretStr

from apps.inference.protocol import CompletionReply
from apps.inference.providers import reranking, vectors
from apps.inference.providers.remote.embedding_models import dimension
from apps.inference.providers.remote.oci import cohere, command_a
from apps.inference.providers.remote.oci.signing import AuthType, imported, signatures
from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig
from apps.inference.providers.remote.translation import JSON, Request, Translation, parsed
from apps.inference.providers.unsupported import Lacks, to_drop
from apps.inference.schemas import (
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    RerankRequest,
    RerankResponse,
)
from apps.registry.schemas import ModelType, ProviderModel
from llamastack.call import Call
from llamastack.egress import Signer
from llamastack.errors import NotSupported, StackError, UpstreamError
from llamastack.providers import ProviderUnavailable

DOOR, NATIVE = "openai/v1", "20231130/actions"
DEDICATED = "ocid1.generativeaiendpoint."
COMPARTMENT = ("CompartmentId", "opc-compartment-id")  # the one that chats ask for, and that of OCI's APIs elsewhere
INFERENCE = "inference."  # before the host of the management API
PAGE_SIZE, MOST_PAGES = 100, 20
MOST_TEXTS = 96  # in one embedText
TYPES: Mapping[str, ModelType] = {"CHAT": "llm", "TEXT_EMBEDDINGS": "embedding", "TEXT_RERANK": "rerank"}
# Fields of Oracle's own, as its SDK for Python names them, and as they travel.
OF_EMBEDDINGS = {"dimensions": "outputDimensions", "input_type": "inputType", "truncate": "truncate"}
OF_RANKINGS = {
    "max_chunks_per_document": "maxChunksPerDocument",
    "max_tokens_per_document": "maxTokensPerDocument",
}
logger = logging.getLogger(__name__)


class OCIConfig(OpenAICompatibleConfig):
    """OCI Generative AI in one region: who signs the requests, and the compartment that is charged."""

    base_url: str = Field("", description="In place of the address that the region makes, such as another realm's")
    api_key: SecretStr | None = Field(
        None, description="An API key of OCI Generative AI, for chats without signatures; empty: requests are signed"
    )
    oci_auth_type: AuthType = Field("instance_principal", description="Who signs")
    oci_region: str = Field("us-ashburn-1", pattern=r"^[a-z0-9][a-z0-9-]*$", description="The region that answers")
    oci_compartment_id: str | None = Field(None, description="The compartment that is charged, as its OCID")
    oci_config_file_path: str = Field("~/.oci/config", description="Of config_file: the file of the profiles")
    oci_config_profile: str = Field("DEFAULT", description="Its profile: of an API key, or of a session's token")

    @property
    def of_the_server(self) -> Mapping[str, Any]:
        """Without a key: who signs, which is the server's machine or a file of its."""
        names = ("api_key", "oci_auth_type", "oci_config_file_path", "oci_config_profile")
        return {} if self.api_key and self.api_key.get_secret_value() else {n: getattr(self, n) for n in names}

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"oci_region": "us-ashburn-1", "oci_compartment_id": "ocid1.compartment.oc1..your-compartment"}


class OCI(OpenAICompatible):
    config_class = OCIConfig
    config: OCIConfig
    ends_with_done = False

    def __init__(self, provider_id: str, config: Any, **services: Any) -> None:
        super().__init__(provider_id, config, **services)
        self.signatures = signatures(
            self.config.oci_auth_type, self.config.oci_config_file_path, self.config.oci_config_profile
        )

    async def start(self) -> None:
        if not self.config.oci_compartment_id:
            raise ProviderUnavailable("Nothing says which compartment is charged: set oci_compartment_id to its OCID.")
        if self.signer() is not None:
            await asyncio.to_thread(imported)
        await super().start()

    async def stop(self) -> None:
        self.signatures.close()
        await super().stop()

    def signer(self) -> Signer | None:
        key = self.config.api_key
        return None if key and key.get_secret_value() else self.signatures

    def url(self) -> str:
        region = f"https://{INFERENCE}generativeai.{self.config.oci_region}.oci.oraclecloud.com"
        return (self.config.base_url or region).rstrip("/")

    @property
    def management(self) -> str:
        """The address of what lists models: the same host without `inference.`, in each of Oracle's realms."""
        parts = urlsplit(self.url())
        return urlunsplit(parts._replace(netloc=parts.netloc.removeprefix(INFERENCE)))

    def headers(self) -> Mapping[str, str]:
        return {**super().headers(), **dict.fromkeys(COMPARTMENT, self.config.oci_compartment_id or "")}

    def path(self, operation: str, request: Request | None = None) -> str:
        if request is not None and request.model.startswith(DEDICATED):
            return f"{quote(request.model, safe='')}/v1/{operation}"
        return f"{DOOR}/{operation}"

    def translated(self, request: ChatCompletionRequest) -> Translation:
        if not cohere.is_cohere(request.model):
            return super().translated(request)
        way: Any = command_a if command_a.serves(request.model) else cohere
        asked = way.chat_request(request, self.config, self.upstream)
        chatted: Translation = way.Chatted(request, f"{NATIVE}/chat", self.charged(request, {"chatRequest": asked}))
        return chatted

    def charged(self, request: Request, body: JSON) -> JSON:
        """As Oracle's own API takes it: with the compartment, and what serves the model."""
        serving = {"servingType": "ON_DEMAND", "modelId": request.model}
        if request.model.startswith(DEDICATED):
            serving = {"servingType": "DEDICATED", "endpointId": request.model}
        return {"compartmentId": self.config.oci_compartment_id, "servingMode": serving, **body}

    async def post_completion(self, call: Call, request: CompletionRequest) -> CompletionReply:
        if not request.model.startswith(DEDICATED):
            raise NotSupported(f"{self.upstream} completes text on dedicated clusters alone: send a chat completion.")
        return await super().post_completion(call, request)

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        texts = vectors.texts(request, self.upstream)
        own = self._own(request, OF_EMBEDDINGS)
        found: list[Any] = []
        tokens: int | None = None
        for start in range(0, len(texts), MOST_TEXTS):
            body = {"inputs": texts[start : start + MOST_TEXTS], **own}
            answer = await self._native(call, "embedText", request, body, "embeddings")
            found += answer["embeddings"]
            usage = answer.get("usage")
            counted = usage.get("promptTokens") if isinstance(usage, dict) else None
            tokens = (tokens or 0) + counted if isinstance(counted, int) else tokens
        return vectors.response(request, found, tokens, self.upstream)

    async def rerank(self, call: Call, request: RerankRequest) -> RerankResponse:
        body: JSON = {
            "input": reranking.query_text(request, self.upstream),
            "documents": reranking.item_texts(request, self.upstream),
            **self._own(request, OF_RANKINGS),
        }
        if request.max_num_results is not None:
            body["topN"] = min(request.max_num_results, len(request.items))
        answer = await self._native(call, "rerankText", request, body, "documentRanks")
        ranks = [_renamed(rank) for rank in answer["documentRanks"]]
        results = parsed(reranking.Results, {"results": ranks}, self.upstream).results
        return reranking.ranked(results, request, self.upstream)

    def _own(self, request: EmbeddingRequest | RerankRequest, known: Mapping[str, str]) -> JSON:
        """Oracle's own fields of a request. Raises UnsupportedParameter for others."""
        lacks = Lacks(self.upstream)
        own = lacks.renamed(request, known)
        to_drop(lacks, self.config)
        return own

    async def _native(self, call: Call, operation: str, request: Request, body: JSON, content: str) -> JSON:
        """The answer of Oracle's own API to a call, whose `content` is a list."""
        answer = await self.egress.post(
            f"{NATIVE}/{operation}", self.charged(request, body), await self.call_headers(call)
        )
        if not isinstance(answer, dict) or not isinstance(answer.get(content), list):
            raise UpstreamError(f"{self.upstream} answered {operation} without a list of '{content}'.")
        return answer

    async def listed(self) -> list[JSON]:
        """Oracle's models by the names that chats ask for, then dedicated endpoints, where they may be listed."""
        models = [model | {"id": model.get("displayName")} for model in await self._pages("models")]
        try:
            endpoints = await self._pages("endpoints")
        except StackError as error:
            logger.info("Dedicated endpoints are not listed: %s", error.message)
            endpoints = []
        dedicated = [endpoint | {"capabilities": ["CHAT"]} for endpoint in endpoints]
        once = {model["id"]: model for model in self.checked([*models, *dedicated]) if _serves(model)}
        return list(once.values())

    async def _pages(self, what: str) -> list[JSON]:
        items: list[JSON] = []
        page = ""
        for _ in range(MOST_PAGES):
            asked = {"compartmentId": self.config.oci_compartment_id, "lifecycleState": "ACTIVE", "limit": PAGE_SIZE}
            query = urlencode(asked | ({"page": page} if page else {}))
            answer, page = await self.egress.page(f"{self.management}/20231130/{what}?{query}", "opc-next-page")
            found = answer.get("items") if isinstance(answer, dict) else None
            if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
                raise UpstreamError(f"{self.upstream} listed its {what} as something that is no list of objects.")
            items += found
            if not page:
                break
        return items

    def described(self, item: JSON) -> ProviderModel | None:
        kind = next((kind for capability, kind in TYPES.items() if capability in item["capabilities"]), None)
        if kind is None:
            return None
        size = dimension(item["id"]) if kind == "embedding" else None
        metadata: JSON = {} if size is None else {"embedding_dimension": size}
        return ProviderModel(provider_model_id=item["id"], model_type=kind, metadata=metadata)


def _renamed(rank: Any) -> Any:
    return {"index": rank.get("index"), "score": rank.get("relevanceScore")} if isinstance(rank, dict) else rank


def _serves(model: JSON) -> bool:
    """Whether it answers on demand: not one that is there to be tuned, nor one that has been retired."""
    capabilities = model.get("capabilities")
    retired = model.get("timeOnDemandRetired")
    gone = isinstance(retired, str) and retired <= datetime.now(UTC).isoformat()
    return isinstance(capabilities, list) and "FINE_TUNE" not in capabilities and not gone
