"""Azure OpenAI: a resource's deployments, by its dated API or by its v1 API.

Format: https://learn.microsoft.com/azure/ai-foundry/openai/reference (dated: the deployment is part of the path, and
`api-version` is due), https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle (v1: as OpenAI's, the
deployment is the model, `api-version` may be `preview`). Both take a key as `api-key`, a token of Entra ID as a bearer;
tokens: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow. What the content filter
says: https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter
"""

import copy
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from pydantic import AfterValidator, Field, SecretStr, model_validator

from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig
from apps.inference.providers.remote.tokens import FromForm, Tokens, TokenServer
from apps.inference.providers.remote.translation import JSON, Request, Translation
from apps.registry.schemas import ProviderModel
from llamastack.call import Call
from llamastack.egress import Egress
from llamastack.egress.failures import Refusal
from llamastack.egress.guard import egress_of_caller
from llamastack.egress.sentences import said
from llamastack.errors import BadRequest, UpstreamRejected

V1 = "/openai/v1"
DATED = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")
FINE_PRINT = "Azure lists no deployments: name them here, one a line, or register them as models"
FILTERED = "content_filter"
BASE, KEY = "azure_api_base", "azure_api_key"


def a_resource(url: str) -> str:
    if "/openai/deployments" in url:
        raise ValueError("give the resource's address alone: what follows /openai/deployments comes from the model")
    return url.rstrip("/").removesuffix("/openai")


def a_version(version: str | None) -> str | None:
    if version and not DATED.fullmatch(version) and version not in ("v1", "preview", "latest"):
        raise ValueError("must be a date such as 2024-10-21 or 2025-01-01-preview, or v1, preview or latest")
    return version


Resource = Annotated[str, AfterValidator(a_resource)]
Version = Annotated[str, AfterValidator(a_version)]
KeyType = Literal["azure", "azure_ad", "azuread"]
# What a caller may say of its own resource, each under the config's name of it.
CALLERS: Mapping[str, tuple[str, Any]] = {
    BASE: ("base_url", Resource),
    "azure_api_version": ("api_version", Version),
    "azure_api_type": ("api_type", KeyType),
}


class AzureConfig(OpenAICompatibleConfig):
    """A resource of Azure OpenAI: its address, its key or who asks Entra ID for tokens, and its deployments."""

    base_url: Resource = Field(
        description="https://NAME.openai.azure.com; with /openai/v1 at its end always the v1 API",
        examples=["https://your-resource.openai.azure.com"],
    )
    api_key: SecretStr | None = Field(None, description="The resource's key, or a token where api_type is azure_ad")
    api_version: Version | None = Field(None, description="A date, as 2024-10-21, asks for the dated API; empty for v1")
    api_type: KeyType | None = Field("azure", description="What the key is")
    tenant_id: str | None = Field(
        None, pattern=r"^[\w.-]*$", description="Entra ID's tenant, in place of a key: its tokens are asked for"
    )
    client_id: str | None = Field(None, description="The application that is registered there")
    client_secret: SecretStr | None = Field(None, description="The application's secret")
    authority_host: TokenServer = Field("https://login.microsoftonline.com", description="Who issues the tokens")
    scope: str = Field("https://cognitiveservices.azure.com/.default", description="What the tokens are for")
    allowed_models: list[str] | None = Field(None, description=FINE_PRINT)

    @model_validator(mode="after")
    def has_one_way_in(self) -> "AzureConfig":
        secret, key = (value and value.get_secret_value() for value in (self.client_secret, self.api_key))
        parts = [self.tenant_id, self.client_id, secret]
        if any(parts) and not all(parts):
            raise ValueError("tenant_id, client_id and client_secret belong together: give all three, or none")
        if any(parts) and key:
            raise ValueError("give an api_key, or tenant_id, client_id and client_secret, and not both")
        return self


class Answered(Translation):
    """With the word of the content filter as a refusal, where it cut an answer off."""

    def whole(self, answer: JSON) -> JSON:
        choices = answer.get("choices")
        return answer | {"choices": [_refused(choice) for choice in choices]} if isinstance(choices, list) else answer

    def chunks(self, event: JSON) -> Iterable[JSON]:
        return (self.whole(event),)


class Azure(OpenAICompatible):
    """The models are deployments. `/models` tells what could be deployed, so only the health check asks for it."""

    config_class = AzureConfig
    config: AzureConfig
    translation = Answered
    data_key = KEY
    tokens: Tokens | None = None

    async def start(self) -> None:
        await super().start()
        secret = self.config.client_secret
        if self.config.tenant_id and secret is not None:
            form = {"grant_type": "client_credentials", "client_id": self.config.client_id or ""}
            form |= {"client_secret": secret.get_secret_value(), "scope": self.config.scope}
            path = f"{self.config.tenant_id}/oauth2/v2.0/token"
            self.tokens = Tokens(FromForm(self.open_egress(self.config.authority_host), path, form))

    @property
    def dated(self) -> bool:
        return not self.config.base_url.endswith(V1) and bool(DATED.fullmatch(self.config.api_version or ""))

    def url(self) -> str:
        return self.config.base_url.removesuffix(V1)

    def authorization(self, key: str) -> Mapping[str, str]:
        return {"api-key": key} if self.config.api_type in (None, "azure") else super().authorization(key)

    def path(self, operation: str, request: Request | None = None) -> str:
        version = self.config.api_version or ""
        if self.dated:
            deployment = f"deployments/{quote(request.model, safe='')}/" if request else ""
            return f"openai/{deployment}{operation}?api-version={version}"
        # 0.3.5 sends no version to the v1 API; a dated one beside a v1 address means nothing there.
        return f"openai/v1/{operation}" + ("" if not version or DATED.fullmatch(version) else f"?api-version={version}")

    @classmethod
    def reads(cls) -> Mapping[str, Any]:
        return {**super().reads(), **{key: kind for key, (_, kind) in CALLERS.items()}}

    def of(self, call: Call) -> Self:
        """This provider as a call wants it: with the resource, the version and the type of key that its caller names.

        Raises BadRequest where a resource is named without a key for it: the operator's stays with the operator's.
        """
        named = {own: call.provider_data.read(key, kind) for key, (own, kind) in CALLERS.items()}
        changed = {own: value for own, value in named.items() if value is not None}
        if "base_url" in changed and not call.provider_data.read(KEY, self.reads()[KEY]):
            raise BadRequest(f"{self.upstream} takes an '{BASE}' with your own {KEY} for it.", param=BASE)
        if not changed:
            return self
        as_asked = copy.copy(self)
        as_asked.config = self.config.model_copy(update=changed)
        return as_asked

    def named(self, url: str) -> Egress:
        """To a resource that a caller names. Raises BadRequest where its address is no public one."""
        return egress_of_caller(url, self.upstream, {}, BASE, self.egress.timeouts)

    def callers_egress(self, call: Call) -> Egress | None:
        return None if call.provider_data.read(BASE, Resource) is None else self.named(self.of(call).url())

    @asynccontextmanager
    async def egress_of(self, call: Call) -> AsyncIterator[Egress]:
        async with super().egress_of(call) as egress:
            try:
                yield egress
            except UpstreamRejected as error:
                if error.code != FILTERED:
                    raise
                raise _told(error) from error

    async def call_headers(self, call: Call) -> Mapping[str, str]:
        return await super(Azure, self.of(call)).call_headers(call) or await self._authorized()

    async def _authorized(self) -> Mapping[str, str]:
        """Entra ID's current token, where that is the way in; a key goes with every request already."""
        return {} if self.tokens is None else {"Authorization": f"Bearer {await self.tokens.current()}"}

    async def listed(self) -> list[dict[str, Any]]:
        answer = await self.egress.get(self.path("models"), await self._authorized())
        return self.checked(answer.get("data") if isinstance(answer, dict) else answer)

    async def get_models(self, call: Call) -> list[ProviderModel]:
        """The deployments that are named: by default a deployment has its model's name, which tells its type."""
        named = [self.described({"id": name}) for name in self.config.allowed_models or ()]
        return [model for model in named if model is not None]


def _refused(choice: Any) -> Any:
    if not isinstance(choice, dict) or choice.get("finish_reason") != FILTERED or "text" in choice:
        return choice
    why = ", ".join(_filtered(choice.get("content_filter_results"))) or "it does not say why"
    part = "message" if "message" in choice else "delta"
    refusal = {"refusal": f"Azure's content filter cut the answer off: {why}."}
    message = choice.get(part)
    return choice | {part: refusal | message if isinstance(message, dict) else refusal}


def _told(error: UpstreamRejected) -> UpstreamRejected:
    """The refusal of a prompt, with the categories for which the filter refused it."""
    body = said(error.__cause__.body) if isinstance(error.__cause__, Refusal) else None
    inner = body.get("error") if isinstance(body, dict) else None
    why = inner.get("innererror") if isinstance(inner, dict) else None
    found = ", ".join(_filtered(why.get("content_filter_result") if isinstance(why, dict) else None))
    message = f"{error.message} Filtered for: {found}." if found else error.message
    return UpstreamRejected(message, error.status, param=error.param, code=error.code)


def _filtered(results: Any) -> Iterator[str]:
    """The categories for which a content filter held something back."""
    for name, result in results.items() if isinstance(results, dict) else ():
        if isinstance(result, dict) and result.get("filtered") is True:
            yield str(name)
