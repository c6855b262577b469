"""Google's Vertex AI: Google's own models in their own dialect, Claude in Anthropic's, the others in OpenAI's.

Formats: the package google, claude.py, and for the others https://cloud.google.com/vertex-ai/generative-ai/docs/maas/overview.
Models are `publisher/name`, as `google/gemini-2.5-flash`; they come from `allowed_models` or from the Model Garden's
list (https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/publishers.models/list).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, SecretStr

from apps.inference.dialect import mended_embeddings
from apps.inference.providers.remote.google import Google, embeddings
from apps.inference.providers.remote.google.embeddings import Asked, Embeds
from apps.inference.providers.remote.google.generate import GenerateContent
from apps.inference.providers.remote.tokens import Tokens
from apps.inference.providers.remote.translation import JSON, Request, Translation, parsed
from apps.inference.providers.remote.vendor import VendorConfig
from apps.inference.providers.remote.vertexai.claude import Claude
from apps.inference.providers.remote.vertexai.credentials import default_credentials
from apps.inference.schemas import ChatCompletionRequest, EmbeddingRequest, EmbeddingResponse
from llamastack.call import Call
from llamastack.egress import Egress
from llamastack.egress.network import sent
from llamastack.errors import BadRequest

# Both become parts of an address.
Project = Annotated[str, Field(pattern=r"^[a-z0-9][\w.:-]*$")]
Location = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
GOOGLE = "google/"
ANTHROPIC = "anthropic/"
NAME = re.compile(r"[\w.@-]+")
ENDPOINTS = "endpoints/"  # where a tuned model is served
DOOR = "endpoints/openapi"  # of the API that speaks OpenAI's dialect; 0.3.5's and OGX's addresses end so
CONTINENTS = frozenset({"us", "eu"})
PAGE_SIZE = 200


class VertexAIConfig(VendorConfig):
    """A project on Vertex AI. Without a token its Application Default Credentials are used."""

    other_names = {**VendorConfig.other_names, "access_token": "api_key"}

    base_url: str = Field("", description="In place of the address that project and location make")
    api_key: SecretStr | None = Field(None, description="An access token; empty for Application Default Credentials")
    project: Project = Field(description="The Google Cloud project that is charged")
    location: Location = Field("us-central1", description="A region, us, eu, or global")
    allowed_models: list[str] | None = Field(
        None, description="Those to offer, as google/gemini-2.5-flash, one a line; Google's own where empty"
    )
    thought_signature_store: dict[str, Any] | None = Field(
        None, description="OGX's, read and without effect: signatures travel in the messages, as extra_content"
    )

    @property
    def of_the_server(self) -> Mapping[str, Any]:
        """Without a token: its Application Default Credentials."""
        return {} if self.api_key and self.api_key.get_secret_value() else {"api_key": self.api_key}

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"project": "your-project", "location": "us-central1"}


class VertexAI(Google):
    config_class = VertexAIConfig
    config: VertexAIConfig
    data_key = "vertex_access_token"
    older_ids = False  # an unknown field there: https://github.com/vercel/ai/issues/15664

    tokens: Tokens | None = None

    async def start(self) -> None:
        await super().start()
        if not self.headers():
            self.tokens = Tokens(default_credentials(self.open_egress))

    def url(self) -> str:
        own = self.config.base_url.rstrip("/").removesuffix(f"/{DOOR}")
        return own or base_address(self.config.project, self.config.location)

    @classmethod
    def reads(cls) -> Mapping[str, Any]:
        return {**super().reads(), "vertex_project": Project, "vertex_location": Location}

    def callers_egress(self, call: Call) -> Egress | None:
        """A caller who brings a token of its own may have another project charged, or another region answer."""
        named = {name: call.provider_data.read(name, kind) for name, kind in self.reads().items()}
        project, location, own = (named[name] for name in ("vertex_project", "vertex_location", self.data_key))
        if project is None and location is None:
            return None
        if own is None or self.config.base_url:
            why = "its address is configured" if own else f"that needs your own {self.data_key}"
            param = "vertex_project" if project else "vertex_location"
            raise BadRequest(f"{self.upstream} takes no '{param}' of a caller here: {why}.", param=param)
        address = base_address(project or self.config.project, location or self.config.location)
        return self.new_egress(address, sent(self.network, {}))

    def place(self, egress: Egress, translation: Translation) -> str:
        """Google's own models are asked in the version that Google's clients ask: v1 lacks some of its words.

        Of how functions are called, VALIDATED (https://docs.cloud.google.com/dotnet/docs/reference, AIPlatform.V1).
        """
        if self.config.base_url or not isinstance(translation, GenerateContent | Embeds):
            return translation.path
        return f"{egress.base_url.replace('/v1/', '/v1beta1/', 1)}/{translation.path}"

    async def call_headers(self, call: Call) -> Mapping[str, str]:
        return await super().call_headers(call) or await self._authorized()

    async def _authorized(self) -> Mapping[str, str]:
        """The current token's header; one that is configured goes with every request already."""
        return self.authorization(await self.tokens.current()) if self.tokens is not None else {}

    def translated(self, request: ChatCompletionRequest) -> Translation:
        own = self.by_publisher(request.model)
        if own is None:
            return super().translated(request)
        if own.startswith(ANTHROPIC):
            return Claude(request, self._checked(own.removeprefix(ANTHROPIC)), self.upstream, self.config)
        return door(request, "chat/completions", own)

    def by_publisher(self, model: str) -> str | None:
        """`publisher/name` of another publisher's model, or of an open one of Google's; None of Google's own."""
        publisher, _, name = _short(model).partition("/")
        if not name or f"{publisher}/" == ENDPOINTS or (f"{publisher}/" == GOOGLE and not name.endswith("-maas")):
            return None
        return f"{publisher}/{name}"

    def _checked(self, name: str) -> str:
        """A name that becomes a part of a path."""
        if not NAME.fullmatch(name):
            raise self.no_model(name)
        return name

    def resource(self, model: str) -> str:
        """Named as Google's APIs do, `gemini-…` or `publishers/google/models/gemini-…`, a tuned one by its endpoint."""
        name = _short(model).removeprefix(GOOGLE)
        bare = self._checked(name.removeprefix(ENDPOINTS))
        return name if bare != name else f"publishers/google/models/{bare}"

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        if (own := self.by_publisher(request.model)) is None:
            return await super().post_embedding(call, request)
        asked = door(request, "embeddings", own)
        answer = await self.reply(call, asked, await self.answer(call, asked))
        return parsed(EmbeddingResponse, mended_embeddings(answer, request.model), self.upstream)

    def embeds(self, asked: Asked) -> Iterator[Embeds]:
        resource = self.resource(asked.request.model)
        single = embeddings.embeds_one_by_one(resource.rpartition("/")[2])
        return embeddings.singles(asked, resource) if single else embeddings.predictions(asked, resource)

    async def listed(self) -> list[JSON]:
        if self.config.allowed_models is not None:
            await self._authorized()  # so that a health check tells of credentials that are of no use
            return [_typed(name) for name in self.config.allowed_models]
        headers = {**self.headers(), **await self._authorized(), "x-goog-user-project": self.config.project}
        garden = f"{host(self.config.location)}/v1beta1/publishers/google/models"
        published = await self.paged(garden, PAGE_SIZE, "publisherModels", headers)
        names = [str(model["name"]).rpartition("/")[2] for model in published]
        return [_typed(GOOGLE + name) for name in names if name.startswith(("gemini-", "text-"))]


def door(request: Request, operation: str, model: str) -> Translation:
    """A request that goes on as it is, but for the model's name and the role that these models know as a system's."""
    body = request.model_dump(exclude_unset=True) | {"model": model}
    if isinstance(request, ChatCompletionRequest):
        body["messages"] = [
            turn | ({"role": "system"} if turn["role"] == "developer" else {}) for turn in body["messages"]
        ]
    return Translation(request, f"{DOOR}/{operation}", body)


def host(location: str) -> str:
    """Of a region, of all of them, or of those of a continent, which keep data there.

    https://docs.cloud.google.com/vertex-ai/generative-ai/docs/learn/locations
    """
    if location in CONTINENTS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    region = "" if location == "global" else f"{location}-"
    return f"https://{region}aiplatform.googleapis.com"


def base_address(project: str, location: str) -> str:
    return f"{host(location)}/v1/projects/{project}/locations/{location}"


def _short(model: str) -> str:
    return model.removeprefix("publishers/").replace("/models/", "/", 1)


def _typed(name: str) -> JSON:
    return {"id": name} | ({"type": "embedding"} if "embedding" in name else {})
