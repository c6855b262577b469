"""IBM's watsonx.ai, on IBM Cloud and on Cloud Pak for Data.

Format: https://cloud.ibm.com/apidocs/watsonx-ai, and IBM's SDKs (request.py, answer.py). Tokens:
https://cloud.ibm.com/docs/account?topic=account-iamtoken_from_apikey; a Cloud Pak's own keys:
https://www.ibm.com/docs/en/cloud-paks/cp-data/5.1.x?topic=apis-generating-api-auth-token
"""

import copy
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from pydantic import Field, SecretStr, StringConstraints, model_validator

from apps.inference.dialect import TextStream
from apps.inference.protocol import CompletionReply
from apps.inference.providers import reranking, vectors
from apps.inference.providers.remote.tokens import FromForm, Issued, Tokens, TokenServer
from apps.inference.providers.remote.translation import JSON, Request, Translation, parsed
from apps.inference.providers.remote.vendor import Vendor, VendorConfig
from apps.inference.providers.remote.watsonx import request as requests
from apps.inference.providers.remote.watsonx.answer import Chatted, Generated
from apps.inference.providers.unsupported import Lacks, to_drop
from apps.inference.schemas import (
    ChatCompletionRequest,
    Completion,
    CompletionChunk,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    RerankRequest,
    RerankResponse,
)
from apps.registry.schemas import ModelType, ProviderModel
from llamastack.call import Call
from llamastack.egress.network import NetworkConfig, TimeoutConfig
from llamastack.errors import BadRequest, UpstreamError
from llamastack.provider_data import ApiKey

VERSION = "2024-03-13"  # the date of the API that LiteLLM has long asked for
IAM = "https://iam.cloud.ibm.com/identity/token"
DEPLOYMENT = "deployment/"  # before the id of a deployment of one's own, as LiteLLM has it
PROJECT, KEY = "watsonx_project_id", "watsonx_api_key"
PAGE_SIZE, MOST_PAGES = 200, 20
Project = Annotated[str, StringConstraints(pattern=r"^[\w.-]+$", max_length=200)]
# What a model is for, by the `functions` that IBM lists with it; the first that fits.
TYPES: tuple[tuple[str, ModelType], ...] = (
    ("text_chat", "llm"),
    ("text_generation", "llm"),
    ("embedding", "embedding"),
    ("rerank", "rerank"),
)
PARAMETERS = ("truncate_input_tokens",)  # IBM's own, of embeddings and of rankings


class WatsonXConfig(VendorConfig):
    """watsonx.ai in one region: its address, an API key of IBM Cloud, and the project or space that is charged."""

    base_url: str = Field(
        "https://us-south.ml.cloud.ibm.com", description="The region's address, or that of a Cloud Pak for Data"
    )
    api_key: SecretStr | None = Field(None, description="An API key of IBM Cloud; its tokens are asked for")
    project_id: Project | None = Field(None, description="The project that is charged")
    space_id: Project | None = Field(None, description="The deployment space that is charged, in place of a project")
    iam_url: TokenServer = Field(IAM, description="Who issues tokens for the key")
    username: str | None = Field(None, description="On Cloud Pak for Data: the user whose key api_key is")
    timeout: int | None = Field(None, ge=1, description="An older name of network.timeout.read")

    @model_validator(mode="after")
    def charges_one(self) -> "WatsonXConfig":
        if self.project_id and self.space_id:
            raise ValueError("give a project_id or a space_id, and not both")
        return self


class WatsonX(Vendor):
    config_class = WatsonXConfig
    config: WatsonXConfig
    data_key = KEY
    tokens: Tokens | None = None

    async def start(self) -> None:
        await super().start()
        self.iam = self.open_egress(self.config.iam_url)
        key = self.config.api_key.get_secret_value() if self.config.api_key else ""
        if key and not self.config.username:
            self.tokens = Tokens(self.issuer(key))

    def issuer(self, key: str) -> FromForm:
        form = {"grant_type": "urn:ibm:params:oauth:grant-type:apikey", "apikey": key}
        return FromForm(self.iam, self.config.iam_url, form)

    def network_config(self) -> NetworkConfig | None:
        network, timeout = self.config.network or NetworkConfig(), self.config.timeout
        if timeout is None or network.timeout is not None:
            return self.config.network
        return network.model_copy(update={"timeout": TimeoutConfig(read=timeout)})

    def headers(self) -> Mapping[str, str]:
        """Of a Cloud Pak, whose keys go with each request."""
        return super().headers() if self.config.username else {}

    def authorization(self, key: str) -> Mapping[str, str]:
        """A token of IBM Cloud's, or the key of a Cloud Pak's user."""
        if not self.config.username:
            return super().authorization(key)
        return {"Authorization": "ZenApiKey " + b64encode(f"{self.config.username}:{key}".encode()).decode()}

    @property
    def lacks_key(self) -> bool:
        return not (self.config.api_key and self.config.api_key.get_secret_value())

    @classmethod
    def reads(cls) -> Mapping[str, Any]:
        return {**super().reads(), PROJECT: Project}

    def of(self, call: Call) -> Self:
        """With the project that a caller names who brings a key too: the operator's is for the operator's project."""
        project = call.provider_data.read(PROJECT, Project)
        if project is None:
            return self
        if call.provider_data.read(KEY, ApiKey) is None:
            raise BadRequest(f"{self.upstream} takes a '{PROJECT}' with your own {KEY}.", param=PROJECT)
        as_asked = copy.copy(self)
        as_asked.config = self.config.model_copy(update={"project_id": project, "space_id": None})
        return as_asked

    async def call_headers(self, call: Call) -> Mapping[str, str]:
        key = call.provider_data.read(KEY, ApiKey)
        if key is not None and not self.config.username:
            return self.authorization(await self._exchanged(key.get_secret_value()))
        return await super().call_headers(call) or await self._authorized()

    async def _authorized(self) -> Mapping[str, str]:
        return {} if self.tokens is None else self.authorization(await self.tokens.current())

    async def _exchanged(self, key: str) -> str:
        """A token for a caller's own key, which is not kept. Raises the refusal of IBM's, whose sentence it is."""
        return parsed(Issued, await self.issuer(key).issue(), self.upstream).access_token

    def path(self, operation: str, model: str) -> str:
        where = f"deployments/{quote(model.removeprefix(DEPLOYMENT), safe='')}/" if model.startswith(DEPLOYMENT) else ""
        return f"ml/v1/{where}text/{operation}?version={VERSION}"

    def charged(self, request: Request, body: JSON) -> JSON:
        """With the model, and with who pays for it; a deployment has both."""
        if request.model.startswith(DEPLOYMENT):
            return body
        if self.config.space_id:
            return {"model_id": request.model, "space_id": self.config.space_id, **body}
        if not self.config.project_id:
            raise BadRequest(
                f"{self.upstream} charges a project, and knows none: set project_id or space_id in its config, or send "
                f"a {PROJECT} with your own {KEY}.",
                param=PROJECT,
            )
        return {"model_id": request.model, "project_id": self.config.project_id, **body}

    def translated(self, request: ChatCompletionRequest) -> Translation:
        body = self.charged(request, requests.chat(request, self.config, self.upstream))
        return Chatted(request, self.path("chat_stream" if request.stream else "chat", request.model), body)

    async def post_completion(self, call: Call, request: CompletionRequest) -> CompletionReply:
        way = self.of(call)
        body = way.charged(request, requests.completion(request, self.config, self.upstream))
        operation = "generation_stream" if request.stream else "generation"
        sent = Generated(request, self.path(operation, request.model), body)
        stream = TextStream(request.model, 1, request.wants_usage or not request.stream)
        if request.stream:
            return self.chunks(call, CompletionChunk, sent, stream)
        return await self.whole(call, Completion, sent, stream)

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        texts = vectors.texts(request, self.upstream)
        body = {"inputs": texts} | self._parameters(request)
        answer = await self._results(call, "embeddings", request, body)
        found = [result.get("embedding") for result in answer["results"]]
        return vectors.response(request, found, answer.get("input_token_count"), self.upstream)

    async def rerank(self, call: Call, request: RerankRequest) -> RerankResponse:
        query, items = reranking.query_text(request, self.upstream), reranking.item_texts(request, self.upstream)
        body: JSON = {"query": query, "inputs": [{"text": item} for item in items]}
        body |= self._parameters(request)
        if request.max_num_results is not None:
            most = {"return_options": {"top_n": min(request.max_num_results, len(items))}}
            body["parameters"] = body.get("parameters", {}) | most
        answer = await self._results(call, "rerank", request, body)
        return reranking.ranked(parsed(reranking.Results, answer, self.upstream).results, request, self.upstream)

    def _parameters(self, request: EmbeddingRequest | RerankRequest) -> JSON:
        """IBM's own fields of a request. Raises UnsupportedParameter for others, such as `dimensions`."""
        lacks = Lacks(self.upstream)
        kept = lacks.fields(request, PARAMETERS)
        to_drop(lacks, self.config)
        return {"parameters": kept} if kept else {}

    async def _results(self, call: Call, operation: str, request: Request, body: JSON) -> JSON:
        sent = Generated(request, self.path(operation, request.model), self.of(call).charged(request, body))
        answer = await self.reply(call, sent, await self.answer(call, sent))
        results = answer["results"]
        if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
            raise UpstreamError(f"{self.upstream} answered with 'results' that are no list of objects.")
        return answer

    async def listed(self) -> list[JSON]:
        """All models of the region, page by page. It asks for no key, and would hide one of no use."""
        headers = await self._authorized()
        items: list[JSON] = []
        start = ""
        for _ in range(MOST_PAGES):
            query = urlencode({"version": VERSION, "limit": PAGE_SIZE} | ({"start": start} if start else {}))
            answer = await self.egress.get(f"ml/v1/foundation_model_specs?{query}", headers)
            page = answer if isinstance(answer, dict) else {}
            found = page.get("resources")
            items += self.checked([_named(one) for one in found] if isinstance(found, list) else found)
            if not (start := _start(page.get("next"))):
                break
        return items

    def described(self, item: JSON) -> ProviderModel | None:
        """None where it is for something else, such as time series, or has been withdrawn."""
        functions = {one.get("id") for one in item.get("functions") or () if isinstance(one, dict)}
        kind = next((kind for function, kind in TYPES if function in functions), None)
        if kind is None or _withdrawn(item):
            return None
        limits = item.get("model_limits")
        told = limits if isinstance(limits, dict) else {}
        names = {"max_sequence_length": "context_length", "embedding_dimension": "embedding_dimension"}
        metadata = {ours: told[own] for own, ours in names.items() if isinstance(told.get(own), int) and told[own] > 0}
        return ProviderModel(provider_model_id=item["id"], model_type=kind, metadata=metadata)


def _named(one: Any) -> Any:
    return one | {"id": one.get("model_id")} if isinstance(one, dict) else one


def _start(following: Any) -> str:
    """Where the next page begins, as the address of it says."""
    href = following.get("href") if isinstance(following, dict) else None
    return parse_qs(urlsplit(str(href)).query).get("start", [""])[0] if href else ""


def _withdrawn(item: JSON) -> bool:
    """`lifecycle` has the day from which each of a model's states holds."""
    today = datetime.now(UTC).date().isoformat()
    states = [state for state in item.get("lifecycle") or () if isinstance(state, dict)]
    return any(state.get("id") == "withdrawn" and str(state.get("start_date", "9")) <= today for state in states)
