"""Google's Vertex AI, by its OpenAI-compatible API.

Format: https://cloud.google.com/vertex-ai/generative-ai/docs/migrate/openai/overview. Models are `publisher/name`, as
`google/gemini-2.5-flash`; the API lists none, so that they come from `allowed_models` or from the Model Garden's list
(https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/publishers.models/list).
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import Field, SecretStr

from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig
from apps.inference.providers.remote.tokens import Tokens
from apps.inference.providers.remote.translation import Request
from apps.inference.providers.remote.vertexai.credentials import default_credentials
from llamastack.call import Call
from llamastack.egress import Egress
from llamastack.egress.network import sent
from llamastack.errors import BadRequest, UnsupportedParameter, UpstreamError

# Both become parts of an address.
Project = Annotated[str, Field(pattern=r"^[a-z0-9][\w.:-]*$")]
Location = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
GOOGLE = "google/"
PAGE_SIZE = 200
MOST_PAGES = 20


class VertexAIConfig(OpenAICompatibleConfig):
    """A project on Vertex AI. Without a token its Application Default Credentials are used."""

    other_names = {**OpenAICompatibleConfig.other_names, "access_token": "api_key"}

    base_url: str = Field("", description="In place of the address that project and location make")
    api_key: SecretStr | None = Field(None, description="An access token; empty for Application Default Credentials")
    project: Project = Field(description="The Google Cloud project that is charged")
    location: Location = Field("us-central1", description="A region, or global")
    allowed_models: list[str] | None = Field(
        None, description="Those to offer, as google/gemini-2.5-flash, one a line; Google's Gemini models where empty"
    )
    thought_signature_store: dict[str, Any] | None = Field(
        None, description="OGX's, read and without effect: signatures travel in the tool calls, as extra_content"
    )

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"project": "your-project", "location": "us-central1"}


class VertexAI(OpenAICompatible):
    config_class = VertexAIConfig
    config: VertexAIConfig
    data_key = "vertex_access_token"
    developer_role = False
    # Of Google's models: what is not in its table of parameters is ignored, as the page of the format says.
    ignored = {"logit_bias": ({},), "logprobs": (False,), "top_logprobs": (0,), "parallel_tool_calls": (True,)}

    tokens: Tokens | None = None

    async def start(self) -> None:
        await super().start()
        if not self.headers():
            self.tokens = Tokens(default_credentials(self.open_egress))

    def url(self) -> str:
        return self.config.base_url or base_address(self.config.project, self.config.location)

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

    async def call_headers(self, call: Call) -> Mapping[str, str]:
        return await super().call_headers(call) or await self._authorized()

    async def _authorized(self) -> Mapping[str, str]:
        """The current token's header; one that is configured goes with every request already."""
        return self.authorization(await self.tokens.current()) if self.tokens is not None else {}

    def body(self, request: Request) -> dict[str, Any]:
        """Names as Google's other APIs have them are understood: `gemini-…` and `publishers/google/models/gemini-…`."""
        body = super().body(request)
        publisher, _, name = request.model.removeprefix("publishers/").replace("/models/", "/", 1).partition("/")
        return body | {"model": f"{publisher}/{name}" if name else GOOGLE + publisher}

    async def listed(self) -> list[dict[str, Any]]:
        if self.config.allowed_models is not None:
            await self._authorized()  # so that a health check tells of credentials that are of no use
            return [{"id": name} for name in self.config.allowed_models]
        return [{"id": GOOGLE + name} for name in await self._published() if _chats(name)]

    async def _published(self) -> list[str]:
        """The names of what Google publishes in the Model Garden."""
        headers = {**self.headers(), **await self._authorized(), "x-goog-user-project": self.config.project}
        garden = f"{host(self.config.location)}/v1beta1/publishers/google/models"
        names: list[str] = []
        token = ""
        for _ in range(MOST_PAGES):
            query = urlencode({"pageSize": PAGE_SIZE} | ({"pageToken": token} if token else {}))
            page = await self.egress.get(f"{garden}?{query}", headers)
            if not isinstance(page, dict):
                raise UpstreamError(f"{self.upstream} listed its models as something that is no object.")
            names += [str(model.get("name", "")).rpartition("/")[2] for model in page.get("publisherModels", ())]
            if not (token := str(page.get("nextPageToken", ""))):
                break
        return names

    def _unsupported(self, body: dict[str, Any]) -> Iterator[UnsupportedParameter]:
        """Other publishers' models have parameters of their own."""
        name = str(body["model"])
        if "/" not in name or name.startswith((GOOGLE, "publishers/google/")):
            yield from super()._unsupported(body)


def host(location: str) -> str:
    region = "" if location == "global" else f"{location}-"
    return f"https://{region}aiplatform.googleapis.com"


def base_address(project: str, location: str) -> str:
    return f"{host(location)}/v1/projects/{project}/locations/{location}/endpoints/openapi"


def _chats(name: str) -> bool:
    """Whether a name is that of a Gemini model that this API serves."""
    return name.startswith("gemini-") and "embedding" not in name
