"""A vLLM server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig
from apps.inference.providers.remote.translation import Request
from apps.inference.schemas import ChatCompletionRequest
from llamastack.call import Call
from llamastack.egress import Egress
from llamastack.egress.guard import egress_of_caller
from llamastack.egress.network import NetworkConfig, TLSConfig

URL = "vllm_url"


class VLLMConfig(OpenAICompatibleConfig):
    """A vLLM server: its address, its key, and which of its models are offered here."""

    base_url: str = Field(description="Its address, with /v1 at the end", examples=["http://localhost:8000/v1"])
    max_tokens: int | None = Field(None, ge=1, description="Of chats that name none")
    tls_verify: bool | str | None = Field(
        True, description="Llama Stack 0.3.5's name of network.tls.verify: true, false, or a CA bundle's path"
    )
    native_responses: bool = Field(False, description="OGX's; must stay false: it is asked for chats")

    @field_validator("native_responses")
    @classmethod
    def asks_for_chats(cls, native: bool) -> bool:
        if native:
            raise ValueError("its /v1/responses is not used here: leave this false, chats go to /v1/chat/completions")
        return native

    @model_validator(mode="after")
    def agrees(self) -> "VLLMConfig":
        """`true` says no less than the file of a CA does."""
        tls, older = self.tls(), self.older_verify()
        said = "verify" in tls.model_fields_set and "tls_verify" in self.model_fields_set and older is not None
        if said and older != tls.verify and not (older is True and tls.verify):
            raise ValueError("tls_verify and network.tls.verify disagree: leave tls_verify out")
        return self

    def tls(self) -> TLSConfig:
        return (self.network and self.network.tls) or TLSConfig()

    def older_verify(self) -> bool | Path | None:
        return Path(self.tls_verify) if isinstance(self.tls_verify, str) else self.tls_verify

    def reached(self) -> NetworkConfig | None:
        """The network section, with what tls_verify says where the section itself says nothing of it."""
        tls, older = self.tls(), self.older_verify()
        if older in (None, True) or "verify" in tls.model_fields_set:
            return self.network
        return (self.network or NetworkConfig()).model_copy(update={"tls": tls.model_copy(update={"verify": older})})

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"base_url": "http://localhost:8000/v1", "max_tokens": 4096, "tls_verify": True}


class VLLM(OpenAICompatible):
    config_class = VLLMConfig
    config: VLLMConfig
    data_key = "vllm_api_token"
    reranks_images = True
    # It hands roles on to the model's own template, and most of them refuse this one or leave its messages out:
    # https://github.com/vllm-project/vllm/pull/43590, https://github.com/ogx-ai/ogx/pull/6077.
    developer_role = False

    def network_config(self) -> NetworkConfig | None:
        return self.config.reached()

    @classmethod
    def reads(cls) -> Mapping[str, Any]:
        return {**super().reads(), URL: str}

    def callers_egress(self, call: Call) -> Egress | None:
        """To the server that a caller names: it gets the caller's token, and nothing of this provider's config."""
        url = call.provider_data.read(URL, str)
        return None if url is None else egress_of_caller(url, self.upstream, {}, URL, self.egress.timeouts)

    def passes(self, operation: str) -> bool:
        return self.config.max_tokens is None or operation != "chat/completions"

    def body(self, request: Request) -> dict[str, Any]:
        body = super().body(request)
        limit = self.config.max_tokens if isinstance(request, ChatCompletionRequest) else None
        if limit is None or body.keys() & {"max_tokens", "max_completion_tokens"}:
            return body
        return body | {"max_tokens": limit}
