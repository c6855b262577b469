"""A dedicated Inference Endpoint of Hugging Face, looked up by its name.

Format: https://api.endpoints.huggingface.cloud (`GET /v2/endpoint/{namespace}/{name}`), and for its states
https://huggingface.co/docs/huggingface_hub/package_reference/inference_endpoints. An endpoint that is scaled to zero
is woken by any call, and paid for from then on: health and listing ask for what is known of it, never itself.
A reranker is served by text-embeddings-inference: https://huggingface.github.io/text-embeddings-inference/ (`/rerank`).
"""

from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from apps.inference.providers import reranking
from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig
from apps.inference.providers.remote.translation import Request, parsed
from apps.inference.schemas import RerankRequest
from apps.registry.schemas import ProviderModel
from llamastack.call import Call
from llamastack.egress import Egress
from llamastack.egress.network import sent
from llamastack.errors import StackError
from llamastack.providers import Health, ProviderUnavailable

ENDPOINTS = "https://api.endpoints.huggingface.cloud/v2/endpoint"
WHO_AM_I = "https://huggingface.co/api/whoami-v2"
# What an endpoint's state means to its callers, of those in which it answers and of those in which it does not.
ANSWERS = {
    "running": "is running",
    "updating": "is updating, and answers as before",
    "updateFailed": "could not be updated, and answers as before",
    "scaledToZero": "sleeps: the first call wakes it, and is refused while it starts",
}
SILENT = {
    "paused": "is paused: resume it at https://endpoints.huggingface.co",
    "pending": "has not been started yet",
    "initializing": "is starting",
    "failed": "failed to start: see https://endpoints.huggingface.co",
}


class HFEndpointConfig(OpenAICompatibleConfig):
    """A dedicated Inference Endpoint: its name, from which its address is looked up, and a token that may see it."""

    base_url: str = Field("", description="Its address with /v1 at the end, where it shall not be looked up")
    endpoint_name: str = Field(
        pattern=r"^(\w[\w.-]*/)?\w[\w.-]*$", description="namespace/name; without namespace that of the token's owner"
    )
    api_key: SecretStr | None = Field(None, description="A token of Hugging Face with access to the endpoint")

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"endpoint_name": "your-organisation/your-endpoint", "api_token": "hf_…"}


class _Status(BaseModel):
    state: str
    url: str | None = None
    message: str = ""


class _Model(BaseModel):
    repository: str


class _Owner(BaseModel):
    name: str


class _Endpoint(BaseModel):
    """What is read of an endpoint's description."""

    model_config = ConfigDict(protected_namespaces=())

    model: _Model
    status: _Status

    @property
    def answers(self) -> bool:
        return self.status.state in ANSWERS and bool(self.status.url)

    @property
    def sentence(self) -> str:
        state = self.status.state
        return ANSWERS.get(state) or SILENT.get(state) or f"is in the state '{state}' {self.status.message}".rstrip()


class HFEndpoint(OpenAICompatible):
    config_class = HFEndpointConfig
    config: HFEndpointConfig
    # TGI knows these alone (https://github.com/huggingface/text-generation-inference/issues/2925), and all others too.
    renamed = {"max_completion_tokens": "max_tokens"}
    developer_role = False
    api: Egress
    found: _Endpoint | None = None

    async def start(self) -> None:
        """Raises ProviderUnavailable where the endpoint cannot answer; the next health check tries again."""
        await super().start()
        if not self.config.base_url:
            self.api = self.egress  # apart from the endpoint, whose failures are its own
            endpoint = await self._look_up()
            if not endpoint.answers:
                raise ProviderUnavailable(f"The endpoint '{self.config.endpoint_name}' {endpoint.sentence}.")
            self.found = endpoint
            self.egress = self.open_egress(self.url(), sent(self.network, self.headers()))

    def url(self) -> str:
        return self.config.base_url or (f"{self.found.status.url}/v1" if self.found else ENDPOINTS)

    def path(self, operation: str, request: Request | None = None) -> str:
        return "../rerank" if operation == "rerank" else super().path(operation, request)

    def body(self, request: Request) -> dict[str, Any]:
        if not isinstance(request, RerankRequest):
            return super().body(request)
        query, texts = reranking.query_text(request, self.upstream), reranking.item_texts(request, self.upstream)
        return reranking.fields(request) | {"query": query, "texts": texts}

    async def health(self) -> Health:
        if self.config.base_url:
            return await super().health()
        try:
            endpoint = await self._look_up()
        except StackError as error:
            return Health(False, error.message)
        return Health(endpoint.answers, f"The endpoint {endpoint.sentence}.")

    async def get_models(self, call: Call) -> list[ProviderModel]:
        if self.config.base_url:
            return await super().get_models(call)
        model = self.described({"id": (await self._look_up()).model.repository})
        return [model] if model is not None else []

    async def _look_up(self) -> _Endpoint:
        namespace, _, name = self.config.endpoint_name.rpartition("/")
        if not namespace:
            namespace = parsed(_Owner, await self._asked(WHO_AM_I), self.upstream).name
        return parsed(_Endpoint, await self._asked(f"{ENDPOINTS}/{quote(namespace)}/{quote(name)}"), self.upstream)

    async def _asked(self, url: str) -> Any:
        """Each of these addresses is of Hugging Face, and may have its token."""
        return await self.api.get(url, self.headers())
